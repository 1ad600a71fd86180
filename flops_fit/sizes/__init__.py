"""Size → parameters and FLOPs per token of a model class, without budgets and without weights."""
