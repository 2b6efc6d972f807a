"""The barrier in the transaction of a SQLAlchemy session or connection."""
