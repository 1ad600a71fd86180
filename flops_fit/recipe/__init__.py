"""Training hyperparameters as functions of the experiment, and the published rules for them."""

from flops_fit.recipe.recipe import Recipe, doubts, rules_in
from flops_fit.recipe.steps import Steps, plan_steps

__all__ = ["Recipe", "Steps", "doubts", "plan_steps", "rules_in"]
