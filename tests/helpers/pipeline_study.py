"""A study file that trains in seconds, what ran for it, and what that left."""

import io
import re
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

[model]
factory = "{module}:{model}"
size_param = "width"
max_size = 64

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
workers = 2
price_per_hour = 2.0
"""


def write_study(
    folder, budgets=(3e5, 6e5), sizes=4, model="TinyMLP", module="tiny_study", name="tiny", targets=()
) -> Path:
    """`study.toml` in `folder`."""
    path = Path(folder) / "study.toml"
    lists = {"budgets": list(budgets), "targets": list(targets)}
    path.write_text(STUDY.format(**lists, sizes=sizes, model=model, module=module, name=name))
    return path


def run(path, home):
    """A headless run as `flops-fit run` does it."""
    return run_study(Path(path), Path(home), Console(file=io.StringIO()))


def materializations(home):
    """Asset → how often it was materialized, so far."""
    with open_instance(Path(home), 2) as instance:
        names = ("size_map", "sweep_plan", "experiment", "training_run", "scaling_law")
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
