"""Sagas: the declaration, its checks, its diagram, and the machine that decides. Pure: no clock, no I/O, no chance."""
