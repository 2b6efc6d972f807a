"""Books parcels at a carrier."""
