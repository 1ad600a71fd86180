"""Runs trained elsewhere as results of a plan's experiments: matched by size, tokens and seed, or not, and why."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flops_fit.errors import FileError, ResultError, StudyError
from flops_fit.results.results import ExperimentResult, load_runs
from flops_fit.sizes.dial import ROW
from flops_fit.sweep.experiment import PLAN_TOLERANCE, Experiment
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit.tables.headings import SYNONYMS, likely
from flops_fit.tables.losses import to_be_positive, why_no_law

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """A row of a runs table that belongs to no experiment, and why; rows count from 1, a header not included."""

    row: int
    reason: str


class _NoMatch(Exception):
    """Why a row matches no experiment."""


def match_runs(
    plan: SweepPlan,
    table: pd.DataFrame | str | os.PathLike[str],
    measured: Mapping[str, tuple[str, str]] | None = None,
    **reading: Any,
) -> tuple[list[ExperimentResult], list[Unmatched]]:
    """Results of the experiments of `plan` that rows of `table` are runs of, in the table's order; and the other rows.

    `table` is a data frame, or a file or directory as for `flops_fit.load_runs`; its names, numbers and units are read
    as `fit_scaling_law` reads them, and so are `units`, `columns`, `loss_kind` and `loss_offset` in `reading`
    (`flops_fit.tables.named.named_table`). A row needs `num_tokens` within 2 % of those planned, `loss`, and at least
    one of `num_params`, the size (a column named as the plan's size parameter, `size_param_value`, or `label` of sizes
    that have one) and `experiment_id`; what is given must all agree. `seed` is 0 where it is not given. Optional:
    `flops` (within 2 % of those planned), `train_loss`, `seconds`, `steps`, and `status`: of rows that have one,
    "completed" and "diverged" are taken. `measured` are columns of losses on held-out sets and of metrics, with what
    each is of and its hash (`flops_fit.study.named_sets.measured_columns`); those that a row has are taken too.

    Raises `FileError` for a table without these columns, `FitError` for names and units that it does not have,
    `FileNotFoundError` where there is none, and `StudyError` for a plan whose experiments share trunks.
    """
    import pandas as pd

    if any(item.trunk for item in plan.experiments):
        raise StudyError(
            "the experiments of this plan share trunks (training.share_trunk), which runs trained elsewhere do not; "
            "leave share_trunk out, or fit the runs by themselves (flops-fit fit)"
        )
    frame = table if isinstance(table, pd.DataFrame) else load_runs(table)
    frame = _read(plan, frame, measured or {}, reading)
    _check_columns(plan, frame)
    found: dict[str, ExperimentResult] = {}
    first, unmatched = dict[str, int](), []
    for row, run in enumerate(_rows(frame), start=1):
        try:
            result = _matched(plan, run, measured or {})
            if result.experiment_id in first:
                raise _NoMatch(f"row {first[result.experiment_id]} is the same experiment, {result.experiment_id}")
            found[result.experiment_id], first[result.experiment_id] = result, row
        except (_NoMatch, ResultError) as error:
            unmatched.append(Unmatched(row=row, reason=str(error)))
    return list(found.values()), unmatched


def _read(
    plan: SweepPlan, frame: pd.DataFrame, measured: Mapping[str, Any], reading: Mapping[str, Any]
) -> pd.DataFrame:
    """The table under our names. What a tracker calls a run is no id of an experiment, and a status is what it says."""
    import pandas as pd

    from flops_fit.tables.named import named_table

    own = {plan.size_param, "size_param_value", "label", *measured}
    named = named_table(frame, apart=own, **reading)
    read = named.frame
    for name, cells in named.unread.items():  # which are said with the row
        if name in read and cells:
            read[name] = pd.Series([cells.get(at, value) for at, value in enumerate(read[name])], dtype=object)
    if "experiment_id" not in frame.columns and "experiment_id" not in (reading.get("columns") or {}):
        read = read.drop(columns="experiment_id", errors="ignore")
    if "status" in read:
        read["status"] = read["status"].astype(str).str.lower()
    return read


def _check_columns(plan: SweepPlan, frame: pd.DataFrame) -> None:
    columns, names = set(frame.columns), ("num_params", *_size_columns(plan), "experiment_id")
    missing = [name for name in ("num_tokens", "loss") if name not in columns]
    if missing or not columns.intersection(names):
        needed = missing or [f"one of {', '.join(dict.fromkeys(names))}"]
        found = [str(column) for column in frame.columns]
        may_be = [f"{name}={other}" for name in missing for other in likely(name, found) if other not in SYNONYMS]
        remedy = f"; if so, give --columns {','.join(may_be)}" if may_be else ""
        raise FileError(f"a table of runs to import needs the column {needed[0]}; it has {', '.join(found)}{remedy}")


def _size_columns(plan: SweepPlan) -> tuple[str, ...]:
    return (*(["label"] if plan.has_labels else []), plan.size_param, "size_param_value")


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as plain values, without those that are empty."""
    for record in frame.to_dict(orient="records"):
        yield {str(name): value for name, value in record.items() if not _is_empty(value)}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""


