"""The table of runs: whose columns they are, and which rows can be used."""
