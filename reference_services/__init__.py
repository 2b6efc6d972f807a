"""A shop of six services, each with its own database. They share `contracts.py` and nothing else."""
