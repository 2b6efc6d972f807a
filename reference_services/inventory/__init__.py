"""Holds the pieces of an order, article by article."""
