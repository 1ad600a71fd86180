"""The parametric law: objective, starts, minimiser, weighting and uncertainty."""
