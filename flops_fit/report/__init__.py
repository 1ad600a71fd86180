"""The report of a law: one HTML file."""
