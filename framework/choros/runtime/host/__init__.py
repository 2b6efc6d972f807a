"""What every role of the runtime stands on: intake, calls, jobs, the relay, and how the process is."""
