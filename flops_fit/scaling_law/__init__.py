"""Fitting scaling laws to a table of runs; numpy, pandas and scipy only."""

from flops_fit.scaling_law.answers import effective_tokens
from flops_fit.scaling_law.approaches.envelope import Envelope, envelope
from flops_fit.scaling_law.approaches.interpolated import interpolated_minima, interpolated_power_law
from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum, isoflop_minima
from flops_fit.scaling_law.checks.diagnostic import Diagnostic
from flops_fit.scaling_law.compare_approaches import approaches_table, compare_approaches
from flops_fit.scaling_law.fit import fit_scaling_law
from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.repetition import fit_repetition
from flops_fit.scaling_law.table.runs import Runs, read_runs

__all__ = [
    "Diagnostic",
    "Envelope",
    "FlopsPerToken",
    "IsoflopMinimum",
    "Runs",
    "ScalingLaw",
    "approaches_table",
    "compare_approaches",
    "effective_tokens",
    "envelope",
    "fit_repetition",
    "fit_scaling_law",
    "interpolated_minima",
    "interpolated_power_law",
    "isoflop_minima",
    "read_runs",
]
