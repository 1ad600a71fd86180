"""What is seen of trainings under way: a table drawn in place, lines in a log, and a terminal as it was afterwards."""

import errno
import io
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from paths import HELPERS, ROOT
from pipeline_study import write_study
from rich.console import Console

from flops_fit import Experiment
from flops_fit.results.results import ExperimentResult, failed_result
from flops_fit.training.live_view import Running, Snapshot, line, table
from flops_fit.training.log_events import step_event
from flops_fit.training.progress import StudyProgress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def experiment(name, tokens=1000):
    return Experiment(name, 6e10, 1024, 92, tokens, tokens / 92)


def event(item, tokens, seconds=10.0, loss=2.5, **more):
    return step_event(item, step=1, steps=10, tokens=tokens, loss=loss, learning_rate=1.0, seconds=seconds, **more)


def running(**changes):
    values = {"experiment_id": "c6e+10-width1024-s0-3f9a2b71", "loss": 12.3456, "tokens_per_second": 3e6,
              "flops_per_second": 1.656e9, "utilisation": 0.33, "share": 0.9, "seconds_left": 33.0}  # fmt: skip
    return Running(**values | changes)


def drawn(now, width=80, rows=20):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(table(now, rows))
    return [each.rstrip() for each in console.file.getvalue().splitlines()]


def test_a_terminal_of_80_columns_shows_a_row_for_each_worker():
    now = Snapshot(finished=12, total=28, share=0.43, seconds=61.0, seconds_left=80.0, workers=[running(), None])
    head, names, first, second = drawn(now)
    assert head.startswith("12/28 experiments")
    assert head.endswith("43%  61 s gone, 80 s left")
    assert names.split() == ["loss", "tokens/s", "FLOP/s", "of", "peak", "done", "left"]
    assert first.split() == ["c6e+10-width1024-s0", "12.3456", "3.00M", "1.66B", "33%", "90%", "33", "s"]
    assert second == "idle"
    assert max(map(len, (head, names, first))) <= 80


def test_long_names_and_many_workers_fit():
    long = running(experiment_id="c1e+21-intermediate_size_of_the_mlp16384-depth128-s0-3f9a2b71", loss=1.0)
    now = Snapshot(finished=0, total=99, share=0.0, seconds=1.0, seconds_left=None, workers=[long] * 64)
    lines = drawn(now, rows=10)
    assert max(map(len, lines)) <= 80
    assert len(lines) == 13
    assert lines[-1] == "and 54 more"
    assert "c1e+21-interm…6384-depth12" not in lines[2], "its end is kept too"
    assert lines[2].split()[0].endswith("-s0")


def test_without_a_known_peak_there_is_no_share_of_it():
    now = Snapshot(
        finished=0, total=1, share=0.9, seconds=1.0, seconds_left=1.0, workers=[running(utilisation=None, share=0.5)]
    )
    assert [cell for cell in drawn(now)[2].split() if cell.endswith("%")] == ["50%"]


def test_a_log_gets_a_line_each_half_minute_and_one_at_the_end():
    clock, console = Clock(), Console(file=io.StringIO(), width=80)
    items = [experiment(f"c6e+10-width{width}-s0-3f9a2b71") for width in (8, 16)]
    with StudyProgress(2, planned_flops=1.0, console=console, seconds={items[0].experiment_id: 60.0,
                       items[1].experiment_id: 60.0}, clock=clock) as bars:  # fmt: skip
        for clock.now in (1.0, 10.0, 29.0, 31.0, 45.0):
            bars.update(event(items[0], tokens=500))
        clock.now = 70.0
        bars.finish(failed_result(items[0], "no reason"))
        bars.finish(failed_result(items[1], "none either"))
        clock.now = 75.0
    said = console.file.getvalue().splitlines()
    assert said[0] == "0/2 experiments, 25%, 31 s gone, 2 min left; c6e+10-width8-s0 at 50%, loss 2.5000"
    assert said[1] == "failed c6e+10-width8-s0-3f9a2b71: no reason"
    assert said[2] == "1/2 experiments, 50%, 70 s gone, 70 s left"
    assert said[-1] == "2/2 experiments, 100%, in 75 s"


