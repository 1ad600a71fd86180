"""Through Dagster, only what a change affects is done again."""

import hashlib
import json
import shutil

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from pickles import pickles_in
from pipeline_study import DAGSTER_WARNINGS, FINISHED, budget_of, materializations, result_files, run, write_study

from flops_fit_assets.definitions import definitions_of
from flops_fit_assets.freshness import versions
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.instance.locks import AlreadyRunning, study_lock
from flops_fit_assets.storage.store import StudyStore

pytestmark = DAGSTER_WARNINGS


@pytest.fixture(scope="module")
def story(finished, tmp_path_factory):
    """A study run, run again, given a budget, robbed of it, given it back; with what each step did."""
    home = shutil.copytree(finished, tmp_path_factory.mktemp("home"), dirs_exist_ok=True)
    first = json.loads((home / "first_run.json").read_text())
    steps = {"first": first | {"made": materializations(home), "files": result_files(home)}}
    for name, budgets in {
        "unchanged": (3e5, 6e5),
        "budget added": (3e5, 6e5, 1.2e6),
        "budget removed": (3e5, 6e5),
        "budget back": (3e5, 6e5, 1.2e6),
    }.items():
        outcome = run(write_study(home, budgets, **FINISHED), home)
        steps[name] = {
            "outcome": outcome,
            "made": materializations(home),
            "files": result_files(home),
            "law_budgets": sorted({float(value) for value in outcome.law.runs.budget}),
        }
    return {"home": home, **steps}


def made_between(story, before, after):
    return {name: count - story[before]["made"][name] for name, count in story[after]["made"].items()}


def test_a_first_run_makes_everything_once(story):
    trainings = len(story["first"]["files"])
    assert trainings == 8
    assert story["first"]["made"] == {
        "size_map": 1,
        "sweep_plan": 1,
        "experiment": trainings,
        "training_run": trainings,
        "scaling_law": 1,
    }
    assert set(story["first"]["statuses"].values()) == {"completed"}


def test_an_unchanged_study_makes_nothing(story):
    assert set(made_between(story, "first", "unchanged").values()) == {0}
    assert story["unchanged"]["files"] == story["first"]["files"]
    assert not story["unchanged"]["outcome"].done


def test_an_added_budget_trains_only_its_experiments(story):
    made = made_between(story, "unchanged", "budget added")
    assert made == {"size_map": 0, "sweep_plan": 1, "experiment": 4, "training_run": 4, "scaling_law": 1}
    before, after = story["unchanged"]["files"], story["budget added"]["files"]
    assert {name: after[name] for name in before} == before
    assert {budget_of(name) for name in after.keys() - before.keys()} == {1.2e6}
    assert story["budget added"]["law_budgets"] == [3e5, 6e5, 1.2e6]


def test_a_removed_budget_trains_nothing_and_leaves_the_law(story):
    made = made_between(story, "budget added", "budget removed")
    assert made == {"size_map": 0, "sweep_plan": 1, "experiment": 0, "training_run": 0, "scaling_law": 1}
    assert story["budget removed"]["law_budgets"] == [3e5, 6e5]
    assert story["budget removed"]["files"] == story["budget added"]["files"]


def test_a_budget_that_comes_back_trains_nothing(story):
    made = made_between(story, "budget removed", "budget back")
    assert made == {"size_map": 0, "sweep_plan": 1, "experiment": 0, "training_run": 0, "scaling_law": 1}
    assert story["budget back"]["outcome"].law.to_dict() == story["budget added"]["outcome"].law.to_dict()


def test_the_partitions_are_the_plan(story):
    with open_instance(story["home"], 2) as instance:
        keys = instance.get_dynamic_partitions("tiny_experiments")
    assert set(keys) == {item.experiment_id for item in story["budget back"]["outcome"].plan.experiments}


def test_every_asset_shows_its_numbers(story):
    expected = {
        "size_map": {"size table", "smallest", "largest", "skipped sizes"},
        "sweep_plan": {
            "when planned",
            "now",
            "changed",
            "plan table",
            "budgets",
            "planned FLOPs",
            "FLOPs still to spend",
            "cost still to spend",
        },
        "experiment": {"planned FLOPs", "parameters", "tokens"},
        "training_run": {"held-out loss", "FLOPs", "seconds", "cost", "utilisation (share of peak)", "curve and log"},
        "study/progress": {"trained", "time left", "left", "spent", "verdict", "last change", "budgets", "report"},
        "scaling_law": {"verdict", "predictions", "IsoFLOP curves", "compute-optimal frontier", "report"},
    }
    with open_instance(story["home"], 2) as instance:
        for name, labels in expected.items():
            event = instance.get_latest_materialization_event(dg.AssetKey(name.split("/")))
            assert labels <= event.asset_materialization.metadata.keys(), name
            if name != "study/progress":
                assert len(event.asset_materialization.tags["dagster/data_version"]) == 64


