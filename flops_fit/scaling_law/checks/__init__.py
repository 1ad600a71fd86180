"""Whether a law can be trusted: findings about its runs and its fit, and the verdict."""
