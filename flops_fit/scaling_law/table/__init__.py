"""The table of runs: its columns and units, and which rows are excluded."""
