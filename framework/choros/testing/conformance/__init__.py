"""What every adapter of a port must do, as tests that it inherits."""
