"""A study of thousands of small trainings, and results of them as trainings would have left them."""

from __future__ import annotations

import io
import json
import re

import numpy as np
from pipeline_study import write_study
from rich.console import Console

from flops_fit.loss_curves.curves import LOG_FILE
from flops_fit.results.results import RESULT_FILE, ExperimentResult
from flops_fit.stages import study_cost, study_plan, study_size_map
from flops_fit.study.study import Study
from flops_fit.synthetic import REPLICATION
from flops_fit_assets.commands.import_runs import materialization
from flops_fit_assets.graph.batch_events import report_materializations
from flops_fit_assets.headless.study import headless_study

SEEDS, LINES = 5, 100
LEAST, MOST, MORE = 5e5, 1e7, 1.1e7  # FLOPs; the last is the budget that is added
SHAPES = {1000: (23, 10), 5000: (62, 20)}  # experiments → budgets, sizes of each
WORTH = 1e5  # what a parameter and a token of these are taken for under a published law


def many_study(folder, count, more=False):
    """`study.toml` of about `count` experiments, with `more` of one budget more."""
    budgets, sizes = SHAPES.get(count) or (max(4, count // 50), 10)
    chosen = np.geomspace(LEAST, MOST, budgets).tolist() + ([MORE] if more else [])
    path = write_study(folder, [float(f"{value:.6g}") for value in chosen], sizes=sizes, workers=2, targets=("1e9",))
    text = re.sub(r"size_values = .*", f"size_values = {list(range(1, 65))}", path.read_text())
    text = text.replace("target_budgets", f"seeds = {list(range(SEEDS))}\ntarget_budgets")
    path.write_text(text.replace("[training]", "[training]\nbatch_tokens = 64"))
    return path


def leave_results(path, home):
    """Result and log of every planned experiment but the dearest budget's, under a known law with noise; how many
    those are, and how many are left."""
    study = Study.from_toml(path)
    plan = study_plan(study, study_size_map(study))
    noise, done = np.random.default_rng(0), _done(plan)
    for item in done:
        _leave(item, home / study.name / "runs" / item.experiment_id, noise)
    return len(done), len(plan.experiments) - len(done)


def report_results(home):
    """Tell Dagster of them, as `flops-fit import` does of what it took."""
    with headless_study(home / "study.toml", home, Console(file=io.StringIO())) as live:
        source = live.runs.source
        plan = source.store.read("sweep_plan")
        seconds = study_cost(source.study, plan).seconds
        report_materializations(
            live.instance,
            [
                materialization(
                    live, item, source.store.read("training_run", item.experiment_id), seconds[item.experiment_id]
                )
                for item in _done(plan)
            ],
        )


def _done(plan):
    return [item for item in plan.experiments if item.compute_budget != plan.compute_budgets[-1]]


def _leave(item, folder, noise):
    steps = max(1, round(item.num_tokens / 64))
    loss = float(REPLICATION.loss(item.num_params * WORTH, item.num_tokens * WORTH) * np.exp(noise.normal(0, 0.002)))
    seconds = 0.02 + 4e-4 * steps * float(np.exp(noise.normal(0, 0.1)))
    result = ExperimentResult.of(
        item,
        num_tokens=item.num_tokens,
        flops=item.planned_flops,
        status="completed",
        loss=loss,
        train_loss=loss,
        steps=steps,
        batch_examples=64,
        learning_rate=0.02,
        epochs=item.num_tokens / 60_000,
        seconds=seconds,
        tokens_per_second=item.num_tokens / seconds,
    )
    folder.mkdir(parents=True)
    result.save(folder / RESULT_FILE)
    at = np.unique(np.linspace(1, steps, LINES).astype(int)).tolist()
    lines = [
        {
            "step": step,
            "tokens": 64 * step,
            "loss": loss + 0.3 * (1 - step / steps) + 0.01 * noise.normal(),
            "learning_rate": 0.02,
            "seconds": seconds * step / steps,
        }
        for step in at
    ]
    (folder / LOG_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
