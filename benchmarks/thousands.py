"""What do 1,000 and 5,000 experiments cost: planned, run, fitted, browsed and planned again?

    python benchmarks/thousands.py [--experiments 1000 5000] [--storage sqlite postgresql] [--write]

Each study's plan is made, and all but its dearest budget get results and logs as trainings would have left them, under
a known law with noise; their events are Dagster's, stored as `flops-fit import` stores them. Every other step is a
command or a page as a person has it: the dearest budget is trained, then another one is added and trained. CPU seconds
are of a command and all its processes, the peak is of the largest of them; the wall clock counts whatever else the
machine had to do. PostgreSQL: see benchmarks/postgresql.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

import postgresql
from dagster_pages import ask, repository_of, served, switch_on
from live_processes import of_home
from live_trainings import ROLES, TICKS_A_SECOND
from many_results import leave_results, many_study, report_results
from webdriver import browser, wait_for
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "tests" / "helpers"
CLI = [sys.executable, "-m", "flops_fit_assets.cli"]
TICKS = 5
SENSORS = ("automation", "watch", "progress")
FILES = ("sweep_plan.json", "scaling_law.json", "report.html", "runs.csv")


class Steps:
    """Steps of one study in `home`, each with what it cost."""

    def __init__(self, home):
        self.home, self.rows = home, []

    def command(self, name, *arguments):
        """Run one, and keep its seconds on the clock and of CPU, and its peak memory in MB."""
        paths = os.pathsep.join(filter(None, [str(HELPERS), str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {"FLOPS_FIT_HOME": str(self.home), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        began = time.perf_counter()
        with (self.home / "said.txt").open("a") as said:
            process = subprocess.Popen(
                [*map(str, arguments)], env=os.environ | environment, stdout=said, stderr=said, cwd=self.home
            )
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{name}: {(self.home / 'said.txt').read_text()[-3000:]}")
        seconds = usage.ru_utime + usage.ru_stime
        self.keep(name, time.perf_counter() - began, seconds, usage.ru_maxrss / 1024)

    def keep(self, name, wall, cpu, peak):
        """A row of the table."""
        self.rows.append((name, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}"))
        print(f"{name:60s} {wall:7.1f} s {cpu:7.1f} s CPU {peak:6.0f} MB", flush=True)


def materialize(home, stage):
    """One Dagster run in this process."""
    runs = AssetRuns.of(home / "study.toml", home)
    with open_instance(home, 2) as instance:
        runs.materialize(instance, stage)


def headless(steps, count):
    """Planned, run, fitted and planned again on the command line."""
    home, study = steps.home, steps.home / "study.toml"
    one = [sys.executable, __file__, "--home", home, "--step"]
    steps.command("`flops-fit plan`, nothing there yet", *CLI, "plan", study)
    steps.command("size map as a Dagster run", *one, "size_map")
    steps.command("plan as a Dagster run, every partition new", *one, "sweep_plan")
    left, trained = leave_results(study, home)
    steps.command(f"{left:,} results stored as an import stores them", *one, "results")
    steps.command(f"`flops-fit run`: {trained} trainings, law, report", *CLI, "run", study)
    steps.command("`flops-fit run`, nothing to do", *CLI, "run", study)
    steps.command("`flops-fit plan`, nothing changed", *CLI, "plan", study)
    many_study(home, count, more=True)
    steps.command("`flops-fit plan`, a budget more", *CLI, "plan", study)
    steps.command("`flops-fit run`, a budget more: its trainings, law, report", *CLI, "run", study)
    steps.command("`flops-fit report`", *CLI, "report", study)


def pages(address, experiment):
    """Page → seconds until it shows what it is opened for, GraphQL answers until then, and their MB."""
    rows = []
    counted = (
        "const all = performance.getEntriesByType('resource').filter(e => e.name.includes('/graphql'));"
        "return [all.length, all.reduce((sum, e) => sum + e.decodedBodySize, 0)]"
    )
    with browser(1500, 1000) as page:
        page.open(f"{address}/asset-groups")  # the first page loads Dagster's scripts too
        page.wait_for_text("scaling_law")
        for what, path, texts in (
            ("lineage", "/asset-groups", ("sweep_plan", "training_run", "scaling_law")),
            ("first page of the study", "/assets/study/progress", ("trained", "budgets")),
            ("`sweep_plan` with its table", "/assets/sweep_plan", ("plan table", "when planned")),
            ("partitions of `training_run`", "/assets/training_run?view=partitions", ("Partitions Selected",)),
            ("one training", f"/assets/training_run?view=partitions&partition={experiment}", ("held-out loss",)),
            ("`scaling_law`", "/assets/scaling_law", ("predictions",)),
            ("runs", "/runs", ("scaling_law",)),
        ):
            began = time.perf_counter()
            page.open(address + path)
            page.wait_for_text(*texts, reload=False)
            seconds = time.perf_counter() - began
            answers, size = page.run(counted)
            rows.append((what, f"{seconds:.1f}", answers, f"{size / 1e6:.2f}"))
            print(*rows[-1], flush=True)
    return rows


def tick_seconds(address, sensor):
    """How long each of a sensor's ticks took that ended, oldest first."""
    query = (
        "query T($s: SensorSelector!){sensorOrError(sensorSelector: $s){... on Sensor{sensorState{"
        "ticks(limit: 50){status timestamp endTimestamp}}}}}"
    )
    selector = repository_of(address) | {"sensorName": f"{sensor}_tiny"}
    found = ask(address, query, s=selector)["sensorOrError"]["sensorState"]["ticks"]
    ended = [tick for tick in found if tick["status"] in ("SKIPPED", "SUCCESS")]
    return [tick["endTimestamp"] - tick["timestamp"] for tick in reversed(ended)]


