"""Message brokers: the port, the topology as data, and the adapters."""
