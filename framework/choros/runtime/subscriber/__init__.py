"""Subscribers: the facts of others, handled in their own time, tracked by nobody."""
