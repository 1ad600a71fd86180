"""Speed of training, as ratios within one run: `python benchmarks/training.py`.

1. Steps per second of `run_experiment` over a bare hand-written loop on the same model, data and batches.
2. Two workers of one thread over one worker of two threads, on the demo's smallest budget.
3. Seconds per experiment that the pool adds to the training itself.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from flops_fit import Study, run_experiment
from flops_fit.data.batches import epoch_order
from flops_fit.recipe.steps import plan_steps
from flops_fit.stages import study_plan, study_size_map
from flops_fit.training.side_by_side import train_all

DEMO = Path(__file__).resolve().parent.parent / "flops_fit" / "examples" / "demo" / "study.toml"
REPEATS = 9


def bare_loop(study, experiment):
    """What one would write by hand for this one experiment; returns seconds of training."""
    data, recipe = study.prepared_data, study.training
    inputs, targets = data.train.dataset.tensors
    order = epoch_order(len(inputs), recipe.seed * 1_000_003 + experiment.seed, 0)
    steps = plan_steps(recipe, experiment, 1)
    model = study.model.factory(width=experiment.size_param_value)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.016, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    start = time.perf_counter()
    for step in range(steps.steps):
        chosen = order[steps.end(step) : steps.end(step + 1)]
        optimizer.param_groups[0]["lr"] = 0.016 * recipe.schedule_factor(steps.progress(step))
        loss = torch.nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if not loss.isfinite():
            raise RuntimeError("diverged")
    return time.perf_counter() - start


def against_the_bare_loop(study, plan):
    """Steps per second of ours over the bare loop's, for two of the demo's experiments.

    The best of each, since whatever else a machine does can only slow either down; and the median over the turns.
    """
    torch.set_num_threads(1)
    chosen = [plan.experiments[0], plan.experiments[len(plan.experiments) // 2]]
    for experiment in chosen:
        bare, ours = [], []
        for _ in range(REPEATS):
            with tempfile.TemporaryDirectory() as folder:
                bare.append(bare_loop(study, experiment))
                ours.append(run_experiment(study, experiment, output_dir=folder).seconds)
        ratio = min(bare) / min(ours)
        middle = statistics.median(one / other for one, other in zip(bare, ours, strict=True))
        print(
            f"steps/s over a bare loop, {experiment.experiment_id}: {ratio:.3f} (wanted 0.97)"
            f", in turns {middle:.3f} in the median",
            flush=True,
        )


def pool_figures(study, plan):
    """Two single-thread workers over one two-thread worker, and what the pool adds per experiment."""
    cheapest = [item for item in plan.experiments if item.compute_budget == plan.compute_budgets[0]]
    many = [item for item in plan.experiments if item.compute_budget <= plan.compute_budgets[1]]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        results = train_all(study, many, output_dir=Path(folder), progress=False)
        two_workers = time.perf_counter() - start
        trained = sum(result.seconds for result in results) / study.hardware.num_workers()
    overhead = (two_workers - trained) / len(many)
    print(f"overhead per experiment in the pool, start-up included: {overhead:.2f} s (wanted 0.5)")
    one_worker = in_one_process(threads=2, count=len(cheapest))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = train_all(study, cheapest, output_dir=Path(folder), progress=False)
    side_by_side = sum(result.seconds for result in results) / 2
    print(f"two one-thread workers over one two-thread worker: {one_worker / side_by_side:.2f} (wanted 1.6)")


def in_one_process(threads, count):
    """Training seconds of the cheapest `count` experiments one after the other with `threads` threads."""
    code = (
        "import sys, tempfile, torch; torch.set_num_threads(int(sys.argv[1]))\n"
        "from flops_fit import Study, run_experiment; from flops_fit.stages import study_plan, study_size_map\n"
        "study = Study.from_toml(sys.argv[2]); plan = study_plan(study, study_size_map(study))\n"
        "folder = tempfile.mkdtemp()\n"
        "chosen = plan.experiments[:int(sys.argv[3])]\n"
        "print(sum(run_experiment(study, item, output_dir=folder).seconds for item in chosen))\n"
    )
    command = [sys.executable, "-c", code, str(threads), str(DEMO), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    demo = Study.from_toml(DEMO)
    demo_plan = study_plan(demo, study_size_map(demo))
    against_the_bare_loop(demo, demo_plan)
    pool_figures(demo, demo_plan)
