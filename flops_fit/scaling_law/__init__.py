"""Fitting scaling laws to a table of runs; numpy, pandas and scipy only."""

from flops_fit.scaling_law.finding import Diagnostic
from flops_fit.scaling_law.fit import fit_scaling_law
from flops_fit.scaling_law.isoflop import IsoflopMinimum, isoflop_minima
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.runs import Runs, read_runs

__all__ = ["Diagnostic", "IsoflopMinimum", "Runs", "ScalingLaw", "fit_scaling_law", "isoflop_minima", "read_runs"]
