"""The commands on a study file with [sweep.vary]: all values in one table, and their laws side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_count, format_flops, format_loss, format_money, format_seconds
from flops_fit.basics.terminal import say, say_markdown, say_table
from flops_fit.errors import FlopsFitError
from flops_fit.study.study_file import varied
from flops_fit_assets.commands.fit import TableOptions, fit_json, refuse_of_tables, targets_of
from flops_fit_assets.commands.outcome import what_ran
from flops_fit_assets.commands.planned import Planned, planned_study
from flops_fit_assets.compared import ComparedStudies, compare_studies, laws_kept
from flops_fit_assets.headless.varied import over_limit_together, run_each

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.scaling_law import Ranking, ScalingLaw

PLAN_SCHEMA = "flops_fit.varied_plan_command/1"
FIT_SCHEMA = "flops_fit.varied_fit_command/1"


def varies(path: Path) -> bool:
    """Whether the study file at `path` is several studies, of which none is named."""
    return path.suffix == ".toml" and varied(path) is not None


def print_plans(path: Path, console: Console, budgets: str | None = None, *, as_json: bool = False) -> None:
    """Print what the studies of the file at `path` would train: per value and budget, then the totals.

    `budgets` and `as_json` are as of `print_plan`; JSON has the object of each value's study by its label.
    """
    compared, paths = _compared(path)
    plans = {label: planned_study(each, budgets) for label, each in paths.items()}
    refused = _refusals(compared, plans)
    if as_json:
        from flops_fit_assets.commands.plan_json import plan_json
        from flops_fit_assets.commands.printed_json import print_json

        of_each = {label: plan_json(planned) for label, planned in plans.items()}
        head = {"schema": PLAN_SCHEMA, "name": compared.name, "varies": compared.axis}
        print_json({**head, "studies": of_each, "would_be_refused": refused})
        return
    first = next(iter(plans.values())).plan
    headers = (compared.axis or "study", "budget", first.size_header, "params", f"{first.data_unit}s", "done")
    title = f"{compared.name}: {first.model_cls_name}, {len(plans)} values of {compared.axis}"
    say_table(console, title, headers, (row for label, each in plans.items() for row in _budget_rows(label, each)))
    _say_costs(compared, plans, console)
    dropped = {label: len(planned.plan.dropped) for label, planned in plans.items() if planned.plan.dropped}
    if dropped:
        said = ", ".join(f"{count} of {label}" for label, count in dropped.items())
        say(console, f"points of the grid that are dropped: {said}; the plan of a value has the reasons")
    if any(planned.study.adaptive for planned in plans.values()):
        say(console, "every value goes in rounds of its own, until its answer is sure enough or its own total is spent")
    say(console, f"times: {next(iter(plans.values())).cost.basis}")
    say(console, f"each value's experiments: {_typed('plan', path, compared)}")
    say(console, *(f"would be refused: {refusal}" for refusal in refused))


def check_each(path: Path, console: Console, *, as_json: bool = False) -> bool:
    """Take the first steps of each value's study, under a line that names it; whether all went well."""
    from flops_fit_assets.commands.check import print_preflight

    compared, paths = _compared(path)
    if as_json:
        raise FlopsFitError(
            f"--json is for one study, and {path} has {len(paths)} in [sweep.vary]; name one: "
            f"{_typed('check', path, compared)} --json"
        )
    went_well = []
    for label, each in paths.items():
        say(console, f"{compared.axis} {label}:")
        went_well.append(print_preflight(each, console))
    return all(went_well)


def run_and_print_each(path: Path, home: Path, console: Console, until: tuple[str, ...], *, train_anyway: bool) -> bool:
    """Bring the studies of the file at `path` up to date and print how their laws compare; whether all experiments
    completed."""
    outcome = run_each(path, home, console, until, train_anyway=train_anyway)
    compared = outcome.compared
    for label, each in outcome.outcomes.items():
        say(console, f"{compared.axis} {label}: {_in_a_line(each.law)}")
        say(console, f"  {what_ran(each.results, each.done)}; report: {each.directory / 'report.html'}")
    _say_ranking(outcome.ranking, compared, console)
    say(console, f"each value's law: {_typed('fit', path, compared)}", f"report: {compared.report}")
    return not any(each.not_completed for each in outcome.outcomes.values())


