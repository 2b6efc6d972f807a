"""The shell around the machine: client, orchestrator, participants, subscribers. Knows ports, no adapter."""
