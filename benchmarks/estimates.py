"""How long studies are said to take, and how long they take: `python benchmarks/estimates.py [NAME ...] [--write]`.

The demo, a small GRU and a small GPT: seconds of all trainings as guessed before anything ran, as estimated from the
first steps that `flops-fit check` takes, and as they were, evaluation at their end included. All of it is CPU time of
one thread, so that what else the machine does counts for little; the guess is the same on any machine. Six minutes on
one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from defaults import CharGRU
from written import write_page

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Study, SweepOptions
from flops_fit.basics.formatting import format_seconds, markdown_table
from flops_fit.examples import byte_mlp, stdlib_corpus, tiny_gpt
from flops_fit.loss import cross_entropy
from flops_fit.preflight import first_steps
from flops_fit.preflight.preflight import preflight
from flops_fit.stages import study_cost, study_plan, study_size_map
from flops_fit.training.training_run import run_experiment

GPT = {"num_layers": 2, "head_width": 4}
STUDIES = {  # factory, its arguments, data, budgets, tokens per parameter
    "demo": (byte_mlp.ByteMLP, {}, stdlib_corpus, (2e9, 6e9, 2e10, 6e10), 20),
    "GRU": (CharGRU, {}, tiny_gpt, (2e10, 6e10, 2e11), 80),
    "GPT": (tiny_gpt.TinyGPT, GPT, tiny_gpt, (1e10, 3e10, 1e11), 150),
}
HEADERS = ("study", "trainings", "guessed", "of the truth", "after check", "of the truth", "truth")


def study_of(name):
    """One of `STUDIES`."""
    factory, kwargs, data, budgets, tokens_per_param = STUDIES[name]
    return Study(
        name=name,
        model=ModelSpec(factory=factory, size_param="width", kwargs=kwargs, max_size=512, flops="measured"),
        data=DataSpec(train=data.train_dataset, eval=data.held_out_dataset),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=budgets, num_sizes_per_budget=5, tokens_per_param=tokens_per_param),
        hardware=Hardware(device="cpu"),
    )


def row_of(name, folder):
    """A study's guess, estimate and truth."""
    study = study_of(name)
    plan = study_plan(study, study_size_map(study))
    guessed = 3600 * study_cost(study, plan).device_hours
    timed = 3600 * study_cost(study, plan, timed=preflight(study, plan).timed).device_hours
    begin = time.process_time()
    for item in plan.experiments:
        run_experiment(study, item, output_dir=folder)
    truth = time.process_time() - begin
    shown = [format_seconds(seconds) for seconds in (guessed, timed, truth)]
    return name, plan.num_experiments, shown[0], f"{guessed / truth:.2f}", shown[1], f"{timed / truth:.2f}", shown[2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[*STUDIES])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    first_steps.time = SimpleNamespace(perf_counter=time.process_time)
    torch.set_num_threads(1)
    rows = []
    for name in given.names:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(name, Path(folder)))
        print(*rows[-1], flush=True)
    if given.write:
        about = __doc__.partition("\n\n")[2].strip()
        write_page(__file__, "How long studies take", f"{about}\n\n{markdown_table(HEADERS, rows)}")


if __name__ == "__main__":
    main()
