"""Somebody else's service, to run the example."""
