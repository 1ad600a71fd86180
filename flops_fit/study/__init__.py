"""One study as data, in Python, from keyword arguments or from `study.toml`."""
