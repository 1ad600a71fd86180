"""Shared trunks in Dagster: a partition for each experiment, in any order; another budget pays only what is new."""

import io
import json
import random

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, budget_of, materializations, result_files, run, write_study
from rich.console import Console

from flops_fit.errors import StudyError
from flops_fit.recipe.trunk import own_parts
from flops_fit.recipe.trunk_states import FOLDER
from flops_fit_assets.commands.import_runs import import_study_runs
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.slow]
SHORT, LONG = (2e5, 4e5, 8e5), (2e5, 4e5, 8e5, 1.6e6)


def write_shared(folder, budgets):
    path = write_study(folder, budgets=budgets, sizes=4, workers=2)
    recipe = 'learning_rate = 0.02\nschedule = "wsd"\nshare_trunk = true\nbatch_tokens = 16'
    text = path.read_text().replace('size_param = "width"', 'size_param = "width"\nflops = "measured"')
    text = text.replace("[sweep]\n", "[sweep]\ntokens_per_param = 25\n")  # another than by default: no word on units
    path.write_text(text.replace("learning_rate = 0.02", recipe))
    return path


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The study, with another budget, and begun from nothing with both in an order of chance."""
    home, other, steps = tmp_path_factory.mktemp("trunks"), tmp_path_factory.mktemp("any_order"), {}
    for name, budgets in (("short", SHORT), ("long", LONG), ("unchanged", LONG)):
        outcome = run(write_shared(home, budgets), home)
        steps[name] = {"outcome": outcome, "made": materializations(home), "results": result_files(home)}
    runs = AssetRuns.of(write_shared(other, LONG), other)
    with open_instance(other, 2) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        plan = runs.source.store.read("sweep_plan")
        order = [item.experiment_id for item in plan.experiments]
        random.Random(3).shuffle(order)
        for partition in order:
            runs.materialize(instance, "training_run", partition)
    return {**steps, "home": home, "other": other, "plan": plan, "study": runs.source.study}


def results_in(home):
    return {path.parent.name: json.loads(path.read_text()) for path in home.glob("tiny/runs/*/result.json")}


def test_another_budget_trains_only_its_own(story):
    before, after = story["short"], story["long"]
    assert before["results"].items() < after["results"].items(), "no result was touched"
    new = after["results"].keys() - before["results"].keys()
    assert {budget_of(name) for name in new} == {1.6e6}
    assert after["made"]["training_run"] == before["made"]["training_run"] + len(new)
    results = results_in(story["home"])
    assert sum(results[name].get("trunk_tokens", 0) > 0 for name in new) >= len(new) - 1
    assert story["unchanged"]["made"] == after["made"]


def test_what_was_trained_is_what_the_plan_says(story):
    results, plan = results_in(story["home"]), story["plan"]
    own = own_parts(story["study"].training, plan.experiments)
    trained = {name: each["num_tokens"] - each.get("trunk_tokens", 0) for name, each in results.items()}
    assert sum(trained.values()) == sum(part.examples for part in own.values())
    assert sum(trained.values()) < 0.85 * sum(each["num_tokens"] for each in results.values())


def test_in_any_order_partitions_are_the_same_and_cost_the_same(story):
    one, other = results_in(story["home"]), results_in(story["other"])
    assert one.keys() == other.keys()
    for name in one:
        assert one[name]["weights_sha256"] == other[name]["weights_sha256"]
        assert one[name]["loss"] == other[name]["loss"]
    shared = [sum(each.get("trunk_tokens", 0) for each in results.values()) for results in (one, other)]
    assert shared[0] == shared[1] > 0


def test_pages_say_what_is_shared(story):
    with open_instance(story["home"], 2) as instance:
        plan, law, training = (
            instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.metadata
            for name in ("sweep_plan", "scaling_law", "training_run")
        )
    assert "experiments branch from" in plan["notes"].value
    total = sum(item.planned_flops for item in story["plan"].experiments)
    assert plan["planned FLOPs"].value < 0.9 * total
    assert training["trunk"].value.startswith("width")
    assert training["trunk left"].value.startswith("after step ")
    assert 0 < training["FLOPs of its own"].value <= training["FLOPs"].value
    assert "FLOPs alone" in plan["trunks"].value
    assert len(plan["trunks"].value.splitlines()) == 2 + len({item.trunk for item in story["plan"].experiments})
    assert any("branch from" in law[name].value for name in law if name.startswith("finding "))
    assert list((story["home"] / "tiny" / "runs" / FOLDER).glob("width*/*.safetensors"))


def test_runs_trained_elsewhere_are_refused(story, tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("num_params,num_tokens,loss\n100,1000,1.0\n")
    with pytest.raises(StudyError, match="share trunks"):
        import_study_runs(table, story["home"] / "study.toml", story["home"], Console(file=io.StringIO()))
