"""The IsoFLOP grid: for every compute budget, which sizes to train on how many tokens."""
