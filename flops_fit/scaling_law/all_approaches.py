"""The approaches side by side: each one's exponent and its N_opt at a larger compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.scaling_law.approaches.envelope import Envelope
from flops_fit.scaling_law.approaches.interpolated import MOST_SIZES, interpolated_minima, interpolated_power_law
from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum, fit_power_law, isoflop_minima
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.flops_per_token import optimal_params
from flops_fit.scaling_law.quantities import exponent_a

AGREE = 1.25


@dataclass(frozen=True, kw_only=True)
class Approach:
    """One approach's answer: exponent a of N_opt, N_opt at a compute, and its ratio to the law's; `note` names its
    weakness."""

    name: str
    a: float
    N: float
    ratio: float
    note: str

    @property
    def agrees(self) -> bool:
        """Within a factor 1.25 of the law."""
        return bool(1 / AGREE <= self.ratio <= AGREE)


def compare_approaches(
    law: FittedLaw, compute: float | None = None, *, curves: Envelope | None = None
) -> tuple[Approach, ...]:
    """Every approach that the runs allow, the law first, at `compute` FLOPs (default: 10 times the largest run's)."""
    compute = compute or 10 * float(law.runs.flops.max())
    N = law.N_opt(compute)
    kind, note = law.weighting.kind, law.weighting.description
    found = [Approach(name=f"law ({kind})", a=law.a, N=N, ratio=1.0, note=note)]
    if law.form != "chinchilla":
        five = float(optimal_params(law.parameters, compute, law.flops_per_token))
        found = [
            Approach(name=f"law ({law.form})", a=law.a_at(compute), N=N, ratio=1.0, note=law.prediction.description),
            Approach(name=f"five-parameter law ({kind})", a=law.a, N=five, ratio=five / N, note=note),
        ]
    if law.weighting.other is not None:
        found.append(_other(law, compute))
    for curve in ("parabola", "cubic"):
        found += _from_minima(law, compute, f"{curve} per budget", isoflop_minima(law.runs, curve=curve))
    narrow = isoflop_minima(law.runs, window=4.0)
    found += _from_minima(law, compute, "parabola, within a factor 4", narrow)
    noisy = interpolated_minima(law.runs)
    power = interpolated_power_law(noisy) if len(noisy) >= 2 else None
    if power is not None and 0 < (own := float(power(compute))) < np.inf:
        many = any(minimum.runs > MOST_SIZES for minimum in law.isoflops)
        note = f"at most {MOST_SIZES} sizes of a budget, spread evenly" if many else ""
        note = "follows noise where sizes are few" if len(law.runs) < 100 else note
        found.append(Approach(name="Akima per budget", a=power.exponent, N=own, ratio=own / N, note=note))
    if curves is not None:
        own = float(curves.N_law(compute))
        note = f"unfinished trainings; {curves.edge_share:.0%} of it at the smallest or largest model"
        found.append(Approach(name="envelope of curves", a=curves.N_law.exponent, N=own, ratio=own / N, note=note))
    return tuple(found)


def approaches_table(law: FittedLaw, compute: float | None = None, *, curves: Envelope | None = None) -> str:
    """`compare_approaches` as Markdown."""
    compute = compute or 10 * float(law.runs.flops.max())
    rows = [
        (way.name, f"{way.a:.3f}", format_count(way.N), f"{way.ratio:.2f}", "yes" if way.agrees else "no", way.note)
        for way in compare_approaches(law, compute, curves=curves)
    ]
    headers = ("Approach", "a", f"N_opt at {format_flops(compute)} FLOPs", "Over the law's", "Agrees", "Note")
    return markdown_table(headers, rows)


def _other(law: FittedLaw, compute: float) -> Approach:
    other = np.array(law.weighting.other)
    N = float(optimal_params(other, compute, law.flops_per_token))
    kind = "plain" if law.weighting.kind == "valley" else "valley"
    a = float(exponent_a(other))
    return Approach(name=f"law ({kind})", a=a, N=N, ratio=N / law.N_opt(compute), note="")


def _from_minima(law: FittedLaw, compute: float, name: str, minima: tuple[IsoflopMinimum, ...]) -> list[Approach]:
    inside = [minimum for minimum in minima if minimum.interior]
    if len(inside) < 2:
        return []
    power = fit_power_law(np.array([m.compute_budget for m in inside]), np.array([m.N for m in inside]))
    N = float(power(compute))
    if not 0 < N < np.inf:  # of budgets that lie too close to one another
        return []
    note = f"{len(inside)} of {len(minima)} budgets have a minimum inside" if len(inside) < len(minima) else ""
    worst = max((minimum.bias for minimum in law.isoflops), key=lambda bias: abs(np.log(bias)))
    if name == "parabola per budget" and abs(np.log(worst)) > 0.05:
        note += f"{'; ' if note else ''}biased by up to a factor {worst:.2f} on this grid"
    return [Approach(name=name, a=power.exponent, N=N, ratio=N / law.N_opt(compute), note=note)]
