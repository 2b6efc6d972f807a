"""The orchestrator: replies and timers in, decisions stored, commands and facts out."""
