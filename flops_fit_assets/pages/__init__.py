"""Dagster's web pages as `flops-fit ui` serves them: its web server behind a guard, with daemon and code server."""
