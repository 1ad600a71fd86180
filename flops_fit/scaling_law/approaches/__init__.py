"""Optima without a parametric law: each budget's own curve, interpolated minima, the envelope of training curves."""
