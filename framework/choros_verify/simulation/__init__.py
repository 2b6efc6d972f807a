"""The simulated world: the real runtime on virtual time, with faults as data. Same seed, same trace.

The services are played: each command has an effect in a ledger, and goes well, is refused, fails or hangs as the seed
says. Messages are made up from their fields where none are given. `choros sim run APP` does the same from a shell.
"""
