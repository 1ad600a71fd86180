"""What a worker does with experiments that were given to it together, and what was decided about them in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.results.results import ExperimentResult
from flops_fit.training.log_events import OnLog

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How many of some experiments are trained at once (1: each alone), of how many, and why.

    `gain` is how many times as fast a step of one was, where that was measured.
    """

    at_once: int
    of: int
    why: str = ""
    gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class Together:
    """The results of experiments in their order, and what was decided about training them at once, if anything."""

    results: Sequence[ExperimentResult]
    decision: Decision | None = None


def train_together(
    study: Study,
    experiments: Sequence[Experiment],
    train: Callable[[Experiment, bool], ExperimentResult],
    *,
    output_dir: Path,
    resume: bool = True,
    on_log: OnLog | None = None,
) -> Together:
    """Take all steps of several experiments at once, where that can be done and pays; then end each by
    `train(experiment, resume)`, which trains it alone from where it is.
    """
    from flops_fit.basics.devices import cap_memory

    cap_memory(study.hardware.processes_per_gpu)
    if len(experiments) == 1:
        return Together(results=[train(experiments[0], resume)])
    from flops_fit.training.stacked.advance import advance

    decision = advance(study, experiments, output_dir=output_dir, resume=resume, on_log=on_log)
    return Together(results=[train(experiment, True) for experiment in experiments], decision=decision)


def in_words(decided: Iterable[Decision]) -> Iterator[str]:
    """Lines that say how many experiments were trained at once, what that gained, and why others were not."""
    decided = list(decided)
    at_once = [item for item in decided if item.at_once > 1]
    if at_once:
        gains = [item.gain for item in at_once if item.gain is not None]
        faster = f", a step {_span([f'{gain:.1f}' for gain in sorted(gains)])} times as fast" if gains else ""
        widths = _span([str(width) for width in sorted(item.at_once for item in at_once)])
        yield f"trained at once: {sum(item.of for item in at_once)} experiments, {widths} at a time{faster}"
    for why in dict.fromkeys(item.why for item in decided if item.at_once == 1):
        count = sum(item.of for item in decided if item.at_once == 1 and item.why == why)
        yield f"not trained at once: {count} experiments, since {why}"


def _span(texts: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys([texts[0], texts[-1]]))
