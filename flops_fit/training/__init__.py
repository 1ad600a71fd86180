"""One experiment becomes one result: the loop, its checkpoints, its failures, and many of them side by side."""
