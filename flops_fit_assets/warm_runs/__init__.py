"""Runs that Dagster launches start at once: forks of a process that has loaded Dagster, torch and the code location."""
