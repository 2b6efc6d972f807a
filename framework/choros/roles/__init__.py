"""Roles: what one process does of an application. Here, and only here, addresses become adapters."""
