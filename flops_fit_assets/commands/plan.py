"""`flops-fit plan` and `flops-fit report`: look ahead, and look again, without touching Dagster's instance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from flops_fit.basics.formatting import format_bytes, format_count, format_flops, format_money, format_seconds
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.spending import over_limit, spending
from flops_fit.errors import FlopsFitError
from flops_fit.identity.fingerprints import Pieces
from flops_fit.identity.origin import is_users_file
from flops_fit.rate_check.planned import cost_text
from flops_fit.recipe.in_words import recipe_text
from flops_fit.results.results import ExperimentResult, load_results
from flops_fit.stages import (
    plan_to_look_at,
    rounds_plan,
    study_cost,
    study_progress,
    study_size_map,
)
from flops_fit.study.named_sets import held_out_note, lacking_sets
from flops_fit.study.study import Study
from flops_fit_assets.commands.check import learning_rate_cost
from flops_fit_assets.graph.centring import centres_of
from flops_fit_assets.graph.rounds import kept_rounds
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.metadata.forecasts import study_calibration
from flops_fit_assets.metadata.published_files import law_figures, publish
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.store import StudyStore

_FILES_SHOWN = 8  # of data

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.adaptive.progress import Progress
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.sweep.experiment import DroppedPoint
    from flops_fit.sweep.sweep_plan import SweepPlan


def print_plan(path: Path, console: Console) -> None:
    """Print what the study at `path` would train: per budget the sizes, tokens and cost, then the totals."""
    source = StudySource.of(path)
    study, store, size_map = with_recipe(source), source.store, study_size_map(source.study)
    lines: list[str] = []
    if study.adaptive is not None:
        plan, progress = _rounds(store, study, size_map)
        lines = [progress.state(), f"spent of the total: {progress.spent.text(study.adaptive)}"]
    else:
        plan = plan_to_look_at(study, size_map, centre=centres_of(store, study, size_map, {}))
    done = finished_results(store, plan)
    if not plan.experiments and plan.too_few and study.adaptive is None:
        console.print(f"{study.name}: {plan.too_few}", highlight=False, markup=False, soft_wrap=True)
        return
    cost = study_cost(study, plan, done.values(), store.directory)
    console.print(_table(study, plan, cost, done))
    if plan.argument_names or plan.other_counts:
        console.print(_sizes(plan))
    if plan.dropped:
        console.print(_dropped(plan))
    spent = spending(plan, cost, done, study.hardware)
    parts = [
        f"{plan.num_experiments} experiments, {format_flops(plan.total_flops)} FLOPs in total",
        cost_text(plan.checks, plan.experiments) if plan.checks else "",
        f"{spent.left_experiments} still to train: {format_flops(spent.left_flops)} FLOPs, "
        f"{format_seconds(3600 * spent.left_wall_hours)} on {cost.workers} worker{'s' if cost.workers > 1 else ''}"
        f"{f', {format_money(spent.left_money)}' if spent.price_per_hour else ''} ({cost.basis})",
    ]
    if plan.experiments and study.trainer is None:
        parts.append(f"recipe: {recipe_text(study.training, plan.experiments, plan.data_unit)}")
        parts.append(learning_rate_cost(study, plan, cost))
    refusals = [over_limit(spent, study.hardware), plan.too_few if study.adaptive is None else None]
    counted = study.prepared_data.tokens.note if study.prepared_data else None
    parts += [cost.memory_text() or "", counted or "", held_out_note(study) or "", *lacking_sets(study, done.values())]
    parts.append(covered_text(study.covered(), study.data.files_in_ids if study.data else ()))
    for line in filter(None, [*lines, *parts, *(f"would be refused: {refusal}" for refusal in refusals if refusal)]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _rounds(store: StudyStore, study: Study, size_map: SizeMap) -> tuple[SweepPlan, Progress]:
    """The plan with the round that would be next, and how far the study has come."""
    rounds = kept_rounds(store, study)
    ids = [item.experiment_id for item in rounds_plan(study, size_map, rounds).experiments]
    store.pull_results(ids)
    results = {item.experiment_id: item for item in load_results(store.runs) if item.experiment_id in set(ids)}
    progress = study_progress(study, size_map, rounds, results)
    new = () if progress.step.planned is None else (progress.step.planned,)
    return rounds_plan(study, size_map, (*rounds, *new)), progress


def covered_text(pieces: Pieces, data: Sequence[Path] = ()) -> str:
    """The files and packages that the ids of a study's experiments follow from, in a line; edit one, and ids change."""
    files = {Path(piece.path) for piece in pieces.values() if piece.path and piece.kind != "package"}
    own = [path for path in sorted(files) if is_users_file(str(path))]
    named = [_from_here(path) for path in own]
    packages = [f"{name} {piece.digest}" for name, piece in sorted(pieces.items()) if piece.kind == "package"]
    more = len(files) - len(own)
    ours = f", and of {more} file{'s' if more > 1 else ''} of flops_fit" if more else ""
    shown = [_from_here(path) for path in data[:_FILES_SHOWN]] + (["..."] if len(data) > _FILES_SHOWN else [])
    tokens = f"; and all of {', '.join(shown)}" if data else ""
    return f"ids cover the code used of {', '.join(named + packages) or 'no file of yours'}{ours}{tokens}"


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def write_again(path: Path) -> Path:
    """Write the report, the runs table and the figures of the study at `path` from its fitted law."""
    source = StudySource.of(path)
    study, store = source.study, source.store
    try:
        plan, law = store.read("sweep_plan"), store.read("scaling_law")
    except FileNotFoundError as error:
        raise FlopsFitError(f"{error.filename} does not exist; `flops-fit run {path}` makes it") from error
    publish(store, study, plan, law, finished_results(store, plan), law_figures(law), study_calibration(store, law))
    return store.report


