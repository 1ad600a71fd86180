"""What Dagster's pages show of each asset."""
