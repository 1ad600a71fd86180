"""Are the pages usable with a thousand experiments, or with 5,000? `python benchmarks/pages.py [EXPERIMENTS]`.

Five minutes for a thousand. Plans about so many experiments, imports results for all but one budget's, and prints the
seconds until each page shows what it is opened for in headless Chromium, and how long the automation's ticks take under
the live daemon.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

import io

from dagster_pages import ask, repository_of, served, switch_on
from pipeline import BUDGETS, timed
from pipeline_study import write_study
from rich.console import Console
from webdriver import browser, wait_for

from flops_fit.synthetic import REPLICATION
from flops_fit_assets.commands.import_runs import import_study_runs
from flops_fit_assets.headless.study import headless_study

TICKS, SIZES = 5, 7


def many_experiments(folder, count):
    """A study whose plan is made and whose experiments, but for the dearest budget's, have a result."""
    budgets = np.geomspace(BUDGETS[0], BUDGETS[-1], round(count / SIZES)).tolist()
    study, console = write_study(folder, budgets, sizes=SIZES), Console(file=io.StringIO())
    with headless_study(study, folder, console) as live:
        plan, _ = timed("size map and plan", live.bring_plan_up_to_date)
    print(f"            {plan.num_experiments} experiments")
    done = [item for item in plan.experiments if item.compute_budget != plan.compute_budgets[-1]]
    noise = np.random.default_rng(0).normal(0, 0.002, len(done))
    rows = [
        {
            "width": item.size_param_value,
            "num_tokens": item.num_tokens,
            "seed": item.seed,
            "loss": float(REPLICATION.loss(item.num_params * 1e5, item.num_tokens * 1e5) * np.exp(error)),
        }
        for item, error in zip(done, noise, strict=True)
    ]
    table = folder / "runs.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    imported = timed("import their results", lambda: import_study_runs(table, study, folder, console))
    assert len(imported.new) > 0.98 * len(done), imported.unmatched[:3]  # budgets so close share some experiments
    return study, plan


def pages(address, plan):
    """Seconds until each page shows what one looks for."""
    first = plan.experiments[0].experiment_id
    with browser(1500, 1000) as page:
        page.open(f"{address}/asset-groups")  # the first page loads Dagster's scripts too
        page.wait_for_text("scaling_law")
        for what, path, texts in (
            ("lineage", "/asset-groups", ("sweep_plan", "training_run", "scaling_law")),
            ("page of sweep_plan with its table", "/assets/sweep_plan", ("plan table", "when planned")),
            ("partitions of training_run", "/assets/training_run?view=partitions", ("Partitions Selected",)),
            ("one training's page", f"/assets/training_run?view=partitions&partition={first}", ("held-out loss",)),
            ("page of scaling_law", "/assets/scaling_law", ("Description",)),
            ("runs", "/runs", ("sweep_plan",)),
        ):
            timed(what, lambda path=path, texts=texts: (page.open(address + path), page.wait_for_text(*texts)))


def tick_seconds(address):
    """How long the automation sensor's last ticks took that ended."""
    query = (
        "query T($s: SensorSelector!){sensorOrError(sensorSelector: $s){... on Sensor{sensorState{"
        "ticks(limit: 50){status timestamp endTimestamp}}}}}"
    )
    selector = repository_of(address) | {"sensorName": "automation_tiny"}
    found = ask(address, query, s=selector)["sensorOrError"]["sensorState"]["ticks"]
    return [tick["endTimestamp"] - tick["timestamp"] for tick in found if tick["status"] in ("SKIPPED", "SUCCESS")]


def main(count=1000):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        study, plan = many_experiments(folder, count)
        with served(study, folder) as address:
            pages(address, plan)
            switch_on(address, "automation_tiny")
            seconds = wait_for(lambda: (t := tick_seconds(address)) and len(t) >= TICKS and t, 600, "ticks")
            print("            automation ticks: " + ", ".join(f"{value:.2f} s" for value in reversed(seconds)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
