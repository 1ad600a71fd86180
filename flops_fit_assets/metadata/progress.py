"""What `study/progress` shows, a study's first page: how far it is, what is left and was spent, what came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, MetadataValue

from flops_fit.basics.formatting import format_flops, format_loss, format_money, format_seconds
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.spending import Spending
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.metadata.missing import missing_experiments
from flops_fit_assets.metadata.shared import Metadata, file_value, finite, inline_table, rounded
from flops_fit_assets.metadata.sweep_plan import budget_groups
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.sweep.sweep_plan import SweepPlan

_FAILURES_SHOWN = 5
_LAST_SHOWN = 6


def progress_metadata(
    plan: SweepPlan,
    cost: CostEstimate,
    spent: Spending,
    results: Mapping[str, ExperimentResult],
    law: Mapping[str, Any],
    more: Metadata,
    runs: Mapping[str, str],
) -> Metadata:
    """State, time and money left and spent, the law's verdict, per budget what is done, and links to the rest.

    Args:
        results: of any status, by experiment id.
        law: metadata of the newest law; empty where there is none.
        more: what else to show, after the law.
        runs: the last run of each experiment that failed, by its id.
    """
    done = {name: result for name, result in results.items() if result.is_final}
    failed = {name: result for name, result in results.items() if not result.is_final}
    shown: Metadata = {
        "trained": trained_text(plan, done, failed),
        "time left": _time_left(spent, cost),
        "left": _amount(spent.left_flops, spent.left_hours, spent.left_money, spent),
        "spent": _amount(spent.done_flops, spent.done_hours, spent.done_money, spent),
        "verdict": _verdict(law),
        **{name: law[name] for name in ("law", "predictions", "report", "IsoFLOP curves") if name in law},
        **more,
        "budgets": done_table(plan, cost, done, spent.price_per_hour),
        **_failures(failed, runs),
        "share trained": rounded(1 - spent.left_experiments / max(len(plan.trainings), 1)),
        "FLOPs spent": rounded(spent.done_flops),
        "device-hours spent": rounded(spent.done_hours),
        "hours to train": rounded(spent.left_wall_hours),
    }
    return finite(shown)


def trained_text(plan: SweepPlan, done: Mapping[str, ExperimentResult], failed: Mapping[str, ExperimentResult]) -> str:
    """`20 of 28, 1 failed`."""
    finished = sum(item.experiment_id in done for item in plan.trainings)
    return f"{finished} of {len(plan.trainings)}{f', {len(failed)} failed or stopped' if failed else ''}"


def _verdict(law: Mapping[str, Any]) -> str:
    if "verdict" not in law:
        return "no law yet"
    runs = f", by the law of {law['runs used'].value} runs" if "runs used" in law else ""
    return f"{law['verdict'].value}{runs}"


def _time_left(spent: Spending, cost: CostEstimate) -> str:
    if not spent.left_experiments:
        return "none"
    workers = f"{cost.workers} worker{'s' if cost.workers > 1 else ''}"
    return f"{format_seconds(3600 * spent.left_wall_hours)} on {workers}"


def _amount(flops: float, hours: float, money: float, spent: Spending) -> str:
    if not flops:
        return "nothing"
    priced = f", {format_money(money)}" if spent.price_per_hour else ""
    return f"{format_flops(flops)} FLOPs, {format_seconds(3600 * hours)} of device time{priced}"


def done_table(
    plan: SweepPlan, cost: CostEstimate, done: Mapping[str, ExperimentResult], price_per_hour: float
) -> MetadataValue:
    """One row per budget: how many are done, the best loss so far, and of what is left device time and money."""
    rows = []
    for name, experiments in budget_groups(plan):
        left = [item for item in experiments if item.experiment_id not in done]
        losses = [done[item.experiment_id].loss for item in experiments if item.experiment_id in done]
        hours = sum(cost.seconds[item.experiment_id] for item in left) / 3600
        rows.append(
            (
                name,
                f"{len(experiments) - len(left)} of {len(experiments)}",
                _least(losses),
                format_seconds(hours * 3600) if left else "–",
                *([format_money(hours * price_per_hour) if left else "–"] if price_per_hour else []),
            )
        )
    return inline_table(("budget", "done", "best loss", "time left", *(["cost left"] if price_per_hour else [])), rows)


def _least(losses: Iterable[float | None]) -> str:
    known = [loss for loss in losses if loss is not None]
    return format_loss(min(known)) if known else "–"


def _failures(failed: Mapping[str, ExperimentResult], runs: Mapping[str, str]) -> Metadata:
    return {"failed": missing_experiments([*failed], failed, runs, _FAILURES_SHOWN)} if failed else {}


def last_trained(store: StudyStore, results: Mapping[str, ExperimentResult], names: Iterable[str]) -> Metadata:
    """The trainings that ended last, each with its loss and a link to its curve and log, where the pages serve them."""
    lines: list[str] = []
    for name in names:
        if (result := results.get(name)) is None or len(lines) == _LAST_SHOWN:
            continue
        address = store.address(store.runs / name)
        loss = "" if result.loss is None else f", loss {format_loss(result.loss)}"
        lines.append(f"- {f'[{name}]({address})' if address else f'`{name}`'}{loss}")
    return {"last trained": MetadataValue.md("\n".join(lines))} if lines else {}


def page_link(key: AssetKey, text: str) -> str:
    """A Markdown link to an asset's page."""
    return f"[{text}](/assets/{'/'.join(key.path)})"


def report_link(store: StudyStore) -> Metadata:
    """The report, where there is one."""
    return {"report": file_value(store, store.report)} if store.report.is_file() else {}
