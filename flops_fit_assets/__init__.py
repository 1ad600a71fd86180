"""The Dagster pipeline of a study: runs it, remembers it, and redoes only what a change affects."""
