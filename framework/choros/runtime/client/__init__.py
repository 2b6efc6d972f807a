"""The client: starts sagas, acts on them, and tells what became of them."""
