"""The IsoFLOP grid: for every compute budget, which sizes to train on how many tokens."""

from flops_fit.sweep.counts import plan_from_counts
from flops_fit.sweep.diff import PlanDiff, diff_plans
from flops_fit.sweep.experiment import DroppedPoint, Experiment, parse_budget
from flops_fit.sweep.options import GridOptions
from flops_fit.sweep.sweep_plan import SweepPlan, plan_from_size_map, plan_sweep

__all__ = [
    "DroppedPoint",
    "Experiment",
    "GridOptions",
    "PlanDiff",
    "SweepPlan",
    "diff_plans",
    "parse_budget",
    "plan_from_counts",
    "plan_from_size_map",
    "plan_sweep",
]
