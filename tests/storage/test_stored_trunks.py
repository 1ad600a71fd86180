"""States of a trunk are in the storage, so that another machine goes on from them."""

import json
import shutil

import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit.recipe.trunk import by_trunk
from flops_fit.recipe.trunk_states import FOLDER
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.slow]


def machine(folder, storage):
    """A study that shares trunks on a machine of its own, planned there; and the experiments of its longest trunk."""
    folder.mkdir()
    path = write_study(folder, budgets=(2e5, 4e5, 8e5))
    text = path.read_text().replace('size_param = "width"', 'size_param = "width"\nflops = "measured"')
    text = text.replace("[sweep]\n", "[sweep]\ntokens_per_param = 25\n")
    recipe = 'learning_rate = 0.02\nschedule = "wsd"\nshare_trunk = true\nbatch_tokens = 16'
    path.write_text(text.replace("learning_rate = 0.02", recipe))
    runs = AssetRuns.of(path, folder, storage)
    with open_instance(folder, 1) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
    trunks = by_trunk(runs.source.store.read("sweep_plan").experiments)
    return runs, max(trunks.values(), key=len)


def train(runs, item):
    with open_instance(runs.home, 1) as instance:
        runs.materialize(instance, "training_run", item.experiment_id)
    return json.loads((runs.home / "tiny" / "runs" / item.experiment_id / "result.json").read_text())


def test_another_machine_goes_on_from_where_one_left_the_trunk(tmp_path):
    storage = f"file://{tmp_path}/shared"
    first, mine = machine(tmp_path / "first", storage)
    short = train(first, mine[0])
    assert short.get("trunk_tokens", 0) == 0
    second, same = machine(tmp_path / "second", storage)
    assert [item.experiment_id for item in same] == [item.experiment_id for item in mine]
    long = train(second, mine[-1])
    assert long["trunk_tokens"] > 0
    states = {path.name for path in (tmp_path / "shared").rglob("*.safetensors") if path.parent.name == mine[0].trunk}
    assert len(states) == len(mine), "that of the first, of the one between, and its own"
    shutil.rmtree(tmp_path / "first" / "tiny" / "runs" / FOLDER)
    assert train(first, mine[1])["trunk_tokens"] > 0, "brought again"
