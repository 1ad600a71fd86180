"""What became of an experiment: its result as data, found again, or matched from a table of other runs."""
