"""The people who take money."""
