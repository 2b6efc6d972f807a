"""Tells customers by mail what became of their orders."""
