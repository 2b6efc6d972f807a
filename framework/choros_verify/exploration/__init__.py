"""Exploration: every interleaving of a declared saga within stated budgets, held to what choros promises.

The machine and the barrier's decisions are the real ones; what they are made of around it (store, broker, database) is
as simple as their ports promise. `choros verify APP` does the same from a shell.
"""