def _matched(plan: SweepPlan, run: Mapping[str, Any], measured: Mapping[str, tuple[str, str]]) -> ExperimentResult:
    status = run.get("status", "completed")
    if status not in ("completed", "diverged"):
        raise _NoMatch(f"status = {status!r}; only completed and diverged runs are taken")
    if "trunk" in run:
        raise _NoMatch(
            f"trunk = {run['trunk']!r}: it branches from a training that others share, with another schedule and rate "
            "than the experiments of this plan; fit the table by itself (flops-fit fit)"
        )
    tokens, loss = _number(run, "num_tokens"), _number(run, "loss") if status == "completed" else None
    if loss is not None and (problem := why_no_law(loss)):
        raise _NoMatch(f"{problem}; {to_be_positive(loss)}")
    experiment = _experiment(plan, run, tokens, status)
    flops = _number(run, "flops") if "flops" in run else experiment.flops_per_token * tokens
    if status == "completed" and not _is_near(flops, experiment.planned_flops):
        raise _NoMatch(
            f"flops = {flops:.4g} where {experiment.planned_flops:.4g} are planned: "
            f"{flops / experiment.planned_flops - 1:+.1%}, more than {PLAN_TOLERANCE:.0%}; leave them out to have "
            "them computed as the plan does"
        )
    seconds = _number(run, "seconds") if "seconds" in run else 0.0
    return ExperimentResult.of(
        experiment,
        num_tokens=round(tokens),
        flops=flops,
        status=status,
        reason=str(run.get("reason", "imported as diverged")) if status == "diverged" else None,
        loss=loss,
        train_loss=_number(run, "train_loss") if "train_loss" in run else None,
        steps=round(_number(run, "steps")) if "steps" in run else 0,
        seconds=seconds,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        device=str(run.get("device", "unknown")),
        source="imported",
        **(_measured(run, measured) if status == "completed" else {}),
    )


def _measured(run: Mapping[str, Any], measured: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Losses on held-out sets and metrics that a row has, as fields of its result."""
    there = {column: of for column, of in measured.items() if column in run}
    values = {column: _number(run, column) for column in there}
    losses = {name: values[column] for column, (name, _) in there.items() if column == f"loss_{name}"}
    metrics = {column: values[column] for column, (name, _) in there.items() if column != f"loss_{name}"}
    return {"losses": losses, "metrics": metrics, "measured_by": dict(there.values())}


def _experiment(plan: SweepPlan, run: Mapping[str, Any], tokens: float, status: str) -> Experiment:
    """The experiment of the plan that `run` is one of; raises `_NoMatch` naming the first thing that speaks against."""
    left, seed = list(plan.experiments), run.get("seed", 0)
    if "experiment_id" in run:
        left = _narrowed(left, "experiment_id", run["experiment_id"], "experiment_id")
    by_place = plan.size_param == ROW  # which may be another by now: an id or a label tells more
    for name in (plan.size_param, "size_param_value"):
        if name in run and name != "num_params" and not (by_place and {"experiment_id", "label"} & run.keys()):
            left = _narrowed(left, name, _number(run, name), "size_param_value")
    if "label" in run and plan.has_labels:
        left = _narrowed(left, "label", run["label"], "label")
    if "num_params" in run:
        left = _narrowed(left, "num_params", _number(run, "num_params"), "num_params")
    left = _narrowed(left, "seed", seed, "seed")
    if not {"experiment_id", "num_params", *_size_columns(plan)} & run.keys():
        raise _NoMatch(f"neither num_params nor {_size_columns(plan)[0]} is given; give one of them")
    nearest = min(left, key=lambda item: abs(item.num_tokens - tokens))
    if not (_is_near(tokens, nearest.num_tokens) or (status == "diverged" and tokens < nearest.num_tokens)):
        raise _NoMatch(
            f"num_tokens = {tokens:,.12g} where the nearest planned are {nearest.num_tokens:,} "
            f"({nearest.experiment_id}): {tokens / nearest.num_tokens - 1:+.1%}, more than {PLAN_TOLERANCE:.0%}"
            + _of_unit("num_tokens", tokens, [nearest.num_tokens])
        )
    return nearest


def _narrowed(left: Sequence[Experiment], column: str, value: Any, field: str) -> list[Experiment]:
    kept = [item for item in left if getattr(item, field) == value]
    if not kept:
        known = sorted({getattr(item, field) for item in left})
        shown = ", ".join(str(item) for item in known[:8]) + (", …" if len(known) > 8 else "")
        unit = _of_unit(column, value, known) if column == "num_params" else ""
        value = f"{value:.12g}" if isinstance(value, float) else value
        raise _NoMatch(
            f"{column} = {value} is in no experiment of the plan that fits otherwise; planned are {shown}{unit}"
        )
    return kept


def _of_unit(column: str, value: float, planned: Sequence[float]) -> str:
    """What to type where `value` is one of those planned in thousands, millions or billions."""
    units = (factor for factor in (1e3, 1e6, 1e9) for count in planned if _is_near(value * factor, count))
    factor = next(units, None)
    return "" if factor is None else f"; in units of {factor:g} it would be: --units {column}={factor:g}"


def _number(run: Mapping[str, Any], name: str) -> float:
    if name not in run:
        raise _NoMatch(f"{name} is not given")
    value = run[name]
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise _NoMatch(f"{name} = {value!r} is no number") from error
    if not math.isfinite(number):
        raise _NoMatch(f"{name} = {number} is not finite; correct it, or say status = diverged")
    return number


def _is_near(value: float, planned: float) -> bool:
    return abs(value - planned) <= PLAN_TOLERANCE * planned
