"""Revenue by day and country."""
