"""The people who send parcels."""
