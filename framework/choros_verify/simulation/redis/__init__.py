"""A Redis server of a simulated world: it speaks the protocol, and does what choros asks of one."""
