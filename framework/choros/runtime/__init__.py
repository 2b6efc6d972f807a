"""The shell around the machine: orchestrator, participants, subscribers, relays and timers. Knows ports, no adapter."""
