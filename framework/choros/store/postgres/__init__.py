"""The saga store in PostgreSQL."""
