"""How long studies are said to take, and how long they take: `python benchmarks/estimates.py [--write]`.

The demo and a small GRU: device-seconds of all trainings as guessed before anything ran, as estimated from the first
steps that `flops-fit check` takes, and as they were. Run on idle cores; five minutes on two.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from defaults import CharGRU
from written import write_page

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Study, SweepOptions
from flops_fit.basics.formatting import format_seconds, markdown_table
from flops_fit.examples import byte_mlp, stdlib_corpus, tiny_gpt
from flops_fit.loss import cross_entropy
from flops_fit.preflight.preflight import preflight
from flops_fit.stages import study_cost, study_plan, study_size_map
from flops_fit.training.side_by_side import train_all

STUDIES = {
    "demo": (byte_mlp.ByteMLP, stdlib_corpus, (2e9, 6e9, 2e10, 6e10), 20),
    "GRU": (CharGRU, tiny_gpt, (2e10, 6e10, 2e11), 80),
}


def row_of(name, folder):
    """A study's guess, estimate and truth."""
    factory, data, budgets, tokens_per_param = STUDIES[name]
    study = Study(
        name=name,
        model=ModelSpec(factory=factory, size_param="width", max_size=512, flops="measured"),
        data=DataSpec(train=data.train_dataset, eval=data.held_out_dataset),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=budgets, num_sizes_per_budget=5, tokens_per_param=tokens_per_param),
        hardware=Hardware(device="cpu"),
    )
    plan = study_plan(study, study_size_map(study))
    guessed = 3600 * study_cost(study, plan).device_hours
    preflight(study, plan).timed.save(folder)
    timed = 3600 * study_cost(study, plan, directory=folder).device_hours
    results = train_all(study, plan.experiments, output_dir=folder / "runs", progress=False)
    truth = sum(result.seconds for result in results)
    shown = [format_seconds(seconds) for seconds in (guessed, timed, truth)]
    return name, len(results), shown[0], f"{guessed / truth:.2f}", shown[1], f"{timed / truth:.2f}", shown[2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    for name in STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(name, Path(folder)))
        print(*rows[-1], flush=True)
    headers = ("study", "trainings", "guessed", "of the truth", "after check", "of the truth", "truth")
    if given.write:
        write_page(
            __file__, "How long studies take", f"{__doc__.partition('.')[2].strip()}\n\n{markdown_table(headers, rows)}"
        )


if __name__ == "__main__":
    main()
