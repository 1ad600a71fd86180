"""Peak memory in bytes on every system, and none where the system does not say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import HELPERS, ROOT

from flops_fit.basics.memory import maxrss_bytes, peak_bytes

WITHOUT_RESOURCE = """
import sys
sys.modules["resource"] = None  # as on Windows
from flops_fit.basics.memory import peak_bytes
assert peak_bytes() is None
from flops_fit import build_size_map
from planning_models import MLP
assert len(build_size_map(MLP, "width", max_params=1e4, num_sizes=6).entries) >= 4
"""


@pytest.mark.parametrize(("platform", "held"), [("darwin", 300_000), ("linux", 307_200_000), ("freebsd", 307_200_000)])
def test_macos_counts_bytes_and_others_kilobytes(platform, held):
    """`getrusage(2)`: ru_maxrss is in bytes on macOS, in kilobytes on Linux and FreeBSD."""
    assert maxrss_bytes(300_000, platform) == held


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system keeps no second account of it")
def test_the_peak_is_what_the_system_says_elsewhere():
    told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)
    assert peak_bytes() == pytest.approx(1024 * int(told), rel=0.02)


def test_planning_does_without_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{HELPERS}")
    subprocess.run([sys.executable, "-c", WITHOUT_RESOURCE], check=True)
