"""The command line as people type it: arguments, options, help and exit codes; the work is in `commands`."""
