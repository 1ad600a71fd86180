"""Dagster's instance: its home, its database, its locks and its devices."""
