"""An adaptive study against a live daemon and web server: `python benchmarks/live_rounds.py [NAME ...] [--shot FILE]`.

By its automation alone the study goes from round to round and stops. Then the same with every process of the pipeline
killed (-9) while a round is planned, trained or fitted, and the pages opened again. Counted against the undisturbed
study: rounds that differ, results that differ, experiments trained twice, and FLOPs beyond the total. Prints a Markdown
table, and ends with exit code 1 where anything else happened. About ten minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

import live_processes
from dagster_pages import runs, served
from live_daemon import ENDED, Live
from pipeline_study import result_files, write_adaptive
from webdriver import browser, wait_for

TOTAL = 1.45e6
PHASES = {
    "while round 2 is planned": ("sweep_plan", 2),
    "while round 1 is trained": ("training_run", 1),
    "while round 2 is trained": ("training_run", 10),
    "while the law of round 1 is fitted": ("scaling_law", 1),
    "while the last round is planned": ("sweep_plan", 3),
}


def rounds(folder):
    """Name → content of each round's file."""
    return {path.name: path.read_text() for path in folder.glob("tiny/rounds/*/round_*.json")}


def outcomes(folder):
    """Experiment → loss and weights."""
    found = {name: json.loads(text) for name, (_, text) in result_files(folder).items()}
    return {name: (result["loss"], result["weights_sha256"]) for name, result in found.items()}


def at_work(address, asset, count):
    """Whether the `count`-th run of `asset` is under way, or there has been one."""
    ours = [state for state in runs(address).values() if state[1] == asset]
    return len(ours) >= count


def stopped(folder, address, study_rounds, seconds=600):
    """Wait until as many rounds are done as are wanted and nothing has been under way for a while."""
    quiet_since = None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        busy = any(status not in ENDED for status, _, _ in runs(address).values())
        if busy or len(rounds(folder)) < study_rounds:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 45:
            return
        time.sleep(1)
    raise TimeoutError(f"still at work after {seconds} s: {runs(address)}")


def undisturbed(folder, shot):
    """Automation alone: what it started, and why it says it stopped, on its page."""
    study = write_adaptive(folder, total=TOTAL)
    with served(study, folder) as address:
        live = Live(folder, address)
        live.switch_on()
        started, _ = live.settle()
        with browser(width=1500, height=1800) as page:
            page.open(f"{address}/assets/sweep_plan?view=overview")
            page.wait_for_text("rounds so far", "stopped, ")
            reason = next(line for line in page.text().splitlines() if line.startswith("stopped, "))
            if shot:
                page.screenshot(shot)
    count = len(rounds(folder))
    wanted = {"size_map": 1, "sweep_plan": count + 1, "training_run": len(outcomes(folder)), "scaling_law": count}
    assert dict(started) == wanted, (started, wanted)
    return f"{count} rounds, {len(outcomes(folder))} trainings; {dict(started)}; “{reason[:120]}”"


def killed(folder, asset, number, study_rounds):
    """Everything killed once the `number`-th run of `asset` is under way, then opened again."""
    study = write_adaptive(folder, total=TOTAL)
    with served(study, folder) as address:
        Live(folder, address).switch_on()
        wait_for(lambda: at_work(address, asset, number), 400, f"run {number} of {asset}")
        before = outcomes(folder)
        assert live_processes.kill_all(folder) >= 1
    with served(study, folder) as address:
        stopped(folder, address, study_rounds)
        made = [state for state in runs(address).values() if state[0] == "SUCCESS" and state[1] == "training_run"]
        trained = [partition for _, _, partition in made]
    after = outcomes(folder)
    assert {name: after.get(name) for name in before} == before, "a result was lost"
    return max(0, len(trained) - len(set(trained)))


def main(given):
    wrong, reference = 0, None
    print("| killed (-9) | rounds that differ | results that differ | trained twice | beyond the total | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, begin = Path(name).resolve(), time.monotonic()
        said = undisturbed(folder, given.shot)
        reference = rounds(folder), outcomes(folder)
        print(f"| nothing: {said} | | | | {over(folder):.0%} | {time.monotonic() - begin:.0f} |", flush=True)
    for phase, (asset, number) in PHASES.items():
        if given.names and not any(part in phase for part in given.names):
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            folder, begin = Path(name).resolve(), time.monotonic()
            twice = killed(folder, asset, number, len(reference[0]))
            differ = [
                len(set(a.items()) ^ set(b.items()))
                for a, b in zip(reference, (rounds(folder), outcomes(folder)), strict=True)
            ]
            wrong += bool(twice or any(differ) or over(folder))
            cells = (*differ, twice, f"{over(folder):.0%}", f"{time.monotonic() - begin:.0f}")
            print(f"| {phase} | {' | '.join(map(str, cells))} |", flush=True)
    return 1 if wrong else 0


def over(folder):
    """The share of the total that was spent beyond it."""
    spent = sum(json.loads(text)["flops"] for _, text in result_files(folder).values())
    return max(0.0, spent / TOTAL - 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--shot", help="file for a picture of the page of sweep_plan")
    sys.exit(main(parser.parse_args()))
