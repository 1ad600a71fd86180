"""How much memory this machine has and this process has used, as far as the system says."""

from __future__ import annotations

import os
import sys

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]


def peak_bytes() -> int | None:
    """The most memory this process has held so far; None where the system does not say (Windows)."""
    if resource is None:
        return None
    return maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform)


def maxrss_bytes(maxrss: int, platform: str) -> int:
    """`ru_maxrss` in bytes: macOS counts it in bytes, the others in units of 1024."""
    return maxrss if platform == "darwin" else 1024 * maxrss


def ram_bytes() -> float | None:
    """Memory of this machine; None where the system does not say."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return None
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
