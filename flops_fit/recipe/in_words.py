"""What a recipe comes to for the experiments of a plan, in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flops_fit.basics.formatting import format_count
from flops_fit.recipe.recipe import TUNE, Recipe
from flops_fit.recipe.trunk_parts import at_branch
from flops_fit.sweep.experiment import Experiment


def recipe_text(recipe: Recipe, experiments: Iterable[Experiment], unit: str) -> str:
    """`"learning rate 0.008 to 0.02 (0.1*sqrt(batch/params)), batch 123 to 353 tokens, …"`.

    Values over `experiments`, and in brackets what is written in the recipe where that is no number; `unit` is that of
    the data. Of experiments that share trunks, values where these begin and where they are left.
    """
    planned = [each for item in experiments for each in (item, at_branch(recipe, item))]
    tuned = {name for item in planned for name, _ in item.tuned}
    if not planned or not tuned.issuperset(recipe.tuned):
        return f"{', '.join(recipe.tuned)} found by trials first" if recipe.tuned else ""
    own = [recipe.of(item) for item in planned]
    pairs = list(zip(own, planned, strict=True))
    parts = [
        _part("learning rate", recipe.learning_rate, [r.peak_learning_rate(item) for r, item in pairs]),
        _part("batch", recipe.batch_tokens, [r.tokens_per_step(item) for r, item in pairs], format_count, f" {unit}s"),
        _part("beta2", recipe.betas[1], [r.betas[1] for r in own]),
        _part("weight decay", recipe.weight_decay, [r.weight_decay for r in own]),
    ]
    return ", ".join(parts)


def _part(
    name: str, written: Any, values: list[float], show: Callable[[float], str] = "{:.3g}".format, unit: str = ""
) -> str:
    low, high = show(min(values)), show(max(values))
    span = low if low == high else f"{low} to {high}"
    rule = getattr(written, "__name__", "a function") if callable(written) else written
    said = f" ({'tuned' if rule == TUNE else rule})" if isinstance(rule, str) else ""
    return f"{name} {span}{unit}{said}"
