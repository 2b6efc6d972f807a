"""Applications: sagas and services under one namespace, their settings, and what is checked before they run."""
