"""What trainings cost beyond themselves where Dagster launches them: `python benchmarks/live_trainings.py`.

Under a live daemon and web server: an edit that plans seven trainings of about a second, from the saved file to the new
law; then a hundred trainings selected by hand (`--by-hand N`). Prints where the seconds went, and the processor time,
which other work on the machine changes less. `--plain` leaves the launcher to Dagster: a new process for each run.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

from dagster_pages import ask, runs, served
from live_daemon import ENDED, Live
from live_processes import of_home
from pipeline_study import write_study
from webdriver import wait_for

from flops_fit.basics.formatting import markdown_table
from flops_fit_assets.instance.home import instance_directory

SEVEN, WORKERS = 7, 2
FEWEST = 5  # of seven sizes, those that a small budget admits
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
ROLES = {"web-server": "web server", "daemon": "daemon", "warm_runs.server": "forks: runs", "forkserver": "forks: runs"}
FIRST_OF_RUN = {
    "PIPELINE_ENQUEUED": "queued",
    "PIPELINE_STARTING": "launched",
    "PIPELINE_START": "begun",
    "STEP_START": "step begun",
    "PIPELINE_SUCCESS": "ended",
}


def study_of(folder, budgets):
    """A study of seven sizes per budget; each step is of three examples, and so takes half a millisecond."""
    path = write_study(folder, budgets=budgets, sizes=SEVEN, workers=WORKERS)
    path.write_text(path.read_text().replace("[training]", "[training]\nbatch_tokens = 3"))
    return path


def results_of(folder):
    """Experiment → seconds of its training."""
    return {
        path.parent.name: json.loads(path.read_text())["seconds"] for path in folder.glob("tiny/runs/*/result.json")
    }


def processor_seconds(folder):
    """Role of a process of this home → user and system time, that of processes that it waited for included."""
    used = Counter()
    for process, command in of_home(folder).items():
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        role = next((role for naming, role in ROLES.items() if naming in command), "code server and others")
        used[role] += sum(map(int, fields[11:15])) / TICKS_A_SECOND
    return used


def history(folder, since):
    """Run → what is in `FIRST_OF_RUN` → seconds after `since`, and its assets."""
    found = {}
    for file in (folder / "dagster" / "history" / "runs").glob("*-*.db"):
        with sqlite3.connect(file) as events:
            rows = events.execute("select event, dagster_event_type, step_key from event_logs order by id").fetchall()
        moments = {
            FIRST_OF_RUN[kind]: json.loads(event)["timestamp"] - since
            for event, kind, _ in rows
            if kind in FIRST_OF_RUN
        }
        if moments.get("queued", -1) > 0:
            found[file.stem] = moments | {"asset": next((step for *_, step in rows if step), "")}
    return found


def first_observation(folder, since):
    """Seconds after `since` at which the edit was noticed."""
    with sqlite3.connect(folder / "dagster" / "history" / "runs" / "index.db") as events:
        rows = events.execute("select event from event_logs where dagster_event_type = 'ASSET_OBSERVATION'").fetchall()
    return min(moment for (event,) in rows if (moment := json.loads(event)["timestamp"] - since) > 0)


def seven(folder, address):
    """An edit that plans seven trainings, with the automation on."""
    before, law = results_of(folder), (folder / "tiny" / "scaling_law.json").read_bytes()
    used, begin = processor_seconds(folder), time.time()
    study_of(folder, (3e5, 6e5, 4e6))
    wait_for(lambda: (folder / "tiny" / "scaling_law.json").read_bytes() != law, 600, "the next law")
    wall, used = time.time() - begin, processor_seconds(folder) - used
    wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of the last run")
    trained = {name: seconds for name, seconds in results_of(folder).items() if name not in before}
    noticed = first_observation(folder, begin)
    print(f"## From the saved study to the new law: {wall:.1f} s\n")
    print(f"{len(trained)} trainings, {sum(trained.values()):.1f} s in all; noticed after {noticed:.1f} s\n")
    rows = [
        (moments["asset"], *(f"{moments.get(name, float('nan')):.1f}" for name in FIRST_OF_RUN.values()))
        for moments in sorted(history(folder, begin).values(), key=lambda moments: moments["queued"])
    ]
    print(markdown_table(("run of", *FIRST_OF_RUN.values()), rows))
    say_used(used, wall)


def by_hand(folder, address, count):
    """`count` trainings selected on the page of `training_run`, with the automation off."""
    live = Live(folder, address)
    live.switch_off()
    budgets = [3e5, 6e5, 4e6] + [3.1e5 * 1.02**step for step in range(-(-count // FEWEST))]
    study_of(folder, budgets)
    live.materialize("sweep_plan")
    before = results_of(folder)
    wait_for(lambda: len(set(planned(folder)) - before.keys()) >= count, 300, "the plan")
    chosen = [name for name in planned(folder) if name not in before][:count]
    wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of the plan's run")
    used, begin = processor_seconds(folder), time.time()
    backfill(address, chosen)
    wait_for(lambda: set(chosen) <= results_of(folder).keys(), 1200, f"{count} trainings")
    wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of the last run")
    wall, used = time.time() - begin, processor_seconds(folder) - used
    trained = sum(seconds for name, seconds in results_of(folder).items() if name in chosen)
    queued = min(moments["queued"] for moments in history(folder, begin).values())
    beyond = (wall - trained / WORKERS) / len(chosen)
    print(f"\n## {len(chosen)} trainings selected by hand: {wall:.1f} s\n")
    own = sum(used.values()) / len(chosen)
    print(f"The first was queued after {queued:.1f} s; {trained:.1f} s of training in all; beyond themselves ", end="")
    print(f"**{beyond:.2f} s each** by the clock; {own:.2f} s of processor time each, the training included.")
    say_used(used, wall)


def planned(folder):
    """The experiments of the plan."""
    return [
        item["experiment_id"] for item in json.loads((folder / "tiny" / "sweep_plan.json").read_text())["experiments"]
    ]


def backfill(address, partitions):
    """As *Materialize* does with partitions of `training_run` that are selected."""
    mutation = (
        "mutation B($p: LaunchBackfillParams!){launchPartitionBackfill(backfillParams: $p){__typename "
        "... on PythonError{message}}}"
    )
    parameters = {"partitionNames": partitions, "assetSelection": [{"path": ["training_run"]}], "title": "by hand"}
    answer = ask(address, mutation, p=parameters)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer


def say_used(used, wall):
    """A line on processor time, and on how much else the machine had to do."""
    parts = ", ".join(f"{role} {seconds:.1f} s" for role, seconds in used.most_common() if seconds > 0.05)
    print(f"\nProcessor time: {sum(used.values()):.1f} s ({parts}), on {os.cpu_count()} cores, of which this was "
          f"{sum(used.values()) / wall / os.cpu_count():.0%}; load {os.getloadavg()[0]:.1f}\n", flush=True)  # fmt: skip


def main(folder, count, plain):
    """Both, in a home in `folder`."""
    study = study_of(folder, (3e5, 6e5))
    if plain:
        config = instance_directory(folder, WORKERS) / "dagster.yaml"
        config.write_text(config.read_text() + "run_launcher: {module: dagster, class: DefaultRunLauncher}\n")
    with served(study, folder) as address:
        live = Live(folder, address)
        live.switch_on()
        wait_for(lambda: (folder / "tiny" / "scaling_law.json").exists(), 600, "the first law")
        live.settle()
        seven(folder, address)
        if count:
            by_hand(folder, address, count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by-hand", type=int, default=100)
    parser.add_argument("--plain", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        main(Path(temporary).resolve(), asked.by_hand, asked.plain)