def test_what_is_left_is_first_what_was_expected_and_then_what_the_speed_says():
    clock = Clock()
    item = experiment("one")
    bars = StudyProgress(2, planned_flops=1.0, show=False, seconds={"one": 30.0, "two": 10.0}, workers=2, clock=clock)
    with bars:
        assert bars.snapshot().seconds_left == pytest.approx(20.0)
        bars.update(event(item, tokens=1))
        clock.now = 60.0
        bars.update(event(item, tokens=1000 * 2 // 3, seconds=60.0))
        now = bars.snapshot()
    assert now.share == pytest.approx(0.5, abs=0.01)
    assert now.seconds_left == pytest.approx(60.0, rel=0.02)
    assert now.workers[0].seconds_left == pytest.approx(30.0, rel=0.02)


@pytest.mark.parametrize("seconds", [None, {"long": 100.0, "branch": 20.0}])
def test_a_branch_counts_as_far_as_it_is_its_own(seconds):
    """1,000 tokens each, of which the branch takes over 800: 200 of 1,200 are its own."""
    long, branch = experiment("long"), experiment("branch")
    bars = StudyProgress(2, planned_flops=1.2 * long.planned_flops, show=False, seconds=seconds)
    with bars:
        bars.update(event(branch, tokens=800, trunk_tokens=800))
        assert bars.snapshot().share == 0.0
        bars.update(event(branch, tokens=900, trunk_tokens=800))
        assert bars.snapshot().share == pytest.approx(0.5 / 6)
        of_branch = {"num_tokens": 1000, "flops": branch.planned_flops, "trunk_tokens": 800, "loss": 2.0}
        bars.finish(ExperimentResult.of(branch, status="completed", **of_branch))
        assert bars.snapshot().share == pytest.approx(1 / 6)


def test_a_row_is_taken_by_the_next_experiment():
    bars = StudyProgress(3, planned_flops=1.0, show=False)
    with bars:
        for name in ("one", "two"):
            bars.update(event(experiment(name), tokens=10))
        bars.finish(failed_result(experiment("one"), "no reason"))
        bars.update(event(experiment("three"), tokens=10))
        assert [each.experiment_id for each in bars.snapshot().workers] == ["three", "two"]


def test_nothing_is_said_of_nothing_and_a_line_tells_only_a_few():
    console = Console(file=io.StringIO())
    with StudyProgress(0, planned_flops=0.0, console=console):
        pass
    assert console.file.getvalue() == ""
    now = Snapshot(finished=0, total=9, share=0.1, seconds=1.0, seconds_left=None, workers=[running()] * 5)
    assert line(now).count("loss 12.3456") == 3
    assert line(now).endswith("; and 2 more")


HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


class _AskedToEnd(Console):
    """A terminal whose user types Ctrl-C when the cursor goes."""

    def show_cursor(self, show=True):
        done = super().show_cursor(show)
        if not show:
            signal.raise_signal(signal.SIGINT)
        return done


def test_ctrl_c_while_the_view_begins_ends_as_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    console = _AskedToEnd(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    try:
        with pytest.raises(KeyboardInterrupt), StudyProgress(1, planned_flops=1.0, console=console):
            pytest.fail("it went on")
    finally:
        signal.signal(signal.SIGINT, before)
    said = console.file.getvalue().encode()
    assert said.rindex(SHOW) > said.rindex(HIDE)


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 3])
def test_after_ctrl_c_the_cursor_is_there_again(tmp_path, signals):
    """Also where it is asked so often that the process is killed."""
    study = write_study(tmp_path, budgets=(3e6, 6e6), model="Lingers", module="slow_model")
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flops_fit_assets.cli", "run", str(study)],
        env=os.environ | {"FLOPS_FIT_HOME": str(tmp_path), "PYTHONPATH": f"{HELPERS}:{ROOT}", "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=there, stderr=there, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever runs the tests may be deaf to it
    )  # fmt: skip
    os.close(there)
    seen = b""
    end = time.monotonic() + 200
    while HIDE not in seen and time.monotonic() < end:
        seen += os.read(here, 65536)
    assert HIDE in seen, seen[-2000:]
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    try:
        while chunk := os.read(here, 65536):
            seen += chunk
    except OSError as error:  # on Linux, once its end of the terminal is closed
        if error.errno != errno.EIO:
            raise
    os.close(here)
    assert process.wait() == 130, seen.decode(errors="replace")[-3000:]
    assert seen.rindex(SHOW) > seen.rindex(HIDE)
    assert b"interrupted (SIGINT)" in seen
    assert b"Traceback" not in seen
