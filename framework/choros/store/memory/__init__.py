"""The stores in memory."""