def test_figures_and_report_are_linked_and_there(story):
    with open_instance(story["home"], 2) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("scaling_law"))
    metadata = event.asset_materialization.metadata
    figure = (story["home"] / "tiny" / "plots" / "isoflop.png").read_bytes()
    address = f"/flops_fit/tiny/plots/isoflop.png?sha256={hashlib.sha256(figure).hexdigest()[:16]}"
    assert metadata["IsoFLOP curves"].value == f"[![IsoFLOP curves]({address}&width=430)]({address})"
    assert "![IsoFLOP curves](data:image/" in metadata["figures of this fit"].value
    assert metadata["report"].value == "/flops_fit/tiny/report.html"
    for file in ("report.html", "runs.csv", "plots/isoflop.png", "plots/frontier.png", "scaling_law.json"):
        assert (story["home"] / "tiny" / file).stat().st_size > 500


def test_nothing_on_disk_is_a_pickle(story):
    assert pickles_in(story["home"]) == []


def test_a_result_changed_by_hand_is_trained_again(story):
    home = story["home"]
    name, (_, true_text) = sorted(story["budget back"]["files"].items())[0]
    path = StudyStore(directory=home / "tiny").path("training_run", name)
    content = json.loads(true_text)
    path.write_text(json.dumps(content | {"loss": content["loss"] / 2}))
    outcome = run(home / "study.toml", home)
    assert outcome.done == [name]
    assert outcome.results[name].loss == content["loss"]
    kept = json.loads(path.with_name("result.json.unusable").read_text())
    assert kept["loss"] == content["loss"] / 2


def test_a_torn_plan_is_made_again(story):
    home = story["home"]
    path = home / "tiny" / "sweep_plan.json"
    true_text = path.read_text()
    path.write_text(true_text[:100])
    outcome = run(home / "study.toml", home)
    assert outcome.done == ["sweep_plan"]
    assert path.read_text() == true_text


def test_a_law_that_was_fitted_another_way_is_stale_in_the_pages_and_fitted_anew_by_a_run(finished_home, monkeypatch):
    path, before = write_study(finished_home, **FINISHED), materializations(finished_home)
    assert why_stale(path, finished_home) == {"size_map": [], "sweep_plan": [], "scaling_law": []}
    monkeypatch.setattr(versions, "FIT_VERSION", "a later one")
    assert why_stale(path, finished_home) == {
        "size_map": [], "sweep_plan": [], "scaling_law": ["has a new code version"]
    }  # fmt: skip
    assert run(path, finished_home).done == ["scaling_law"]
    made = {name: count - before[name] for name, count in materializations(finished_home).items()}
    assert made == {"size_map": 0, "sweep_plan": 0, "experiment": 0, "training_run": 0, "scaling_law": 1}
    assert not any(why_stale(path, finished_home).values())


def why_stale(path, home):
    """Of each stage that is no partition, what the pages say."""
    source = AssetRuns.of(path, home).source
    graph = definitions_of(source).resolve_asset_graph()
    with open_instance(home, 2) as instance:
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return {
            stage: [cause.reason for cause in resolver.get_stale_root_causes(source.key(stage))]
            for stage in ("size_map", "sweep_plan", "scaling_law")
        }


def test_two_runs_of_one_study_at_once_are_refused(story):
    with study_lock(story["home"] / "tiny"), pytest.raises(AlreadyRunning, match=r"process \d+ is running the study"):
        run(story["home"] / "study.toml", story["home"])


def test_a_training_launched_of_an_edited_study_is_refused_before_a_step(finished, tmp_path):
    home = shutil.copytree(finished, tmp_path / "home")
    path = write_study(home, (3e5, 6e5), **FINISHED)
    name = sorted(result_files(home))[0]
    shutil.rmtree(home / "tiny" / "runs" / name)
    path.write_text(path.read_text().replace("learning_rate = 0.02", "learning_rate = 0.03"))
    with open_instance(home, 1) as instance:
        launched = AssetRuns.of(path, home)
        said = "is not what its experiments were planned from: recipe or trainer changed since; plan again"
        with pytest.raises(RunFailed, match=said):
            launched.materialize(instance, "training_run", name)
    assert not list((home / "tiny" / "runs").glob(f"{name}/*.safetensors"))
    assert name not in result_files(home)
