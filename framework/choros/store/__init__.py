"""Databases of saga instances and of participants: two ports and their adapters."""
