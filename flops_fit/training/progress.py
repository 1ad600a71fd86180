"""Progress of many trainings: drawn in place on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from flops_fit.basics.signals import held_back
from flops_fit.basics.terminal import say
from flops_fit.results.results import ExperimentResult
from flops_fit.training.live_view import Running, Snapshot, line, table
from flops_fit.training.log_events import Guarded, LogEvent, OnLog, with_utilisation

LINE_SECONDS = 30.0  # between two lines of a log
_ROWS_BESIDE = 6  # of a terminal, which workers leave to what stands above
_ENOUGH_SHARE, _ENOUGH_SECONDS = 0.01, 2.0  # before the time left is told from the speed so far


class StudyProgress:
    """A context manager: `update` with the events of `run_experiment`'s `on_log`, `finish` with each result.

    On a terminal a row for each worker is drawn in place: experiment, loss, tokens and FLOPs per second, how far it
    is, time left. Elsewhere a line is printed every half minute and at the end. Failed and diverged experiments leave a
    line with their reason. Every event goes on to `on_log`, whose errors are a warning.
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
        seconds: Mapping[str, float] | None = None,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """What is shown of so many experiments.

        Args:
            planned_flops: of all of them, which stand for their time where `seconds` are not given.
            peak: FLOP/s that utilisation is shown against where the events do not know it.
            seconds: experiment id → how long it is expected to take, which tells how far all are.
            workers: how many train side by side.
            clock: seconds that go on.
        """
        self._peak, self._on_log = peak, Guarded(on_log) if on_log else None
        self._console = console or Console(stderr=True)
        self._shows = show and num_experiments > 0
        self._total, self._seconds, self._workers = num_experiments, dict(seconds or {}), workers
        self._weight = sum(self._seconds.values()) or planned_flops
        self._done, self._finished = 0.0, 0
        self._slots: list[Running | None] = []
        self._of_running: dict[str, float] = {}
        self._clock, self._began, self._said = clock, clock(), clock()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._began = self._said = self._clock()
        can_draw = self._console.is_terminal and not self._console.is_dumb_terminal
        if self._shows and (can_draw or self._console.is_jupyter):
            self._live = Live(get_renderable=self._drawn, console=self._console, refresh_per_second=4)
            try:
                with held_back():
                    self._live.start()
            except BaseException:  # Ctrl-C meanwhile
                self._stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._stop()
        elif self._shows:
            say(self._console, line(self.snapshot()))

    def _stop(self) -> None:
        """Draw once more, and give the cursor back."""
        assert self._live is not None
        with held_back():
            self._live.stop()

    def update(self, event: LogEvent) -> None:
        """Show how far one experiment is, and hand the event on."""
        event = with_utilisation(event, self._peak)
        if "loss" in event:
            self._show(event)
        if self._on_log:
            self._on_log(event)

    def _show(self, event: LogEvent) -> None:
        name, rate = event["experiment_id"], event["tokens_per_second"]
        running = Running(
            experiment_id=name,
            loss=event["loss"],
            tokens_per_second=rate,
            flops_per_second=event["flops_per_second"],
            utilisation=event["utilisation"],
            share=min(event["tokens"] / event["num_tokens"], 1.0),
            seconds_left=max(event["num_tokens"] - event["tokens"], 0) / rate if rate else None,
        )
        of_others = event.get("trunk_tokens", 0)
        own = 1.0 - of_others / event["num_tokens"]  # of a branch, what is after it took up its trunk
        done = max(0.0, event["tokens"] - of_others) / max(1, event["num_tokens"] - of_others)
        weight = self._seconds.get(name, 0.0) if self._seconds else event["planned_flops"] * own
        self._of_running[name] = min(done, 1.0) * weight
        self._slots[self._slot_of(name)] = running
        self._say_now_and_then()

    def _slot_of(self, name: str) -> int:
        """The row of that experiment: its own, else one that is free, else another one."""
        names = [running.experiment_id if running else None for running in self._slots]
        for wanted in (name, None):
            if wanted in names:
                return names.index(wanted)
        self._slots.append(None)
        return len(names)

    def finish(self, result: ExperimentResult) -> None:
        """Free the experiment's row and say so if it did not complete."""
        name = result.experiment_id
        self._slots = [None if running and running.experiment_id == name else running for running in self._slots]
        self._of_running.pop(name, None)
        self._finished += 1
        self._done += self._seconds.get(name, 0.0) if self._seconds else max(result.own_flops, 0.0) or self._mean
        if result.status != "completed":
            reason = (result.reason or "").split("\n", 1)[0]
            self._say(result.status, f"{name}: {reason}")
        self._say_now_and_then()

    @property
    def _mean(self) -> float:
        return self._weight / self._total

    def lost(self, experiment_id: str, error: str) -> None:
        """Say that an experiment's process died, and that it is tried once more."""
        self._say("tried once more", f"{experiment_id}: {error}")

    def say(self, text: str) -> None:
        """Say a line that is of no single experiment."""
        if self._shows:
            say(self._console, text)

    def _say(self, what: str, text: str) -> None:
        self._console.print(Text.assemble((what, "bold red"), f" {text}"), highlight=False)

    def _say_now_and_then(self) -> None:
        if self._shows and self._live is None and self._clock() - self._said >= LINE_SECONDS:
            self._said = self._clock()
            say(self._console, line(self.snapshot()))

    def snapshot(self) -> Snapshot:
        """All of it now."""
        gone, share = self._clock() - self._began, self._share()
        return Snapshot(
            finished=self._finished,
            total=self._total,
            share=share,
            seconds=gone,
            seconds_left=self._left(gone, share),
            workers=tuple(self._slots),
        )

    def _share(self) -> float:
        if self._finished == self._total:
            return 1.0
        done = self._done + sum([*self._of_running.values()])
        return min(done / self._weight, 1.0) if self._weight else 0.0

    def _left(self, gone: float, share: float) -> float | None:
        """By the speed so far, which is worth nothing at first: until then by what was expected, where it was."""
        if share >= _ENOUGH_SHARE and gone >= _ENOUGH_SECONDS:
            return gone * (1 - share) / share
        return (1 - share) * self._weight / self._workers if self._seconds else None

    def _drawn(self) -> RenderableType:
        return table(self.snapshot(), max(self._console.height - _ROWS_BESIDE, 1))
