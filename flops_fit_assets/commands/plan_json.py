"""`flops-fit plan --json`: the keys, which stay as they are within a schema; units are in the names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flops_fit.cost.devices import Devices
from flops_fit.rate_check.planned import cost_text
from flops_fit_assets.commands.planned import Planned

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

SCHEMA = "flops_fit.plan_command/1"


def plan_json(found: Planned) -> dict[str, Any]:
    """One object: the study, its experiments with what each costs, the totals, and why it would be refused, if it is.

    Seconds are of one device, `wall_seconds` until the last worker is done; money is in the unit of price_per_hour.
    """
    plan, cost, spent = found.plan, found.cost, found.spent
    priced = found.study.hardware.price_per_hour > 0
    return {
        "schema": SCHEMA,
        "study": found.study.name,
        "model": plan.model_cls_name,
        "param_count": plan.param_count,
        "flops_per_token": plan.flops_method,
        "data_unit": plan.data_unit,
        "budgets_flops": [*plan.compute_budgets],
        "instead_of_budgets_flops": [*found.instead_of],
        "experiments": [_experiment(found, item) for item in plan.experiments],
        "checks": [_experiment(found, item) for item in plan.trainings if item not in plan.experiments],
        "dropped": [
            {
                "budget_flops": point.compute_budget,
                "size": point.size_param_value,
                "label": point.label or None,
                "num_params": point.num_params,
                "reason": point.reason,
            }
            for point in plan.dropped
        ],
        "total": {
            "experiments": plan.num_experiments,
            "flops": plan.total_flops,
            "device_seconds": 3600 * cost.device_hours,
            "money": cost.money if priced else None,
        },
        "left": {
            "experiments": spent.left_experiments,
            "flops": spent.left_flops,
            "device_seconds": 3600 * spent.left_hours,
            "wall_seconds": 3600 * spent.left_wall_hours,
            "money": spent.left_money if priced else None,
        },
        "workers": cost.workers,
        "seconds_rest_on": cost.basis,
        "peak_memory_bytes": max((size for size in cost.memory_bytes.values() if size is not None), default=None),
        "device_memory_bytes": cost.device_bytes,
        "state": found.progress.state() if found.progress else None,
        "would_be_refused": found.refusals,
        "notes": [*plan.notes, *([cost_text(plan.checks, plan.experiments)] if plan.checks else [])],
    }


def _experiment(found: Planned, item: Experiment) -> dict[str, Any]:
    name = item.experiment_id
    return {
        "experiment_id": name,
        "budget_flops": item.compute_budget,
        "planned_flops": item.planned_flops,
        "size_param": item.size_param,
        "size": item.size_param_value,
        "label": item.label or None,
        "arguments": dict(item.arguments),
        "num_params": item.num_params,
        "num_tokens": item.num_tokens,
        "tokens_per_param": item.tokens_per_param,
        "seed": item.seed,
        "seconds": found.cost.seconds[name],
        "memory_bytes": found.cost.memory_bytes[name],
        "devices": found.cost.devices.get(name, Devices()).count,
        "state": found.state(name),
    }
