"""The hand-packed floor: what the broker and Redis allow of one process, with nothing between it and the bytes."""
