"""The table of predictions, the same in the terminal, the report and the pages."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.quantities import checked_compute
from flops_fit.scaling_law.table.runs import without_rounding

PREDICTION_HEADERS = ("Compute (FLOPs)", "N_opt", "90 %", "D_opt", "D/N", "Loss", "90 %")
VERDICT_HEADERS = ("Compute (FLOPs)", "N_opt, 90 %", "Verdict on N_opt", "Loss, 90 %", "Verdict on loss")


def budgets_to_show(own: Iterable[float], targets: Iterable[float]) -> list[float]:
    """Both together, ascending, each once."""
    return np.unique(without_rounding(checked_compute([*own, *targets]))).tolist()


def prediction_rows(law: FittedLaw, budgets: Iterable[float]) -> list[tuple[str, ...]]:
    """The compute optimum at each of `budgets` as cells under `PREDICTION_HEADERS`; dashes for a law that the runs do
    not determine."""
    dashes = ("–",) * (len(PREDICTION_HEADERS) - 1)
    return [
        _row(law, compute) if law.determined else (format_flops(compute), *dashes)
        for compute in checked_compute([*budgets])
    ]


def judged_budgets(law: FittedLaw, targets: Iterable[float] = ()) -> list[float]:
    """Where a verdict is shown: the two largest budgets that predictions are shown at without asking, and `targets`."""
    return budgets_to_show(law.default_budgets()[-2:], targets)


def verdict_rows(law: FittedLaw, budgets: Iterable[float]) -> list[tuple[str, ...]]:
    """Compute, N_opt's error at 90 %, its verdict, the loss's error and its verdict; nothing of a law that the runs do
    not determine."""
    rows: list[tuple[str, ...]] = []
    for compute in budgets if law.determined else ():
        size, loss = (law.predicted_error(compute, name) for name in ("N_opt", "loss"))
        said = [law.verdict_at(compute, name) for name in ("N_opt", "loss")]
        rows.append((format_flops(compute), f"within x{1 + size:.2f}", said[0], f"within {loss:.2%}", said[1]))
    return rows


def _row(law: FittedLaw, compute: float) -> tuple[str, ...]:
    at = law.predict(compute)
    (n_low, n_high), (l_low, l_high) = at["optimal_params_interval"], at["expected_loss_interval"]
    return (
        format_flops(compute),
        format_count(at["optimal_params"]),
        f"{format_count(n_low)} to {format_count(n_high)}",
        format_count(at["optimal_tokens"]),
        f"{at['tokens_per_param']:.3g}",
        format_loss(at["expected_loss"]),
        f"{format_loss(l_low)} to {format_loss(l_high)}",
    )
