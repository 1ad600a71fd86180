"""Experiments without a result that counts, each with why, and with a link to the run that was to train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagster import MetadataValue

from flops_fit.results.results import ExperimentResult
from flops_fit_assets.metadata.training_run import state_of


def missing_experiments(
    names: Sequence[str], left: Mapping[str, ExperimentResult], runs: Mapping[str, str], most: int
) -> MetadataValue:
    """A line for each of `names`, and how many more there are than `most`.

    Args:
        left: what failed trainings left of themselves, by experiment id.
        runs: the last run of those that one began to train, by experiment id.
    """
    lines = [f"- {_linked(name, runs)}: {_why(name, left, runs)}" for name in names[:most]]
    more = [f"- and {len(names) - most:,} more"] if len(names) > most else []
    return MetadataValue.md("\n".join([*lines, *more]))


def run_link(run_id: str, text: str) -> str:
    """A Markdown link to a run's page, which tells its events and why it failed."""
    return f"[{text}](/runs/{run_id})"


def _linked(name: str, runs: Mapping[str, str]) -> str:
    return run_link(runs[name], name) if name in runs else f"`{name}`"


def _why(name: str, left: Mapping[str, ExperimentResult], runs: Mapping[str, str]) -> str:
    if name in left:
        reason = (left[name].reason or "no reason").partition("\n")[0]  # where it happened is in the run
        return f"{state_of(left[name])}, {reason}"
    return "its run has not ended, or ended without a result" if name in runs else "not trained"
