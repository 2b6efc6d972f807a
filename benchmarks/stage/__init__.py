"""The stages of one saga, each by itself: what is done, how often, and what it costs in processor time."""
