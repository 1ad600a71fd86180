"""How trainings under way are shown: a table for a terminal, a line for a log; from plain values alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flops_fit.basics.formatting import format_count, format_loss, format_seconds
from flops_fit.basics.terminal import shortened

_CONTENT_HASH = re.compile(r"-[0-9a-f]{8}$")
_WIDEST_NAME = 26
_HEADERS = ("loss", "tokens/s", "FLOP/s", "of peak", "done", "left")
_IN_A_LINE = 3  # experiments


@dataclass(frozen=True, kw_only=True)
class Running:
    """One experiment under way.

    Attributes:
        loss: of the last step that was told.
        tokens_per_second, flops_per_second: mean since it began.
        utilisation: of the peak of its device; None where that is not known.
        share: of its tokens, done.
        seconds_left: of its training, at this speed; None where nothing can be said.
    """

    experiment_id: str
    loss: float
    tokens_per_second: float
    flops_per_second: float
    utilisation: float | None
    share: float
    seconds_left: float | None

    @property
    def name(self) -> str:
        """Its id without the hash, short."""
        return shortened(_CONTENT_HASH.sub("", self.experiment_id), _WIDEST_NAME)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All trainings at one moment.

    Attributes:
        finished, total: experiments.
        share: of all their time, done.
        seconds: since the first began.
        seconds_left: until the last is done; None where nothing can be said yet.
        workers: what each worker trains now; None for one that is idle.
    """

    finished: int
    total: int
    share: float
    seconds: float
    seconds_left: float | None
    workers: Sequence[Running | None] = ()


def table(now: Snapshot, rows: int) -> RenderableType:
    """For a terminal: the overall bar, then a row for each worker, at most so many."""
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_row(
        Text(f"{now.finished}/{now.total} experiments"),
        ProgressBar(total=1.0, completed=now.share, width=20),
        Text(f"{now.share:.0%}"),
        Text(_times(now)),
    )
    busy = [running for running in now.workers if running is not None]
    if not busy:
        return head
    of_workers = Table.grid(padding=(0, 2, 0, 0))
    of_workers.add_column()
    for _ in _HEADERS:
        of_workers.add_column(justify="right", no_wrap=True)
    of_workers.add_row("", *(Text(header, style="dim") for header in _HEADERS))
    for running in now.workers[:rows]:
        of_workers.add_row(*_cells(running))
    more = len(now.workers) - rows
    return Group(head, of_workers, *([Text(f"and {more} more", style="dim")] if more > 0 else []))


def line(now: Snapshot) -> str:
    """For a log: how far all are, and the first few under way."""
    busy = [running for running in now.workers if running is not None]
    said = [f"{running.name} at {running.share:.0%}, loss {format_loss(running.loss)}" for running in busy[:_IN_A_LINE]]
    said += [f"and {len(busy) - _IN_A_LINE} more"] if len(busy) > _IN_A_LINE else []
    return "; ".join([f"{now.finished}/{now.total} experiments, {now.share:.0%}, {_times(now)}", *said])


def _times(now: Snapshot) -> str:
    if now.finished == now.total:
        return f"in {format_seconds(now.seconds)}"
    left = "" if now.seconds_left is None else f", {format_seconds(now.seconds_left)} left"
    return f"{format_seconds(now.seconds)} gone{left}"


def _cells(running: Running | None) -> list[Text]:
    if running is None:
        return [Text("idle", style="dim")]
    return [
        Text(running.name),
        Text(format_loss(running.loss)),
        Text(format_count(running.tokens_per_second)),
        Text(format_count(running.flops_per_second)),
        Text("" if running.utilisation is None else f"{running.utilisation:.0%}"),
        Text(f"{running.share:.0%}"),
        Text("" if running.seconds_left is None else format_seconds(running.seconds_left)),
    ]
