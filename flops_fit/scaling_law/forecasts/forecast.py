"""Forecast: a sealed forecast with what people ask of it: how it reads, and how it came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.checks.diverged import without_diverged
from flops_fit.scaling_law.forecasts.calibration import Calibration, calibrate
from flops_fit.scaling_law.forecasts.sealed import Answer, SealedForecast, Target
from flops_fit.scaling_law.table.runs import Runs, read_runs

PUBLISH = "publish it, or commit the file, to show later that the forecast was made before the runs"


class Forecast(SealedForecast):
    """What a law says of budgets that are still to be trained, sealed by a hash; attributes as of `SealedForecast`."""

    def score(self, runs: Any, *, units: Mapping[str, float] | None = None) -> Calibration:
        """How it came out, by runs trained at its targets since; `runs` and `units` as `fit_scaling_law` takes them."""
        return calibrate([self], usable_runs(runs, units))

    def summary(self) -> str:
        """Every target with its intervals and verdicts, what it was made from, and the seal, as text."""
        made = self.made.replace("T", " ")[:16]
        head = (
            f"Forecast of {made} UTC, intervals at {100 * self.level:g} %, by a law of {self.runs} runs "
            f"up to {format_flops(self.largest_compute)} FLOPs"
        )
        facts = [
            f"  data      {self.data_version[:16]}",
            f"  law       {self.law_version[:16]}",
            f"  sha256    {self.sha256}",
            f"            {PUBLISH}",
        ]
        return "\n\n".join([head, *map(_target, self.targets), "\n".join(facts)])


def usable_runs(runs: Any, units: Mapping[str, float] | None = None) -> Runs:
    """Runs as `fit_scaling_law` uses them by default: without rows that cannot be used and those that diverged."""
    return runs if isinstance(runs, Runs) else without_diverged(read_runs(runs, units=units))


def _target(target: Target) -> str:
    lines = [f"  at {format_flops(target.compute)} FLOPs"]
    for name, answer, verdict in (
        ("N_opt", target.N_opt, target.verdicts.get("N_opt", "")),
        ("D_opt", target.D_opt, target.verdicts.get("D_opt", "")),
        ("loss", target.L_opt, target.verdicts.get("loss", "")),
        ("one run", target.at_optimum.new_run, ""),
    ):
        value, band = _shown(name, answer)
        lines.append(f"    {name:<9} {value:<9} {band:<22} {verdict}".rstrip())
    return "\n".join(lines)


def _shown(name: str, answer: Answer) -> tuple[str, str]:
    if name in ("N_opt", "D_opt"):
        return format_count(answer.value), f"[{format_count(answer.low)}, {format_count(answer.high)}]"
    return format_loss(answer.value), f"[{format_loss(answer.low)}, {format_loss(answer.high)}]"
