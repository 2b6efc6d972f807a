"""The barrier in a database that speaks SQL, whatever driver speaks to it."""
