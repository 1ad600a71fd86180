"""The study that faults are done to, what must hold after each, and how to wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

from dagster_pages import runs
from live_daemon import ENDED
from pipeline_study import result_files, write_study
from webdriver import wait_for

FLOPS_FIT = [sys.executable, "-m", "flops_fit_assets.cli"]


def slow_study(folder, module="tiny_study"):
    """Trainings of one to six seconds each, that write a checkpoint three times a second."""
    path = write_study(folder, budgets=(2e7, 4e7, 6e7), sizes=3, module=module)
    path.write_text(path.read_text().replace("[training]", "[training]\nbatch_tokens = 8\ncheckpoint_seconds = 0.3"))
    return path


def steps(home):
    """Experiment → the steps in its log; one that was trained twice, or from the start again, has some twice."""
    logs = {path.parent.name: path.read_text().splitlines() for path in Path(home).glob("tiny/runs/*/log.jsonl")}
    return {name: [json.loads(line)["step"] for line in lines] for name, lines in logs.items()}


def nothing_lost_or_repeated(home, before):
    """The results that were there are there unchanged, every experiment has its own, and no step was logged twice."""
    plan = json.loads((Path(home) / "tiny" / "sweep_plan.json").read_text())
    wanted, after = {item["experiment_id"] for item in plan["experiments"]}, result_files(home)
    assert wanted <= after.keys(), wanted - after.keys()
    assert all(json.loads(text)["status"] == "completed" for _, text in after.values())
    assert {name: after[name] for name in before} == before
    for name, logged in steps(home).items():
        assert logged == sorted(set(logged)), name


def completed(folder):
    """As `result_files`, of the trainings that ended well."""
    return {name: kept for name, kept in result_files(folder).items() if '"completed"' in kept[1]}


def settled(home, seconds=1200):
    """Wait for a law of the whole plan."""

    def whole():
        law, plan = (Path(home) / "tiny" / f"{asset}.json" for asset in ("scaling_law", "sweep_plan"))
        if not law.exists():
            return False
        wanted = [item["experiment_id"] for item in json.loads(plan.read_text())["experiments"]]
        return sorted(json.loads(law.read_text())["runs"]["experiment_id"]) == sorted(wanted)

    wait_for(whole, seconds, "a law of every experiment")


def done(address, run, status="SUCCESS"):
    """Wait for the end of a run, which must be `status`."""
    state = wait_for(lambda: runs(address)[run][0] in ENDED and runs(address)[run], 600, run)
    assert state[0] == status, state


def all_ended(address):
    """Wait for the end of every run."""
    wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of every run")


def short(text, folder):
    """A message without the folder in its paths."""
    return text.strip().replace(f"{folder}/", "")


def headless(folder, study, code=(0,), **options):
    """`flops-fit run` to its end; what it printed."""
    done = subprocess.run([*FLOPS_FIT, "run", str(study)], env=environment(folder), capture_output=True, text=True,
                          check=False, **options)  # fmt: skip
    assert done.returncode in code, done.stdout + done.stderr
    return done.stdout + done.stderr


def environment(folder):
    """That of a command whose home is `folder`."""
    here = Path(__file__).resolve().parent.parent
    return os.environ | {
        "FLOPS_FIT_HOME": str(folder),
        "PYTHONPATH": f"{here}:{here / 'tests' / 'helpers'}",
        "COLUMNS": "300",
    }
