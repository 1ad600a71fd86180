"""What `flops-fit run` says at its end: the law, what was trained, of an adaptive study its rounds, the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flops_fit.basics.terminal import say

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.adaptive.progress import Progress
    from flops_fit.results.results import ExperimentResult
    from flops_fit_assets.headless.study import Outcome


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print it."""
    lines = [outcome.law.summary(outcome.plan.target_budgets), what_ran(outcome.results, outcome.done)]
    if imported := sum(result.source == "imported" for result in outcome.results.values()):
        lines.append(f"{imported} of the {len(outcome.results)} experiments are imported")
    if outcome.rounds is not None:
        lines += rounds_lines(outcome.rounds)
    say(console, *lines, *outcome.forecasts.record(), f"report: {outcome.directory / 'report.html'}")


def rounds_lines(rounds: Progress) -> list[str]:
    """How many rounds there were, what they cost, and why there is no further one."""
    count = len(rounds.rounds)
    return [f"{count} round{'' if count == 1 else 's'}, {rounds.spent.text(rounds.options)} spent", rounds.state()]


def what_ran(results: Mapping[str, ExperimentResult], done: Sequence[str]) -> str:
    """A line on the experiments: those run now (named in `done`), and those of earlier runs that have no loss."""
    now = [result for name, result in results.items() if name in set(done)]
    bad_now = [result for result in now if result.status != "completed"]
    bad_before = [result for name, result in results.items() if name not in set(done) and result.status != "completed"]
    said = (
        f"{_experiments(len(now))} run now: {len(now) - len(bad_now)} completed" if now else "nothing had to be trained"
    )
    if bad_now:
        said += f", {len(bad_now)} did not ({_statuses(bad_now)})"
    if bad_before:
        said += f"; {len(bad_before)} of earlier runs did not complete ({_statuses(bad_before)})"
    return f"{said}; the law is fitted without them" if bad_now or bad_before else said


def _experiments(count: int) -> str:
    return "1 experiment" if count == 1 else f"{count} experiments"


def _statuses(results: Iterable[ExperimentResult]) -> str:
    counts = Counter(result.status.replace("_", " ") for result in results)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
