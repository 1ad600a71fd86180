"""Which process runs a run: its number and when it began, in a tag of the run."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from dagster import DagsterRun

PROCESS_TAG = "flops_fit/process"


@dataclass(frozen=True, kw_only=True)
class ProcessOfRun:
    """A process of this machine; `began` tells it from a later one of the same number."""

    number: int
    began: str

    @classmethod
    def this(cls) -> ProcessOfRun:
        """The one that asks."""
        return cls(number=os.getpid(), began=_began(os.getpid()))

    @classmethod
    def of(cls, run: DagsterRun) -> ProcessOfRun | None:
        """That which the run's tag names; None where it has none."""
        number, _, began = run.tags.get(PROCESS_TAG, "").partition(" ")
        return cls(number=int(number), began=began) if number.isdigit() and began else None

    @property
    def tags(self) -> dict[str, str]:
        """For the run that it runs."""
        return {PROCESS_TAG: f"{self.number} {self.began}"}

    @property
    def lives(self) -> bool:
        """Whether it is there, and not only waited for."""
        return bool(self.began) and _began(self.number) == self.began

    def interrupt(self) -> bool:
        """Ask it to end, as Dagster asks the processes of runs; whether it was there."""
        if not self.lives:
            return False
        try:
            os.kill(self.number, signal.SIGTERM)
        except ProcessLookupError:
            return False
        return True


def _began(number: int) -> str:
    """When a process began, in the kernel's ticks since this machine did, and which start of it; "" once it ended."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in ("Z", "X") else f"{fields[19]}@{boot}"
