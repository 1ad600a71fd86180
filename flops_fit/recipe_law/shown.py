"""The recipe law as rows of tables: the rule, its values where it is used, the trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_count
from flops_fit.recipe.tuning import Cell, RecipeLaw

if TYPE_CHECKING:
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe

RULE_HEADERS = ("number", "best value", "exponent of N (90 %)", "exponent of D (90 %)")
OPTIMUM_HEADERS = ("N", "D", "number", "used", "optimum, 90 %", "loss expected to be lost")
TRIAL_HEADERS = ("N", "D", "tried", "loss")


def rule_rows(law: RecipeLaw) -> list[tuple[str, ...]]:
    """A row for each tuned number: the power law and its exponents with intervals."""
    N, D = law.origin
    rows: list[tuple[str, ...]] = []
    for name in law.names:
        (p, *of_p), (q, *of_q) = (law.exponent(name, of) for of in ("num_params", "num_tokens"))
        rule = f"{law.optimum(name, N, D):.3g} * (N/{format_count(N)})^{p:.2f} * (D/{format_count(D)})^{q:.2f}"
        rows.append((name, rule, _with_interval(p, of_p), _with_interval(q, of_q)))
    return rows


def _with_interval(middle: float, ends: Iterable[float]) -> str:
    low, high = ends
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def optimum_rows(found: TunedRecipe, places: Iterable[Cell]) -> list[tuple[str, ...]]:
    """Rows for each (N, D): the value that is used, where the optimum lies, and what is expected to be lost."""
    rows: list[tuple[str, ...]] = []
    for N, D in places:
        used, lost = found.values(N, D), f"{found.law.expected_excess(N, D):.2%}"
        for name in found.law.names:
            low, high = found.law.interval(name, N, D)
            between = f"{low:.3g} to {high:.3g}"
            rows.append((format_count(N), format_count(D), name, f"{used[name]:.3g}", between, lost))
    return rows


def trial_rows(found: TunedRecipe) -> list[tuple[str, ...]]:
    """A row for each trial, by size and tokens."""
    return [
        (
            format_count(trial.num_params),
            format_count(trial.num_tokens),
            ", ".join(f"{name} = {value:.3g}" for name, value in trial.values.items()),
            "diverged" if trial.loss is None else f"{trial.loss:.4f}",
        )
        for trial in sorted(found.trials, key=lambda trial: trial.key)
    ]
