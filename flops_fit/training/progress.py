"""Progress of many trainings in the terminal: one bar overall and one for each experiment under way."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from flops_fit.basics.formatting import format_count, format_rate
from flops_fit.results.results import ExperimentResult
from flops_fit.training.log_events import Guarded, LogEvent, OnLog, with_utilisation

_CONTENT_HASH = re.compile(r"-[0-9a-f]{8}$")


class StudyProgress:
    """A context manager: `update` with the events of `run_experiment`'s `on_log`, `finish` with each result.

    The overall bar advances with FLOPs, which take the time, not with the number of experiments. Failed and diverged
    experiments leave a line with their reason. `peak` (FLOP/s) is what utilisation is shown against where the events
    do not know it. Every event goes on to `on_log`, whose errors are a warning.
    """

    def __init__(
        self,
        num_experiments: int,
        *,
        planned_flops: float,
        peak: float | None = None,
        on_log: OnLog | None = None,
        show: bool = True,
        console: Console | None = None,
    ) -> None:
        self._peak, self._on_log = peak, Guarded(on_log) if on_log else None
        self._console = console or Console(stderr=True)
        self._total, self._planned = num_experiments, planned_flops
        self._done_flops, self._running = 0.0, dict[str, tuple[TaskID, float]]()
        self._finished = 0
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not show or num_experiments == 0,
            transient=False,
        )
        self._overall = self._bars.add_task(self._title(), total=1.0, note="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, event: LogEvent) -> None:
        """Show how far one experiment is, and hand the event on."""
        event = with_utilisation(event, self._peak)
        if "loss" in event:
            self._show(event)
        if self._on_log:
            self._on_log(event)

    def _show(self, event: LogEvent) -> None:
        name = event["experiment_id"]
        if name not in self._running:
            short = _CONTENT_HASH.sub("", name)
            self._running[name] = (self._bars.add_task(f"  {short}", total=1.0, note=""), 0.0)
        bar, _ = self._running[name]
        share = event["tokens"] / event["num_tokens"]
        self._bars.update(bar, completed=share, note=_note(event))
        self._running[name] = (bar, share * event["planned_flops"])
        self._show_overall()

    def finish(self, result: ExperimentResult) -> None:
        """Close the experiment's bar and say so if it did not complete."""
        bar, _ = self._running.pop(result.experiment_id, (None, 0.0))
        if bar is not None:
            self._bars.remove_task(bar)
        self._finished += 1
        self._done_flops += max(result.flops, 0.0) or self._planned / self._total
        self._show_overall()
        if result.status != "completed":
            reason = (result.reason or "").split("\n", 1)[0]
            self._say(result.status, f"{result.experiment_id}: {reason}")

    def lost(self, experiment_id: str, error: str) -> None:
        """Say that an experiment's process died, and that it is tried once more."""
        self._say("tried once more", f"{experiment_id}: {error}")

    def _say(self, what: str, text: str) -> None:
        self._console.print(Text.assemble((what, "bold red"), f" {text}"), highlight=False)

    def _show_overall(self) -> None:
        done = self._done_flops + sum(flops for _, flops in self._running.values())
        share = 1.0 if self._finished == self._total else min(done / self._planned, 1.0) if self._planned else 0.0
        self._bars.update(self._overall, completed=share, description=self._title())

    def _title(self) -> str:
        return f"{self._finished}/{self._total} experiments"


def _note(event: LogEvent) -> str:
    parts = [f"loss {event['loss']:.3f}", f"{format_count(event['tokens_per_second'])} tok/s"]
    parts.append(format_rate(event["flops_per_second"]))
    if event["utilisation"] is not None:
        parts.append(f"{event['utilisation']:.0%}")
    return " ".join(parts)
