"""What choros says of itself: logs."""
