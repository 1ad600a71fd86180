"""The IsoFLOP grid: for every compute budget, which sizes to train on how many tokens."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flops_fit.basics.arguments import (
    ARGUMENTS,
    LEFT_OUT,
    TEXT,
    check_fields,
    did_you_mean,
    made_of,
    need,
    one_of,
    several,
)
from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.basics.from_json import from_json
from flops_fit.basics.shown_options import with_options
from flops_fit.errors import FileError, FlopsFitWarning, PlanError
from flops_fit.identity.fingerprints import canonical, content_hash, fingerprint_callable
from flops_fit.sizes.options import FLOPS_METHODS, PARAM_COUNTS, SizeOptions
from flops_fit.sizes.size_map import SizeMap, build_size_map
from flops_fit.sweep.diff import PlanDiff, diff_plans
from flops_fit.sweep.enough import too_few
from flops_fit.sweep.experiment import DroppedPoint, Experiment, parse_budgets
from flops_fit.sweep.grid import plan_budgets
from flops_fit.sweep.near_budgets import one_of_near
from flops_fit.sweep.options import GridOptions

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "flops_fit.sweep_plan/1"
_RULES = {
    "experiments": several(made_of(Experiment, "an Experiment"), "a list of Experiments", least=0),
    "model_cls_name": TEXT,
    "size_param": TEXT,
    "model_kwargs": ARGUMENTS,
    "param_count": one_of(*PARAM_COUNTS),
    "flops_method": one_of(*FLOPS_METHODS),
    "data_unit": TEXT,
}


@dataclass(frozen=True)
class SweepPlan:
    """What would be trained, and what would not and why.

    Attributes:
        experiments: of a plan made here, ordered by budget, then parameters, then seed.
        compute_budgets: as they were given, in that order.
        dropped: every grid point that is not there, with its reason.
        param_count: which parameters `num_params` counts: "total", "trainable", "non_embedding" or "active".
        flops_method: what `flops_per_token` is: "6nd", "measured" or "function".
        data_unit: what one unit of `num_tokens` is.
        notes: what a reader should know of the plan, also given as warnings when it was made.
        target_budgets: FLOPs at which its law is asked to predict; nothing is planned for them.
        made_from: part → hash of the study it was planned from (`Study.outcome_parts`), to tell what has changed since.
        checks: trained beside the experiments to judge their recipe (`flops_fit.rate_check`); no law is fitted to them.

    Raises `PlanError` for two experiments of one id, and for one whose budget is not among `compute_budgets`.
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
    made_from: Mapping[str, str] = field(default_factory=dict)
    checks: list[Experiment] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_fields(self, _RULES)
        object.__setattr__(self, "experiments", list(self.experiments))
        object.__setattr__(self, "compute_budgets", list(parse_budgets(self.compute_budgets)))
        object.__setattr__(self, "checks", list(self.checks))
        ids = Counter(item.experiment_id for item in self.trainings)
        for item in self.trainings:
            if item.compute_budget not in self.compute_budgets:
                raise PlanError(
                    f"experiment {item.experiment_id} is of {item.compute_budget:g} FLOPs, which are not among "
                    f"compute_budgets = {self.compute_budgets}; add them there"
                )
            if ids[item.experiment_id] > 1:
                raise PlanError(f"{ids[item.experiment_id]} experiments have the id {item.experiment_id}; it names one")

    @property
    def trainings(self) -> list[Experiment]:
        """All that is trained: the experiments, then the checks."""
        return [*self.experiments, *self.checks]

    @property
    def num_experiments(self) -> int:
        """How many experiments the plan has, without checks."""
        return len(self.experiments)

    @property
    def has_labels(self) -> bool:
        """Whether its sizes are rows of a table, told by their labels."""
        return any(item.label for item in self.trainings)

    @property
    def size_header(self) -> str:
        """What a column of sizes is headed with."""
        return "size" if self.has_labels else self.size_param

    @property
    def argument_names(self) -> tuple[str, ...]:
        """What its sizes set besides the size parameter."""
        return tuple(dict.fromkeys(name for item in self.trainings for name in item.arguments))

    @property
    def other_counts(self) -> tuple[str, ...]:
        """Of a mixture of experts: which of "total" and "active" parameters N does not count."""
        experts = any(item.active_params for item in self.trainings)
        return tuple(name for name in ("total", "active") if experts and name != self.param_count)

    def sizes(self) -> list[Experiment]:
        """One experiment of each size, in order of parameters."""
        first = {(item.size_param_value, item.num_params): item for item in reversed(self.trainings)}
        return sorted(first.values(), key=lambda item: item.num_params)

    @property
    def total_flops(self) -> float:
        """FLOPs of all experiments together, without checks."""
        return sum(experiment.planned_flops for experiment in self.experiments)

    @property
    def too_few(self) -> str | None:
        """Why no law can be fitted to what it trains, and the one thing to change; None where one can."""
        return too_few(self.experiments, self.dropped, self.notes)

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
            **({"made_from": dict(self.made_from)} if self.made_from else {}),
            **({"target_budgets": list(self.target_budgets)} if self.target_budgets else {}),
            "experiments": [experiment.to_dict() for experiment in self.experiments],
            **({"checks": [experiment.to_dict() for experiment in self.checks]} if self.checks else {}),
            "dropped": [point.to_dict() for point in self.dropped],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SweepPlan:
        """Inverse of `to_dict`. Raises `FileError` for another schema, or naming a field that is not valid."""
        if content.get("schema") != SCHEMA:
            raise FileError(f"a plan has schema {SCHEMA!r}, not {content.get('schema')!r}; plan the sweep again")
        return from_json(cls, content, without=["schema"])

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of all in the plan but the order and the repetition of its budgets, which change no experiment."""
        said = {*_repeated(self.compute_budgets), *_unordered(self.compute_budgets)}
        same = {
            "compute_budgets": sorted(set(self.compute_budgets)),
            "notes": [note for note in self.notes if note not in said],
        }
        return content_hash(self.to_dict() | same)

    def by_budget(self) -> dict[float, list[Experiment]]:
        """Every budget once, in the order they were given, with its experiments."""
        found: dict[float, list[Experiment]] = {budget: [] for budget in self.compute_budgets}
        for item in self.experiments:
            found[item.compute_budget].append(item)
        return found

    def diff(self, other: SweepPlan) -> PlanDiff:
        """What changes from this plan to `other`: experiments added, removed and kept, by id."""
        return diff_plans(self.trainings, other.trainings)

    def to_frame(self) -> pd.DataFrame:
        """One row per experiment: its fields, planned_flops, and what of its recipe is tuned."""
        import pandas as pd

        rows = [item.to_dict() | dict(item.tuned) | {"planned_flops": item.planned_flops} for item in self.experiments]
        tuned = {name: None for item in self.experiments for name, _ in item.tuned}
        own = [name for name in Experiment.__dataclass_fields__ if name != "tuned"]
        return pd.DataFrame(rows, columns=[*own, "planned_flops", *tuned])

    def summary(self) -> str:
        """A Markdown table with a row per budget, why points are missing, and why no law can be fitted to so few."""
        more = self.other_counts
        headers = (
            "budget", "sizes", self.size_header, *self.argument_names, f"N ({self.param_count})",
            *(f"N {name}" for name in more), f"{self.data_unit}s", "D/N", "FLOPs",
        )  # fmt: skip
        rows = []
        for budget, of_budget in self.by_budget().items():
            sizes = len({item.size_param_value for item in of_budget})
            spans = [
                _span([str(item.size_cell) for item in of_budget]),
                *(_span([str(item.arguments.get(name, "")) for item in of_budget]) for name in self.argument_names),
                _span([format_count(item.num_params) for item in of_budget]),
                *(_span([_count_of(item, name) for item in of_budget]) for name in more),
                _span([format_count(item.num_tokens) for item in of_budget]),
                _span([f"{item.tokens_per_param:.3g}" for item in of_budget]),
            ]
            spent = sum(item.planned_flops for item in of_budget)
            rows.append((format_flops(budget), sizes, *spans, format_flops(spent)))
        dropped = [f"dropped at {format_flops(point.compute_budget)}: {point.reason}" for point in self.dropped]
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join(
            [repr(self), "", markdown_table(headers, rows), *dropped, *notes, *filter(None, [self.too_few])]
        )

    def _repr_html_(self) -> str:
        from flops_fit.sweep.notebook import plan_html

        return plan_html(self)

    def __repr__(self) -> str:
        return (
            f"SweepPlan({self.num_experiments} experiments, {len(set(self.compute_budgets))} budgets, "
            f"total_flops={format_flops(self.total_flops)})"
        )


def _repeated(budgets: Sequence[float]) -> list[str]:
    """What to say of budgets that were given more than once."""
    return [
        f"compute_budgets has {format_flops(budget)} FLOPs {count} times; it is planned once"
        for budget, count in Counter(budgets).items()
        if count > 1
    ]


def _unordered(budgets: Sequence[float]) -> list[str]:
    """What to say of budgets that do not ascend."""
    if list(budgets) == sorted(budgets):
        return []
    return ["compute_budgets do not ascend; they are kept as given, and experiments go from the least to the greatest"]


def _span(values: Sequence[str]) -> str:
    if not values or len(set(values)) == 1:
        return "".join(values[:1])
    return f"{values[0]} to {values[-1]}"


def _count_of(experiment: Experiment, name: str) -> str:
    count = getattr(experiment, f"{name}_params")
    return "" if count is None else format_count(count)


@with_options(GridOptions)
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
        compute_budgets: training FLOPs, numbers or text such as "1e18", in any order; one that is repeated, or within
            1 % of one before it, is planned once and warned of.
        identity: hash of what decides an outcome besides size, tokens and seed (model, data, loss, recipe).
        grid: fields of `flops_fit.sweep.options.GridOptions`, such as `num_sizes_per_budget` or `seeds`.

    Raises `PlanError` for budgets or options outside their limits; warns of budgets that admit no size.
    """
    options = GridOptions.checked(grid)
    need("size_map", size_map, made_of(SizeMap, "a SizeMap, as build_size_map makes it"))
    need("model_kwargs", model_kwargs, ARGUMENTS | LEFT_OUT)
    need("identity", identity, made_of(str, "text"))
    budgets, near = one_of_near(parse_budgets(compute_budgets))
    identity = identity or content_hash([size_map.model_name, size_map.size_param, canonical(model_kwargs or {})])
    experiments, dropped, notes = plan_budgets(size_map, sorted(set(budgets)), options, identity)
    notes = [*near, *_repeated(budgets), *notes]
    for note in notes:
        warnings.warn(note, FlopsFitWarning, stacklevel=2)
    return SweepPlan(
        experiments=experiments,
        model_cls_name=size_map.model_name,
        size_param=size_map.size_param,
        compute_budgets=list(budgets),
        model_kwargs=dict(model_kwargs or {}),
        dropped=dropped,
        param_count=size_map.param_count,
        flops_method=size_map.flops_method,
        data_unit=size_map.data_unit,
        notes=(*_unordered(budgets), *notes),
    )


