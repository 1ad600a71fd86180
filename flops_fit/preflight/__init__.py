"""What is tried before the compute is spent: first steps at both ends of the grid, and the learning rate."""
