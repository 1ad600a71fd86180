"""How much memory this machine has and this process has used, as far as the system says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]


def peak_bytes() -> int | None:
    """The most memory this process has held so far; None where the system does not say (Windows)."""
    if resource is None:
        return None
    return maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform)


@dataclass
class Growth:
    """Memory that a block of code needed at its peak, on top of what the process held before."""

    bytes: int = 0


@contextmanager
def memory_growth() -> Iterator[Growth]:
    """Memory needed inside, whatever the process has held before; where the system cannot say that (no Linux), as far
    as it is above the most that was held so far."""
    growth = Growth()
    reset = _peak_reset()
    before = (_status("VmRSS") if reset else peak_bytes()) or 0
    try:
        yield growth
    finally:
        growth.bytes = ((_status("VmHWM") if reset else peak_bytes()) or 0) - before


def _peak_reset() -> bool:
    """Whether Linux let its record of this process's peak begin anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int | None:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    return None


def maxrss_bytes(maxrss: int, platform: str) -> int:
    """`ru_maxrss` in bytes: macOS counts it in bytes, the others in units of 1024."""
    return maxrss if platform == "darwin" else 1024 * maxrss


def ram_bytes() -> float | None:
    """Memory of this machine; None where the system does not say."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return None
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
