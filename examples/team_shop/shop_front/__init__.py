"""The people who talk to customers."""
