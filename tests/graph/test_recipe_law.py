"""A study in Dagster that tunes its recipe: trials round by round, the rule, then the grid; and what tunes again."""

import shutil

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, run, write_study, write_tuned
from tiny_study import TinyMLP

from flops_fit.recipe_law.settling import TOLERATED_EXCESS
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit_assets.definitions import build_study_definitions
from flops_fit_assets.graph.recipe_law import kept_tuning
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.slow]
BUDGETS = (3e5, 6e5)


class OtherMLP(TinyMLP):
    """Another model, with the same sizes."""

    def forward(self, inputs):
        return self.layers(inputs) + 0.0


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A study run to its end, run again, and run with other budgets."""
    home = tmp_path_factory.mktemp("tuned")
    steps = {}
    for name, budgets in {"first": BUDGETS, "unchanged": BUDGETS, "budgets": (3e5, 9e5)}.items():
        outcome = run(write_tuned(home, budgets=budgets), home)
        made = materializations(home, "recipe_law")
        rule = TunedRecipe.load(home / "tiny" / "recipe_law.json")
        steps[name] = {"outcome": outcome, "made": made, "results": result_files(home), "rule": rule}
    return {"home": home, **steps}


def test_trials_are_trained_first_then_the_grid_by_their_rule(story):
    first = story["first"]
    outcome, rule = first["outcome"], first["rule"]
    assert len(rule.trials) == 4
    assert first["made"]["recipe_law"] == first["made"]["sweep_plan"] == first["made"]["scaling_law"] == 1
    assert first["made"]["training_run"] == first["made"]["experiment"] == len(outcome.results) + 4
    for result in outcome.results.values():
        assert result.learning_rate == rule.values(result.num_params, result.num_tokens)["learning_rate"]
    assert outcome.done.index("recipe_law") < outcome.done.index("sweep_plan")


def test_unchanged_nothing_is_made(story):
    assert story["unchanged"]["made"] == story["first"]["made"]
    assert not story["unchanged"]["outcome"].done


def test_other_budgets_tune_nothing_again_and_train_what_is_new(story):
    before, after = story["unchanged"], story["budgets"]
    assert after["made"]["recipe_law"] == 1
    assert after["rule"].content_hash == before["rule"].content_hash
    assert before["results"].items() < after["results"].items()
    assert all(name.startswith("c900000-") for name in after["results"].keys() - before["results"].keys())


def test_its_page_shows_the_rule_and_what_it_cost(story):
    with open_instance(story["home"], 2) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("recipe_law"))
    shown = event.asset_materialization.metadata
    assert "| learning_rate |" in shown["rule"].value
    assert shown["curves"].value.startswith("![trials of the recipe](data:image/png;base64,")
    assert shown["trials"].value == 4
    assert shown["share of the study"].value.endswith("of 3.60e+06 FLOPs"), "four sizes at each budget"
    assert "% of the loss at " in shown["loss expected to be lost at the largest"].value
    assert "The tuned recipe" in (story["home"] / "tiny" / "report.html").read_text()
    with open_instance(story["home"], 2) as instance:
        trained = instance.get_latest_materialization_event(dg.AssetKey("training_run"))
    assert trained.asset_materialization.metadata["tuned learning rate"].value > 0
    assert shown["trials one by one"].value.count("learning_rate = ") == 4


def test_what_settling_may_cost_is_spent_later_and_the_trials_stay(story, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(story["home"], home)
    before = result_files(home)
    path = write_tuned(home, budgets=BUDGETS)
    path.write_text(path.read_text() + "settle = 0.2\n")
    run(path, home)
    rule = TunedRecipe.load(home / "tiny" / "recipe_law.json")
    assert story["first"]["rule"].excess_at_largest > TOLERATED_EXCESS
    assert set(map(str, story["first"]["rule"].trials)) < set(map(str, rule.trials))
    assert rule.flops - story["first"]["rule"].flops <= 0.2 * rule.study_flops
    assert before.items() < result_files(home).items()


def test_another_model_is_tuned_anew(story, tmp_path):
    home = tmp_path / "copy"
    shutil.copytree(story["home"], home)
    before = set(result_files(home))
    outcome = run(write_tuned(home, model="OtherMLP", module="test_recipe_law", budgets=BUDGETS), home)
    assert materializations(home, "recipe_law")["recipe_law"] == 2
    assert len(set(result_files(home)) - before) == 4 + len(outcome.results)
    assert outcome.done[0] == "size_map"


def test_where_all_trials_diverge_the_grid_is_not_paid(tmp_path):
    path = write_tuned(tmp_path, start=1e4)
    text = path.read_text().replace("torch.nn.functional:cross_entropy", "played_trials:fragile")
    path.write_text(text)
    with pytest.raises(RunFailed, match="recipe_law: the recipe could not be tuned, so nothing else is trained: all"):
        run(path, tmp_path)
    made = materializations(tmp_path, "recipe_law")
    assert (made["recipe_law"], made["sweep_plan"]) == (0, 0)
    assert made["training_run"] == made["experiment"] == 4


def test_interrupted_after_a_round_it_goes_on_with_the_next(story, tmp_path):
    path = write_tuned(tmp_path, budgets=BUDGETS)
    runs = AssetRuns.of(path, tmp_path)
    with open_instance(tmp_path, 1) as instance:
        for stage in ("size_map", "recipe_law"):
            runs.materialize(instance, stage)
        first, *_ = kept_tuning(runs.source.store, runs.source.study)[1]
        runs.materialize(instance, "training_run", first.experiments[0].experiment_id)
    run(path, tmp_path)
    assert TunedRecipe.load(tmp_path / "tiny" / "recipe_law.json").content_hash == story["first"]["rule"].content_hash
    assert materializations(tmp_path, "recipe_law") == story["first"]["made"]


def keys_of(path, home):
    graph = build_study_definitions(path, home=home).resolve_asset_graph()
    return graph, {key.to_user_string() for key in graph.get_all_asset_keys()}


def test_only_a_study_that_tunes_has_the_asset(tmp_path):
    _, plain = keys_of(write_study(tmp_path), tmp_path)
    graph, tuned = keys_of(write_tuned(tmp_path), tmp_path)
    assert tuned - plain == {"recipe_law", "study/trials"}
    assert dg.AssetKey("recipe_law") in graph.get(dg.AssetKey("sweep_plan")).parent_keys
