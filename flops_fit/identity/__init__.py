"""What code and data are, as hashes that ignore comments and formatting."""
