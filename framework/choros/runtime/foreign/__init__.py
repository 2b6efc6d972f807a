"""Facts of producers that know nothing of choros, published here as facts of their own publisher."""
