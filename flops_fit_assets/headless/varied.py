"""`flops-fit run` of a file with [sweep.vary]: each value's study, then the comparison of their laws."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from flops_fit.basics.formatting import format_money
from flops_fit.basics.terminal import say
from flops_fit.cost.spending import Spending, spending
from flops_fit.errors import StudyError
from flops_fit.stages import study_cost
from flops_fit.sweep.enough import refuse_too_few
from flops_fit_assets.compared import ComparedStudies, compare_studies, laws_kept
from flops_fit_assets.freshness import versions
from flops_fit_assets.freshness.history import latest_made_from
from flops_fit_assets.graph.law_comparison import law_comparison_asset
from flops_fit_assets.headless.dagster_runs import HEADLESS_TAG, QUIET, RunFailed, end_orphans, reason_of
from flops_fit_assets.headless.study import Outcome, headless_study, run_study
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.instance.locks import study_lock
from flops_fit_assets.storage.finished import finished_results

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.cost.hardware import Hardware
    from flops_fit.scaling_law import Ranking


@dataclass(frozen=True, kw_only=True)
class VariedOutcome:
    """What each value's study left, by its label, and how their laws compare."""

    outcomes: Mapping[str, Outcome]
    ranking: Ranking
    compared: ComparedStudies


def run_each(
    path: Path, home: Path, console: Console, until: tuple[str, ...] = (), *, train_anyway: bool = False
) -> VariedOutcome:
    """Bring every value's study up to date, as `run_study` one, and compare their laws.

    All are planned before any is trained: one that is too small for a law, or that costs more together with the others
    than the limits in [hardware], is refused before anything is spent. Raises as `run_study`.
    """
    compared = ComparedStudies.in_file(path, home=home)
    assert compared is not None, "a file with [sweep.vary]"
    paths = {label: source.origin for label, source in compared.sources.items() if isinstance(source.origin, Path)}
    _plan_all(compared, paths, home, console, train_anyway=train_anyway)
    outcomes = {}
    for label, each in paths.items():
        say(console, f"{compared.axis} {label}:")
        outcomes[label] = run_study(each, home, console, until, train_anyway=train_anyway)
    return VariedOutcome(outcomes=outcomes, ranking=_ensure_comparison(compared, home), compared=compared)


def _plan_all(
    compared: ComparedStudies, paths: Mapping[str, Path], home: Path, console: Console, *, train_anyway: bool
) -> None:
    """Plan every grid; of studies that tune or go in rounds nothing is known before, and each holds its own limits."""
    parts: dict[str, Spending] = {}
    for label, source in compared.sources.items():
        study = source.study
        if study.adaptive is not None or study.tuning is not None:
            continue
        with headless_study(paths[label], home, console) as headless:
            plan, _ = headless.bring_plan_up_to_date()
        if not train_anyway:
            refuse_too_few(plan.too_few and f"{compared.axis} {label}: {plan.too_few}", "--train-anyway")
        results = finished_results(source.store, plan)
        cost = study_cost(study, plan, results.values(), source.store.directory)
        parts[label] = spending(plan, cost, results, study.hardware)
    hardware = next(iter(compared.sources.values())).study.hardware
    if refusal := over_limit_together(parts, hardware):
        raise StudyError(f"nothing was trained: {refusal}")


def over_limit_together(parts: Mapping[str, Spending], hardware: Hardware) -> str | None:
    """What is left of all values against `max_cost` and `max_hours`, with the remedy; None where it is not more."""
    money, hours = sum(part.left_money for part in parts.values()), sum(part.left_wall_hours for part in parts.values())
    what = f"the experiments of all {len(parts)} values that are still to train would"
    remedy = "in [hardware], which is for all together, or take values out of [sweep.vary]"
    if hardware.max_cost is not None and money > hardware.max_cost:
        return (
            f"{what} cost {format_money(money)}, more than max_cost = {format_money(hardware.max_cost)}; raise "
            f"max_cost {remedy}"
        )
    if hardware.max_hours is not None and hours > hardware.max_hours:
        return f"{what} take {hours:.3g} hours, more than max_hours = {hardware.max_hours:g}; raise max_hours {remedy}"
    return None


def _ensure_comparison(compared: ComparedStudies, home: Path) -> Ranking:
    """Make the comparison where it is not of the laws there are now."""
    laws = laws_kept(compared)
    files = (compared.file, compared.report, compared.figure)
    workers = next(iter(compared.sources.values())).study.hardware.num_workers()
    with ExitStack() as stack:
        stack.enter_context(study_lock(compared.store.directory))
        instance = stack.enter_context(open_instance(home, workers))
        end_orphans(instance, compared.name)
        made_from = versions.comparison_made_from(laws, compared.at)
        if latest_made_from(instance, compared.key) != made_from or not all(file.is_file() for file in files):
            job = dg.Definitions(assets=[law_comparison_asset(compared)]).resolve_implicit_global_asset_job_def()
            result = job.execute_in_process(
                run_config=QUIET,
                instance=instance,
                asset_selection=[compared.key],
                raise_on_error=False,
                tags={HEADLESS_TAG: compared.name},
            )
            if not result.success:
                raise RunFailed(reason_of(result, compared.key.to_user_string()))
    return compare_studies(compared, laws)
