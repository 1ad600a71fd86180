"""A study file that trains in seconds, what ran for it, and what that left."""

import atexit
import functools
import io
import json
import re
import shutil
import tempfile
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from flops_fit_assets.headless.study import run_study
from flops_fit_assets.instance.home import open_instance

# Dagster's own use of what it deprecates
DAGSTER_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Property `OpDefinition.version`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

STUDY = """\
name = "{name}"
owners = {owners}

[model]
factory = "{module}:{model}"
size_param = "width"
size_values = [1, 2, 3, 4, 5, 6, 8, 9, 11, 16, 20, 26, 39, 56, 64]

[data]
train = "tiny_study:train"
eval = "tiny_study:held_out"

[loss]
fn = "torch.nn.functional:cross_entropy"

[sweep]
compute_budgets = {budgets}
num_sizes_per_budget = {sizes}
target_budgets = {targets}

[training]
learning_rate = 0.02
weight_decay = 0.0

[hardware]
device = "cpu"
workers = {workers}
price_per_hour = 2.0
"""


def write_study(
    folder, budgets=(3e5, 6e5), sizes=4, model="TinyMLP", module="tiny_study", name="tiny", targets=(), owners=(),
    workers=1,
) -> Path:  # fmt: skip
    """`study.toml` in `folder`, and beside it a new Dagster instance (see `_new_instance`)."""
    path = Path(folder) / "study.toml"
    lists = {"budgets": list(budgets), "targets": list(targets), "owners": list(owners)}
    path.write_text(STUDY.format(**lists, sizes=sizes, model=model, module=module, name=name, workers=workers))
    if not (path.parent / "dagster").exists():
        shutil.copytree(_new_instance().name, path.parent, dirs_exist_ok=True)
    return path


_ROUNDS = """
[adaptive]
target_budget = 1e7
total_compute = {total}
round_size = 4
N_opt_within = {within}
"""


def write_adaptive(folder, total=1.45e6, within=1.02) -> Path:
    """The tiny study, in rounds instead of a grid."""
    path = write_study(folder)
    text = path.read_text().replace('size_param = "width"', 'size_param = "width"\nflops = "measured"')
    recipe = 'learning_rate = 0.02\nbatch_tokens = "0.5*sqrt(tokens)"\nbetas = [0.9, 0.95]'
    text = text.replace("learning_rate = 0.02", recipe)
    path.write_text(
        text.replace("[300000.0, 600000.0]", "[4e4, 1.2e5, 4e5]") + _ROUNDS.format(total=total, within=within)
    )
    return path


def write_tuned(folder, model="TinyMLP", start=0.003, **study) -> Path:
    """The tiny study with a learning rate that is tuned, by four trials from `start` on."""
    path = write_study(folder, model=model, **study)
    bounds = f"[{start / 10:g}, {100 * start:g}]"
    tuning = f"[tuning]\ntrainings = 4\nshare = 0.5\nstart = {{ learning_rate = {start:g} }}\n"
    tuning += f"bounds = {{ learning_rate = {bounds} }}\n"
    path.write_text(path.read_text().replace("learning_rate = 0.02", 'learning_rate = "tune"') + tuning)
    return path


@functools.cache
def _new_instance():
    """A home with an empty instance, to be copied: to make one takes Dagster a second."""
    home = tempfile.TemporaryDirectory(prefix="flops_fit_instance_")
    atexit.register(home.cleanup)
    with open_instance(Path(home.name), 2):
        return home


# A target and owners, so that whoever looks at a study that has run finds all there is to see.
FINISHED = {"targets": ("1e9",), "owners": ("team:scaling", "someone@example.org")}


def run_finished_study(home):
    """Run the study that tests copy, on two workers; what was done and how it ended is kept in `first_run.json`."""
    outcome = run(write_study(home, **FINISHED, workers=2), home)
    statuses = {name: result.status for name, result in outcome.results.items()}
    (Path(home) / "first_run.json").write_text(json.dumps({"done": outcome.done, "statuses": statuses}))


def run(path, home, until=()):
    """A headless run as `flops-fit run` does it."""
    return run_study(Path(path), Path(home), Console(file=io.StringIO()), until)


def materializations(home, *more):
    """Asset → how often it was materialized, so far; of those that every study has, and of `more`."""
    with open_instance(Path(home), 2) as instance:
        names = ("size_map", "sweep_plan", "experiment", "training_run", "scaling_law", *more)
        return {name: len(instance.fetch_materializations(dg.AssetKey(name), limit=10_000).records) for name in names}


def result_files(home):
    """Result file → its modification time and content."""
    return {
        path.parent.name: (path.stat().st_mtime_ns, path.read_text())
        for path in Path(home).glob("tiny/runs/*/result.json")
    }


def budget_of(experiment_id):
    """`c6e+10-width48-s0-3f9a2b71` → 6e10."""
    return float(re.match(r"c([0-9.e+]+)-", experiment_id)[1])
