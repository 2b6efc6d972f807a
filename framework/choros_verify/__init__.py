"""The proof: every interleaving of a declared saga, and the real runtime in a simulated world."""