def finished_results(store: StudyStore, plan: SweepPlan) -> dict[str, ExperimentResult]:
    """The final results of the experiments of `plan`, by id."""
    wanted = {item.experiment_id for item in plan.trainings}
    store.pull_results(wanted)
    results = load_results(store.runs)
    return {item.experiment_id: item for item in results if item.experiment_id in wanted and item.is_final}


def _table(study: Study, plan: SweepPlan, cost: CostEstimate, done: dict[str, ExperimentResult]) -> Table:
    price, unit = study.hardware.price_per_hour, plan.data_unit
    table = Table(
        title=f"{study.name}: {plan.model_cls_name}, N = {plan.param_count} parameters, "
        f"FLOPs per token: {plan.flops_method}",
        box=box.SIMPLE,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    headers = ["budget", plan.size_header, "params", f"{unit}s", "per param", "memory", "time"]  # fit 80 columns
    for header in [*headers, *(["cost"] if price else []), ""]:
        table.add_column(header, justify="right", no_wrap=True)
    for budget, experiments in plan.by_budget().items():
        for item in experiments:
            seconds, memory = cost.seconds[item.experiment_id], cost.memory_bytes[item.experiment_id]
            table.add_row(
                format_flops(budget),
                Text(str(item.size_cell)),
                format_count(item.num_params),
                format_count(item.num_tokens),
                f"{item.tokens_per_param:.1f}",
                "" if memory is None else format_bytes(memory),
                format_seconds(seconds),
                *([format_money(seconds / 3600 * price)] if price else []),
                _state(done.get(item.experiment_id)),
            )
        table.add_section()
    return table


def _state(result: ExperimentResult | None) -> str:
    if result is None:
        return ""
    return "done" if result.source == "trained" else result.source


def _dropped(plan: SweepPlan) -> Table:
    table = Table(title="dropped", box=box.SIMPLE, title_justify="left")
    for header in ("budget", plan.size_header, "parameters", "reason"):
        table.add_column(header)
    groups: dict[tuple[float, str], list[DroppedPoint]] = {}
    for point in plan.dropped:
        groups.setdefault((point.compute_budget, point.reason.rpartition("; ")[2]), []).append(point)
    for (budget, _), points in groups.items():
        sizes = [str(point.size_cell) for point in points if point.size_cell]
        more = f" (and {len(points) - 1} more like it)" if len(points) > 1 else ""
        counts = _span([format_count(point.num_params) for point in points])
        table.add_row(format_flops(budget), Text(_span(sizes)), counts, Text(points[0].reason + more))
    return table


def _span(values: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys([*values[:1], *values[-1:]]))


def _sizes(plan: SweepPlan) -> Table:
    """What each size sets, and of a mixture of experts both counts."""
    others = plan.other_counts
    table = Table(title="sizes", box=box.SIMPLE, title_justify="left", padding=(0, 1, 0, 0))
    counts = [f"N {plan.param_count}" if others else "N", *(f"N {name}" for name in others)]
    for header in (*map(_in_lines, (plan.size_header, *plan.argument_names)), *counts):
        table.add_column(header, justify="right", overflow="fold")
    for item in plan.sizes():
        more = (getattr(item, f"{name}_params") for name in others)
        shown = ("" if count is None else format_count(count) for count in (item.num_params, *more))
        sets = (_short(item.arguments.get(name, "")) for name in plan.argument_names)
        table.add_row(Text(str(item.size_cell)), *map(Text, sets), *shown)
    return table


def _in_lines(name: str, longest: int = 12) -> str:
    """A long name of words with underscores between, in lines."""
    lines = [""]
    for word in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1] + word) > longest:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
