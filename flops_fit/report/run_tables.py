"""The runs, the plan and what was excluded, one by one, in the report."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.report.report_style import html_table
from flops_fit.scaling_law.figures.plot_data import run_residuals
from flops_fit.scaling_law.law import ScalingLaw

MOST_RUNS = 1000  # that are listed one by one


def runs_table(law: ScalingLaw) -> str:
    """The runs used, 1,000 at most."""
    runs, residual = law.runs, run_residuals(law)
    rows = [
        (
            html.escape(runs.experiment_id[i]),
            format_flops(runs.flops[i]),
            format_count(runs.num_params[i]),
            format_count(runs.num_tokens[i]),
            format_loss(runs.loss[i]),
            f"{residual[i]:+.2%}",
        )
        for i in _listed(len(runs))
    ]
    table = html_table(("Run", "FLOPs", "Parameters", "Tokens", "Loss", "Above the law"), rows)
    if len(rows) == len(runs):
        return table
    return f"<p>{len(rows):,} of {len(runs):,} runs, spread evenly; <code>law.runs</code> has all.</p>{table}"


def _listed(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(MOST_RUNS, count)).astype(int)).tolist()


def plan_table(plan: Any) -> str:
    """The planned trainings, 1,000 at most, and grid points that are not planned."""
    trainings = plan.trainings
    sets = any(experiment.arguments for experiment in trainings)
    rows = [
        (
            html.escape(experiment.experiment_id),
            format_flops(experiment.compute_budget),
            html.escape(experiment.label or f"{experiment.size_param} = {experiment.size_param_value}"),
            *([html.escape(", ".join(f"{name} {value}" for name, value in experiment.arguments.items()))] * sets),
            f"{experiment.num_params:,}",
            f"{experiment.num_tokens:,}",
            str(experiment.seed),
        )
        for experiment in (trainings[i] for i in _listed(len(trainings)))
    ]
    dropped = [(html.escape(str(point.compute_budget)), html.escape(point.reason)) for point in plan.dropped]
    headers = ("Experiment", "Budget (FLOPs)", "Size", *(["Sets"] if sets else []), "Parameters", "Tokens", "Seed")
    text = html_table(headers, rows)
    if len(rows) < len(trainings):
        all_of_them = "<code>sweep_plan.json</code>, and <code>flops-fit plan --json</code>, have all"
        text = f"<p>{len(rows):,} of {len(trainings):,} trainings, spread evenly; {all_of_them}.</p>{text}"
    return text + (html_table(("Not planned at", "Reason"), dropped, text=(1,)) if dropped else "")


def excluded_table(law: ScalingLaw) -> str:
    """The runs that were not used, and why."""
    rows = [(html.escape(item.experiment_id), html.escape(item.reason)) for item in law.runs.excluded]
    return html_table(("Run", "Reason"), rows, text=(1,))
