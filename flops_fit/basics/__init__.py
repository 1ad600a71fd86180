"""What every stage stands on: files, formatting, argument checks, random state, devices."""
