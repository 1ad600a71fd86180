"""What each command of `flops-fit` does."""
