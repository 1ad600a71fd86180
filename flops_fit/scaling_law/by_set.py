"""The optima that the losses on each of several held-out sets ask for, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_count, format_flops, format_loss

if TYPE_CHECKING:
    from flops_fit.scaling_law.fitted import FittedLaw

SET_OPTION, OPTIMA_OPTION = "held_out_set", "optima_by_set"  # of a law: which set it is of, and the optima of all
SET_HEADERS = ("Held-out set", "Runs", "Compute (FLOPs)", "N_opt", "90 %", "D_opt", "Loss", "90 %")
_DASHES = ("–",) * 5


def optima_of(name: str, law: FittedLaw, budgets: Iterable[float]) -> list[dict[str, Any]]:
    """What the law of the set `name` says at each of `budgets` (FLOPs), as plain values; numbers of a law that the
    runs do not determine are left out."""
    runs = len(law.runs)
    if not law.determined:
        return [{"set": name, "runs": runs, "compute": float(compute)} for compute in budgets]
    rows = []
    for compute in budgets:
        at = law.predict(compute)
        rows.append(
            {
                "set": name,
                "runs": runs,
                "compute": float(compute),
                "N_opt": float(at["optimal_params"]),
                "N_opt_interval": [float(end) for end in at["optimal_params_interval"]],
                "D_opt": float(at["optimal_tokens"]),
                "loss": float(at["expected_loss"]),
                "loss_interval": [float(end) for end in at["expected_loss_interval"]],
            }
        )
    return rows


def unfitted(name: str, runs: int, why: str) -> dict[str, Any]:
    """The row of a set to whose losses no law could be fitted."""
    return {"set": name, "runs": runs, "why": why}


def set_rows(law: FittedLaw) -> list[tuple[str, ...]]:
    """The optima by set as cells under `SET_HEADERS`; none for a study with a single set."""
    return [_cells(row) for row in law.options.get(OPTIMA_OPTION, ())]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    head = (str(row["set"]), str(row["runs"]))
    if "compute" not in row:
        return (*head, str(row["why"]), *_DASHES)
    if "N_opt" not in row:
        return (*head, format_flops(row["compute"]), *_DASHES)
    n_low, n_high = row["N_opt_interval"]
    l_low, l_high = row["loss_interval"]
    return (
        *head,
        format_flops(row["compute"]),
        format_count(row["N_opt"]),
        f"{format_count(n_low)} to {format_count(n_high)}",
        format_count(row["D_opt"]),
        format_loss(row["loss"]),
        f"{format_loss(l_low)} to {format_loss(l_high)}",
    )