def print_fits(
    path: Path,
    console: Console,
    report: Path | None,
    target: str | None,
    eval_set: str | None,
    options: TableOptions,
    *,
    as_json: bool = False,
) -> None:
    """Fit the law of each value's results and compare them; arguments as of `print_fit`."""
    from flops_fit.report.comparison_report import write_comparison_report
    from flops_fit_assets.commands.fit_study import law_of_study
    from flops_fit_assets.commands.printed_json import print_json

    refuse_of_tables(options)
    targets = targets_of(target)
    compared, paths = _compared(path)
    laws = {label: law_of_study(each, eval_set)[0] for label, each in paths.items()}
    ranking = compare_studies(compared, laws, at=targets)
    where = report or compared.store.directory / f"{eval_set or 'laws'}_comparison.html"
    written = write_comparison_report(ranking, where, title=compared.name, commands=compared.suggestions)
    if as_json:
        of_each = {label: fit_json(law, targets, written) for label, law in laws.items()}
        print_json({"schema": FIT_SCHEMA, "laws": of_each, "comparison": ranking.to_dict()})
        return
    say(console, *(f"{compared.axis} {label}: {_in_a_line(law)}" for label, law in laws.items()))
    _say_ranking(ranking, compared, console)
    say(console, f"each value's law: {_typed('fit', path, compared)}", f"report: {written}")


def write_all_again(path: Path) -> list[Path]:
    """Write each value's report, and that of their comparison, from the laws they have; where they are."""
    from flops_fit_assets.commands.plan import write_again
    from flops_fit_assets.metadata.law_comparison import publish_comparison

    compared, paths = _compared(path)
    publish_comparison(compared, compare_studies(compared, laws_kept(compared)))
    return [*(write_again(each) for each in paths.values()), compared.report]


def kept_ranking(path: Path, at: Sequence[float] | None) -> tuple[Ranking, ComparedStudies]:
    """How the laws compare that the studies of the file at `path` have."""
    compared, _ = _compared(path)
    return compare_studies(compared, laws_kept(compared), at=at or ()), compared


def _compared(path: Path) -> tuple[ComparedStudies, Mapping[str, Path]]:
    compared, found = ComparedStudies.in_file(path), varied(path)
    if compared is None or found is None:
        raise FlopsFitError(f"{path} has no [sweep.vary]; its own study is meant")
    return compared, found[1]


def _refusals(compared: ComparedStudies, plans: Mapping[str, Planned]) -> list[str]:
    hardware = next(iter(plans.values())).study.hardware
    own = [f"{compared.axis} {label}: {said}" for label, each in plans.items() for said in each.refusals]
    together = over_limit_together({label: each.spent for label, each in plans.items()}, hardware)
    return own or ([together] if together else [])


def _budget_rows(label: str, planned: Planned) -> Iterator[tuple[str, ...]]:
    """A row for each budget; the value stands in the first."""
    for budget, experiments in planned.plan.by_budget().items():
        by_size = sorted(experiments, key=lambda item: item.num_params)
        ends = by_size[0], by_size[-1]
        yield (
            label,
            format_flops(budget),
            " to ".join(str(item.size_cell) for item in ends),
            " to ".join(format_count(item.num_params) for item in ends),
            " to ".join(format_count(item.num_tokens) for item in ends),
            f"{sum(item.experiment_id in planned.done for item in experiments)} of {len(experiments)}",
        )
        label = ""


def _say_costs(compared: ComparedStudies, plans: Mapping[str, Planned], console: Console) -> None:
    priced = any(planned.spent.price_per_hour for planned in plans.values())
    headers = [compared.axis or "study", "experiments", "FLOPs", "to train", "FLOPs left", "time left"]
    rows = [(label, *_cost_row([planned], priced=priced)) for label, planned in plans.items()]
    rows.append(("all", *_cost_row([*plans.values()], priced=priced)))
    say_table(console, "cost", [*headers, *(["cost left"] if priced else [])], rows)


def _cost_row(plans: Sequence[Planned], *, priced: bool) -> tuple[str, ...]:
    parts = [planned.spent for planned in plans]
    return (
        str(sum(len(planned.plan.trainings) for planned in plans)),
        format_flops(sum(part.planned_flops for part in parts)),
        str(sum(part.left_experiments for part in parts)),
        format_flops(sum(part.left_flops for part in parts)),
        format_seconds(3600 * sum(part.left_wall_hours for part in parts)),
        *([format_money(sum(part.left_money for part in parts))] if priced else []),
    )


def _in_a_line(law: ScalingLaw) -> str:
    if not law.determined:
        return f"{len(law.runs)} runs, which do not determine a law"
    compute = law.default_budgets()[-2]
    return (
        f"L = {law.E:.4g} + {law.A:.4g}/N^{law.alpha:.3f} + {law.B:.4g}/D^{law.beta:.3f}; at {format_flops(compute)} "
        f"FLOPs N_opt {format_count(law.N_opt(compute))}, loss {format_loss(law.L_opt(compute))}; {law.verdict}"
    )


def _say_ranking(ranking: Ranking, compared: ComparedStudies, console: Console) -> None:
    say_markdown(console, f"{ranking.summary(compared.suggestions)}\n\n{ranking.table()}")


def _typed(command: str, path: Path, compared: ComparedStudies) -> str:
    return f"flops-fit {command} {path}@{next(iter(compared.sources))}"
