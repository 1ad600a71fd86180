"""What the pipeline costs beside the trainings: `python benchmarks/pipeline.py [--demo]`.

Prints the overhead of each headless training; with `--demo`, the demo through Dagster against `find_optimal` with the
same experiments (minutes). Of thousands: thousands.py.
"""

import argparse
import io
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

from pipeline_study import write_study

from flops_fit import find_optimal
from flops_fit.study.study import Study
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.headless.study import run_study
from flops_fit_assets.instance.home import DEMO_STUDY, open_instance


def timed(what, call):
    start = time.perf_counter()
    value = call()
    print(f"{time.perf_counter() - start:8.2f} s  {what}", flush=True)
    return value


def overhead(folder, trainings=8):
    """Seconds of one training's Dagster run beyond the training itself, in a warm process."""
    runs = AssetRuns.of(write_study(folder), folder)
    with open_instance(folder, 2) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        store = runs.source.store
        names = [item.experiment_id for item in store.read("sweep_plan").experiments][:trainings]
        runs.materialize(instance, "training_run", names[0])
        start = time.perf_counter()
        for name in names[1:]:
            runs.materialize(instance, "training_run", name)
        spent = time.perf_counter() - start
        trained = sum(store.read("training_run", name).seconds for name in names[1:])
    print(f"{(spent - trained) / (len(names) - 1):8.2f} s  overhead of one headless training")


def demo(folder):
    """The demo through Dagster and through `find_optimal`, each from nothing to a law."""
    quiet = Console(file=io.StringIO())
    plain = timed("the demo through find_optimal", lambda: by_find_optimal(Study.from_toml(DEMO_STUDY), folder))
    headless = timed("the demo through Dagster", lambda: run_study(DEMO_STUDY, folder / "home", quiet).law)
    assert {*plain.runs.experiment_id} == {*headless.runs.experiment_id}, "the same experiments"
    timed("the demo again, nothing to do", lambda: run_study(DEMO_STUDY, folder / "home", quiet))


def by_find_optimal(study, folder):
    """A study from a file as one call."""
    given = {"factory", "size_param", "kwargs", "train", "eval", "compute_budgets"}
    given |= {"target_budgets", "centre_on_law", "version", "name"}  # which the call does not take
    sections = (study.model, study.data, study.sweep, study.training, study.hardware)
    options = {item.name: getattr(part, item.name) for part in sections for item in fields(part)}
    return find_optimal(
        study.model.factory,
        study.model.size_param,
        dict(study.model.kwargs),
        study.data.train(**study.data.kwargs),
        study.loss_function,
        study.sweep.compute_budgets,
        eval_dataset=study.data.eval(**study.data.kwargs),
        output_dir=folder / "plain",
        progress=False,
        **{name: value for name, value in options.items() if name not in given},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true", help="also run the demo both ways")
    with_demo = parser.parse_args().demo
    for measure in (overhead, *([demo] if with_demo else [])):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder))


if __name__ == "__main__":
    main()