@with_options(GridOptions, build_size_map, plan_from_size_map)
def plan_sweep(
    model_cls: Callable[..., Any],
    size_param: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    compute_budgets: Sequence[float | str] | None = None,
    *,
    sizes: Any = None,
    config: Callable[..., Any] | None = None,
    num_sizes_per_budget: int = GridOptions.num_sizes_per_budget,
    min_size: int | None = None,
    max_size: int | None = None,
    size_values: Sequence[int] | None = None,
    size_multiple: int | str | None = None,
    flops_per_param_per_token: float = SizeOptions.flops_per_param_per_token,
    **options: Any,
) -> SweepPlan:
    """Probe a model class and plan its sweep: `build_size_map`, then `plan_from_size_map`.

    `options` are the other keyword arguments of both; an unknown one is a `TypeError` that names the nearest known one.
    Without `identity`, experiment ids depend on the model's source and arguments.
    """
    budgets = parse_budgets(compute_budgets)
    options |= {"min_size": min_size, "max_size": max_size, "size_values": size_values}
    options |= {"size_multiple": size_multiple}
    options |= {"num_sizes_per_budget": num_sizes_per_budget, "flops_per_param_per_token": flops_per_param_per_token}
    of_map, of_grid = SizeOptions.__dataclass_fields__, GridOptions.__dataclass_fields__
    known = {*of_map, *of_grid, "identity"}
    for name in options:
        if name not in known:
            raise TypeError(f"plan_sweep() got an unknown option {name!r}; {did_you_mean(name, known)}")
    probing = {name: value for name, value in options.items() if name in of_map}
    planning = {name: value for name, value in options.items() if name in of_grid}
    GridOptions.checked(planning)  # before any probing
    size_map = build_size_map(model_cls, size_param, model_kwargs, sizes=sizes, config=config, **probing)
    definition = [fingerprint_callable(model_cls), size_map.size_param, canonical(model_kwargs or {})]
    definition += [] if config is None else [fingerprint_callable(config)]
    identity = options.get("identity", content_hash(definition))
    return plan_from_size_map(size_map, budgets, identity=identity, model_kwargs=model_kwargs, **planning)
