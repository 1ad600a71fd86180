"""`flops-fit plan` and `flops-fit report`: look ahead, and look again, without touching Dagster's instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flops_fit.basics.formatting import format_bytes, format_count, format_flops, format_money, format_seconds
from flops_fit.basics.terminal import plain_table, say, say_table, shortened
from flops_fit.cost.devices import devices_text
from flops_fit.errors import FlopsFitError
from flops_fit.identity.fingerprints import Pieces
from flops_fit.identity.origin import is_users_file
from flops_fit.rate_check.planned import cost_text
from flops_fit.recipe.in_words import recipe_text
from flops_fit.recipe.trunk import of_sharing
from flops_fit.study.named_sets import held_out_note, lacking_sets
from flops_fit.training.stacked.groups import grouped_in_words, stacks_of
from flops_fit_assets.commands.check import learning_rate_cost
from flops_fit_assets.commands.plan_by_budget import MOST_ROWS, by_budget_table
from flops_fit_assets.commands.planned import Planned, planned_study, rounds_so_far
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.finished import finished_results

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from flops_fit.sweep.experiment import DroppedPoint
    from flops_fit.sweep.sweep_plan import SweepPlan

_FILES_SHOWN = 8  # of data
_WIDEST_CELL = 14  # of a size, so that seven columns fit 80 signs


def print_plan(path: Path, console: Console, budgets: str | None = None, *, as_json: bool = False) -> None:
    """Print what the study at `path` would train: per budget the sizes, tokens and cost, then the totals.

    With `budgets` (FLOPs, with commas) as if these were the file's; with `as_json` as one JSON object, see
    `flops_fit_assets.commands.plan_json`.
    """
    found = planned_study(path, budgets)
    if as_json:
        from flops_fit_assets.commands.plan_json import plan_json
        from flops_fit_assets.commands.printed_json import print_json

        print_json(plan_json(found))
        return
    plan, study = found.plan, found.study
    if found.instead_of:
        say(console, f"with budgets {_listed(plan.compute_budgets)} instead of {_listed(found.instead_of)} of {path}")
    if found.is_empty and plan.too_few:
        say(console, f"{study.name}: {plan.too_few}")
        return
    say(
        console,
        f"{study.name}: {plan.model_cls_name}, N = {plan.param_count} parameters, FLOPs per token: {plan.flops_method}",
    )
    if len(plan.experiments) > MOST_ROWS:
        console.print(by_budget_table(found))
        say(console, f"{plan.num_experiments:,} experiments are too many to list; one by one: flops-fit plan --json")
    else:
        console.print(_table(found))
    if plan.argument_names or plan.other_counts:
        say(console, "sizes")
        console.print(_sizes(plan))
    if plan.dropped:
        say_table(console, "dropped", ("budget", plan.size_header, "parameters", "reason"), _dropped(plan))
    say(console, *_lines(found))


def _lines(found: Planned) -> Iterator[str]:
    """What stands below the tables."""
    study, plan, cost, spent = found.study, found.plan, found.cost, found.spent
    if found.progress is not None and study.adaptive is not None:
        yield found.progress.state()
        yield f"spent of the total: {found.progress.spent.text(study.adaptive)}"
    yield f"{plan.num_experiments} experiments, {format_flops(plan.total_flops)} FLOPs in total"
    yield from of_sharing(plan.notes)
    if plan.checks:
        yield cost_text(plan.checks, plan.experiments)
    yield (
        f"{spent.left_experiments} still to train: {format_flops(spent.left_flops)} FLOPs, "
        f"{format_seconds(3600 * spent.left_wall_hours)} on {cost.workers} worker{'s' if cost.workers > 1 else ''}"
        f"{f', {format_money(spent.left_money)}' if spent.price_per_hour else ''} ({cost.basis})"
    )
    yield from filter(None, [devices_text(cost.devices)])
    if plan.experiments and study.trainer is None:
        yield f"recipe: {recipe_text(study.training, plan.experiments, plan.data_unit)}"
        if not study.training.share_trunk:  # which the check does not know
            yield learning_rate_cost(study, plan, cost)
    left = [item for item in plan.trainings if item.experiment_id not in found.done]
    yield from grouped_in_words(study, stacks_of(study, left, apart=found.apart), apart=found.apart)
    counted = study.prepared_data.tokens.note if study.prepared_data else None
    yield from filter(None, [cost.memory_text(), counted, held_out_note(study)])
    yield from lacking_sets(study, found.done.values())
    yield covered_text(study.covered(), study.data.files_in_ids if study.data else ())
    yield from (f"would be refused: {refusal}" for refusal in found.refusals)


def _listed(budgets: Sequence[float]) -> str:
    return ", ".join(f"{budget:g}" for budget in budgets)


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
    from flops_fit_assets.metadata.forecasts import study_calibration
    from flops_fit_assets.metadata.published_files import publish
    from flops_fit_assets.metadata.study_figures import study_figures

    source = StudySource.of(path)
    study, store = source.study, source.store
    try:
        plan, law = store.read("sweep_plan"), store.read("scaling_law")
        rounds = rounds_so_far(store, with_recipe(source), store.read("size_map"), law) if study.adaptive else None
    except FileNotFoundError as error:
        raise FlopsFitError(f"{error.filename} does not exist; `flops-fit run {path}` makes it") from error
    results = finished_results(store, plan)
    figures = study_figures(store, study, plan, law, results)
    shown = rounds if rounds is not None and rounds.rounds else None  # of a study edited since, none are of this law
    publish(store, study, plan, law, results, figures, study_calibration(store, law), shown)
    return store.report


def _table(found: Planned) -> Table:
    plan, price, unit = found.plan, found.study.hardware.price_per_hour, found.plan.data_unit
    seeds = ["seed"] if len({item.seed for item in plan.experiments}) > 1 else []
    sizes = ["budget", plan.size_header, *seeds, "params"]
    headers = [*sizes, f"{unit}s", "per param", "memory", "time"]  # fit 80 columns
    table = plain_table([*headers, *(["cost"] if price else []), ""])
    for budget, experiments in plan.by_budget().items():
        for item in experiments:
            seconds, memory = found.cost.seconds[item.experiment_id], found.cost.memory_bytes[item.experiment_id]
            table.add_row(
                format_flops(budget),
                Text(shortened(str(item.size_cell), _WIDEST_CELL)),
                *([str(item.seed)] if seeds else []),
                format_count(item.num_params),
                format_count(item.num_tokens),
                f"{item.tokens_per_param:.1f}",
                "" if memory is None else format_bytes(memory),
                format_seconds(seconds),
                *([format_money(seconds / 3600 * price)] if price else []),
                "" if item.experiment_id not in found.done else found.state(item.experiment_id),
            )
        table.add_section()
    return table


def _dropped(plan: SweepPlan) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[float, str], list[DroppedPoint]] = {}
    for point in plan.dropped:
        groups.setdefault((point.compute_budget, point.reason.rpartition("; ")[2]), []).append(point)
    for (budget, _), points in groups.items():
        sizes = [str(point.size_cell) for point in points if point.size_cell]
        more = f" (and {len(points) - 1} more like it)" if len(points) > 1 else ""
        counts = _span([format_count(point.num_params) for point in points])
        yield format_flops(budget), _span(sizes), counts, points[0].reason + more


def _span(values: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys([*values[:1], *values[-1:]]))


def _sizes(plan: SweepPlan) -> Table:
    """What each size sets, and of a mixture of experts both counts."""
    others = plan.other_counts
    counts = [f"N {plan.param_count}" if others else "N", *(f"N {name}" for name in others)]
    table = plain_table([plan.size_header, *plan.argument_names, *counts])
    for item in plan.sizes():
        more = (getattr(item, f"{name}_params") for name in others)
        shown = ("" if count is None else format_count(count) for count in (item.num_params, *more))
        sets = (_short(item.arguments.get(name, "")) for name in plan.argument_names)
        table.add_row(Text(str(item.size_cell)), *map(Text, sets), *shown)
    return table


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
