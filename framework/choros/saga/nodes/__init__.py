"""What a saga is made of: one file for each kind of node."""
