"""The recipe law: learning rate, batch and other recipe numbers found by trials, as power laws of N and D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

_EXPORTS = {
    "Cell": "trial",
    "Trial": "trial",
    "Tuned": "tuned",
    "RecipeLaw": "recipe_law",
    "fit_recipe_law": "fit",
    "next_trials": "next_trials",
}

__all__ = [*_EXPORTS]

if TYPE_CHECKING:
    from flops_fit.recipe.tuning.fit import fit_recipe_law as fit_recipe_law
    from flops_fit.recipe.tuning.next_trials import next_trials as next_trials
    from flops_fit.recipe.tuning.recipe_law import RecipeLaw as RecipeLaw
    from flops_fit.recipe.tuning.trial import Cell as Cell
    from flops_fit.recipe.tuning.trial import Trial as Trial
    from flops_fit.recipe.tuning.tuned import Tuned as Tuned

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