def ticks(address):
    """Sensor → seconds of its first tick, and of the quickest and slowest after it."""
    for sensor in ("automation", "watch"):
        switch_on(address, f"{sensor}_tiny")
    rows = []
    for sensor in SENSORS:
        seconds = wait_for(lambda s=sensor: (t := tick_seconds(address, s)) and len(t) > TICKS and t, 600, "ticks")
        rows.append((f"`{sensor}_…`", f"{seconds[0]:.2f}", f"{min(seconds[1:]):.2f}", f"{max(seconds[1:]):.2f}"))
        print(*rows[-1], flush=True)
    return rows


def processes(home):
    """Role of a process of the pages → its CPU seconds and its peak memory in MB, so far."""
    used, peaks = Counter(), Counter()
    for process, command in of_home(home).items():
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            status = Path(f"/proc/{process}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        role = next((role for naming, role in ROLES.items() if naming in command), "code server and others")
        used[role] += sum(map(int, fields[11:13])) / TICKS_A_SECOND
        peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
        peaks[role] = max(peaks[role], peak / 1024)
    return [(role, f"{used[role]:.1f}", f"{peaks[role]:.0f}") for role in sorted(used)]


def sizes(home, port):
    """What lies on the disk in MB."""
    found = {name: (home / "tiny" / name).stat().st_size for name in FILES}
    if port:
        found["history, in PostgreSQL"] = postgresql.database_bytes(port)
    else:
        found["history, in SQLite"] = sum(
            file.stat().st_size for file in (home / "dagster").rglob("*") if file.is_file()
        )
    return ", ".join(f"`{name}` {size / 1e6:.1f} MB" for name, size in found.items())


def study_of(count, storage):
    """One section of the page."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        postgresql.server() if storage == "postgresql" else nullcontext() as port,
    ):
        home = Path(folder).resolve()
        study = many_study(home, count)
        if port:
            postgresql.keep_history_in(home, port)
        print(f"## {count:,} experiments, {storage}", flush=True)
        steps = Steps(home)
        headless(steps, count)
        plan = AssetRuns.of(study, home).source.store.read("sweep_plan")
        with served(study, home) as address:
            shown = pages(address, plan.experiments[0].experiment_id)
            ticked, used = ticks(address), processes(home)
        parts = [
            f"## {plan.num_experiments:,} experiments, {storage}",
            markdown_table(("step", "clock, s", "CPU, s", "peak, MB"), steps.rows),
            markdown_table(("page", "shown after, s", "GraphQL answers", "MB of them"), shown),
            markdown_table(("sensor", "first tick, s", "others from, s", "to, s"), ticked),
            markdown_table(("processes of `flops-fit ui`", "CPU, s", "peak, MB"), used),
            f"On disk: {sizes(home, port)}.",
        ]
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--storage", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        report_results(asked.home) if asked.step == "results" else materialize(asked.home, asked.step)
        return
    parts = [study_of(count, storage) for storage in asked.storage for count in asked.experiments]
    load = f"Load of the machine at the end: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores."
    text = "\n\n".join([load, *parts])
    print(text)
    if asked.write:
        write_page(__file__, "Thousands of experiments", text)


if __name__ == "__main__":
    main()
