"""Exit codes tell the truth: the user's code may crash, end or block the process that imports it."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from live_processes import children_of, is_running, kill
from paths import HELPERS, ROOT
from pipeline_study import write_study
from webdriver import wait_for

SOURCE = (HELPERS / "awkward_model.py").read_text().splitlines()
LINES = {kind: SOURCE.index(f'if KIND == "{kind}":') + 2 for kind in ("segfault", "sys.exit")}
LINES["loop"] = f"({SOURCE.index('    while True:') + 1}|{SOURCE.index('        pass') + 1})"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("awkward"), model="Awkward", module="awkward_model")


def start(study, kind, **environment):
    """`flops-fit plan` in a process of its own."""
    variables = {"AWKWARD": kind, "PYTHONPATH": os.pathsep.join([str(HELPERS), str(ROOT)])} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "flops_fit_assets.cli", "plan", str(study)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    )


def hear_signals():
    """Children of who runs the tests with `nohup`, or behind a shell's back, are deaf to some, as they should be."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "segfault",
            f"crashed (signal 11, SIGSEGV) in awkward_model.py, line {LINES['segfault']}; this was while what",
        ),
        ("os._exit", "exited with code 0; this was while what"),
        ("sys.exit", f"cannot be imported: SystemExit: 0 (awkward_model.py, line {LINES['sys.exit']}); correct it"),
        ("closes", "exited with code 0; this was while what"),
    ],
)
def test_a_module_that_ends_the_process_is_a_named_failure(study, kind, said):
    process = start(study, kind)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert said in errors
    assert len(errors.strip().splitlines()) == 1
    assert output == ""


def test_an_endless_loop_is_ended_and_its_line_named(study):
    process = start(study, "loop", FLOPS_FIT_PATIENCE_SECONDS="2")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    said = rf"no sign of life for 2 s and was ended in awkward_model.py, line {LINES['loop']}: an endless loop"
    assert re.search(said, errors), errors


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_says_how_to_go_on(study, name):
    there, number = study.with_name(f"there_{name}"), getattr(signal, name)
    process = start(study, "wait", AWKWARD_THERE=str(there))
    wait_for(there.exists, 120, "the module to be imported")
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert f"interrupted ({name})" in errors
    assert "what is finished is kept" in errors
    assert "Traceback" not in errors


def test_what_is_begun_after_a_signal_hears_the_next_and_the_command_only_the_third(study):
    there = study.with_name("there_cleaning")
    still = there.with_name(f"{there.name}_still")
    process = start(study, "cleans up", AWKWARD_THERE=str(there))
    wait_for(there.exists, 120, "the module to be imported")
    process.send_signal(signal.SIGINT)
    wait_for(lambda: still.exists() and still.read_text(), 60, "the clean-up")
    begun = int(still.read_text())
    try:
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert is_running(begun), "the clean-up goes on"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)  # before the supervisor's patience of 10 s
        assert process.returncode == 128 + signal.SIGINT
        assert "Traceback" not in errors
        os.kill(begun, signal.SIGTERM)
        wait_for(lambda: not is_running(begun), 10, "its end, which it was asked for")
    finally:
        kill(begun)


def test_nothing_outlives_a_command_that_is_killed(study):
    there = study.with_name("there")
    process = start(study, "wait", AWKWARD_THERE=str(there))
    wait_for(there.exists, 120, "the module to be imported")
    children = children_of(process.pid)
    assert children
    process.kill()
    process.communicate(timeout=300)
    wait_for(lambda: not any(is_running(child) for child in children), 60, "the end of its processes")


def test_a_thread_that_the_users_code_leaves_running_does_not_keep_the_command(study):
    process = start(study, "thread", FLOPS_FIT_PATIENCE_SECONDS="3")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "ValueError: and leaves a thread behind" in errors
