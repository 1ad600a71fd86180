"""A study run without pages: only what is stale or missing, on workers of this machine."""
