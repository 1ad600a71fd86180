"""What every stage stands on: files, hashes, formatting, random state, devices, worker processes."""
