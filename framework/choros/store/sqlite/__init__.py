"""The stores in SQLite files."""
