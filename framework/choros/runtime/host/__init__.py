"""What every role of the runtime stands on: intake, slots, calls, jobs, and how the process is."""
