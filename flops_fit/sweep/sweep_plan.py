"""The IsoFLOP grid: for every compute budget, which sizes to train on how many tokens."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flops_fit.basics.arguments import ARGUMENTS, LEFT_OUT, made_of, need
from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.basics.identity import canonical, content_hash, fingerprint_callable
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.sizes.options import SizeOptions
from flops_fit.sizes.size_map import SizeMap, build_size_map
from flops_fit.sweep.diff import PlanDiff, diff_plans
from flops_fit.sweep.experiment import DroppedPoint, Experiment, parse_budget, parse_budgets
from flops_fit.sweep.grid import GridOptions, plan_budgets

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DroppedPoint", "Experiment", "SweepPlan", "parse_budget", "plan_from_size_map", "plan_sweep"]

SCHEMA = "flops_fit.sweep_plan/1"


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What would be trained, and what would not and why.

    Attributes:
        experiments: ordered by budget, then parameters, then seed.
        dropped: every grid point that is not there, with its reason.
        param_count: which parameters `num_params` counts: "total", "trainable" or "non_embedding".
        flops_method: what `flops_per_token` is: "6nd", "measured" or "function".
        data_unit: what one unit of `num_tokens` is.
        notes: what a reader should know of the plan, also given as warnings when it was made.
        target_budgets: FLOPs at which its law is asked to predict; nothing is planned for them.
    """

    experiments: list[Experiment]
    model_cls_name: str
    size_param: str
    compute_budgets: list[float]
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    dropped: list[DroppedPoint] = field(default_factory=list)
    param_count: str = "total"
    flops_method: str = "6nd"
    data_unit: str = "token"
    notes: tuple[str, ...] = ()
    target_budgets: tuple[float, ...] = ()

    @property
    def num_experiments(self) -> int:
        """How many trainings the plan has."""
        return len(self.experiments)

    @property
    def total_flops(self) -> float:
        """FLOPs of all experiments together."""
        return sum(experiment.planned_flops for experiment in self.experiments)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.sweep_plan/1`."""
        return {
            "schema": SCHEMA,
            "model_cls_name": self.model_cls_name,
            "size_param": self.size_param,
            "compute_budgets": self.compute_budgets,
            "model_kwargs": canonical(self.model_kwargs),
            "param_count": self.param_count,
            "flops_method": self.flops_method,
            "data_unit": self.data_unit,
            "notes": list(self.notes),
            **({"target_budgets": list(self.target_budgets)} if self.target_budgets else {}),
            "experiments": [experiment.to_dict() for experiment in self.experiments],
            "dropped": [point.to_dict() for point in self.dropped],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SweepPlan:
        """Inverse of `to_dict`. Raises `FileError` for a dictionary of another schema."""
        if content.get("schema") != SCHEMA:
            raise FileError(f"a plan has schema {SCHEMA!r}, not {content.get('schema')!r}; plan the sweep again")
        given = {name: value for name, value in content.items() if name != "schema"}
        given["experiments"] = [Experiment.from_dict(item) for item in content["experiments"]]
        for name in ("notes", "target_budgets"):
            given[name] = tuple(content.get(name, ()))
        given["dropped"] = [DroppedPoint.from_dict(item) for item in content["dropped"]]
        return cls(**given)

    def diff(self, other: SweepPlan) -> PlanDiff:
        """What changes from this plan to `other`: experiments added, removed and kept, by id."""
        return diff_plans(self.experiments, other.experiments)

    def to_frame(self) -> pd.DataFrame:
        """One row per experiment: its fields, then tokens_per_param and planned_flops."""
        import pandas as pd

        derived = ("tokens_per_param", "planned_flops")
        rows = [
            experiment.to_dict() | {name: getattr(experiment, name) for name in derived}
            for experiment in self.experiments
        ]
        return pd.DataFrame(rows, columns=[*Experiment.__dataclass_fields__, *derived])

    def summary(self) -> str:
        """A Markdown table with a row per budget, then why points are missing."""
        headers = ("budget", "sizes", self.size_param, f"N ({self.param_count})", f"{self.data_unit}s", "D/N", "FLOPs")
        rows = []
        for budget in self.compute_budgets:
            of_budget = [item for item in self.experiments if item.compute_budget == budget]
            sizes = len({item.size_param_value for item in of_budget})
            spans = [
                _span([str(item.size_param_value) for item in of_budget]),
                _span([format_count(item.num_params) for item in of_budget]),
                _span([format_count(item.num_tokens) for item in of_budget]),
                _span([f"{item.tokens_per_param:.3g}" for item in of_budget]),
            ]
            spent = sum(item.planned_flops for item in of_budget)
            rows.append((format_flops(budget), sizes, *spans, format_flops(spent)))
        dropped = [f"dropped at {format_flops(point.compute_budget)}: {point.reason}" for point in self.dropped]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([repr(self), "", markdown_table(headers, rows), *dropped, *notes])

    def __repr__(self) -> str:
        budgets = len(self.compute_budgets)
        return (
            f"SweepPlan({self.num_experiments} experiments, {budgets} budgets, "
            f"total_flops={format_flops(self.total_flops)})"
        )


def _span(values: Sequence[str]) -> str:
    return f"{values[0]} to {values[-1]}" if values else ""


def plan_from_size_map(
    size_map: SizeMap,
    compute_budgets: Sequence[float | str],
    *,
    identity: str = "",
    model_kwargs: Mapping[str, Any] | None = None,
    **grid: Any,
) -> SweepPlan:
    """Plan the IsoFLOP grid of each budget from a size map.

    Sizes are spread evenly in log N around the size that sees `tokens_per_param` tokens per parameter at that budget.
    Budgets are planned apart from one another: the plan for more budgets contains the plan for fewer, ids included,
    and one size may serve several budgets.

    Args:
        compute_budgets: training FLOPs, numbers or text such as "1e18"; repeated ones count once.
        identity: hash of what decides an outcome besides size, tokens and seed (model, data, loss, recipe).
        grid: fields of `flops_fit.sweep.grid.GridOptions`, such as `num_sizes_per_budget` or `seeds`.

    Raises `PlanError` for budgets or options that make no sense; warns of budgets that admit no size.
    """
    options = GridOptions.checked(grid)
    need("size_map", size_map, made_of(SizeMap, "a SizeMap, as build_size_map makes it"))
    need("model_kwargs", model_kwargs, ARGUMENTS | LEFT_OUT)
    budgets = sorted(set(parse_budgets(compute_budgets)))
    identity = identity or content_hash([size_map.model_name, size_map.size_param, canonical(model_kwargs or {})])
    experiments, dropped, notes = plan_budgets(size_map, budgets, options, identity)
    for note in notes:
        warnings.warn(note, FlopsFitWarning, stacklevel=2)
    return SweepPlan(
        experiments=experiments,
        model_cls_name=size_map.model_name,
        size_param=size_map.size_param,
        compute_budgets=budgets,
        model_kwargs=dict(model_kwargs or {}),
        dropped=dropped,
        param_count=size_map.param_count,
        flops_method=size_map.flops_method,
        data_unit=size_map.data_unit,
        notes=tuple(notes),
    )


def plan_sweep(
    model_cls: Callable[..., Any],
    size_param: str,
    model_kwargs: Mapping[str, Any] | None = None,
    compute_budgets: Sequence[float | str] | None = None,
    *,
    num_sizes_per_budget: int = GridOptions.num_sizes_per_budget,
    min_size: int | None = None,
    max_size: int | None = None,
    size_values: Sequence[int] | None = None,
    flops_per_param_per_token: float = 6.0,
    **options: Any,
) -> SweepPlan:
    """Probe a model class and plan its sweep: `build_size_map`, then `plan_from_size_map`.

    `options` are the other keyword arguments of both; an unknown one is a `TypeError` that names the nearest known one.
    Without `identity`, experiment ids depend on the model's source and arguments.
    """
    budgets = parse_budgets(compute_budgets)
    of_map = set(SizeOptions.__dataclass_fields__)
    of_plan = {*GridOptions.__dataclass_fields__, "identity"}
    for name in options:
        if name not in of_map | of_plan:
            near = difflib.get_close_matches(name, of_map | of_plan, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(of_map | of_plan))}"
            raise TypeError(f"plan_sweep() got an unknown option {name!r}; {hint}")
    probing = {name: value for name, value in options.items() if name in of_map}
    probing |= {"min_size": min_size, "max_size": max_size, "size_values": size_values}
    probing["flops_per_param_per_token"] = flops_per_param_per_token
    planning = {name: value for name, value in options.items() if name in of_plan}
    planning["num_sizes_per_budget"] = num_sizes_per_budget
    definition = [fingerprint_callable(model_cls), size_param, canonical(model_kwargs or {})]
    planning.setdefault("identity", content_hash(definition))
    size_map = build_size_map(model_cls, size_param, model_kwargs, **probing)
    return plan_from_size_map(size_map, budgets, model_kwargs=model_kwargs, **planning)
