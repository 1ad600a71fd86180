"""What the automation sensor would start after each event, by Dagster's own evaluation of the conditions."""

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_adaptive, write_study, write_tuned

from flops_fit.errors import StudyError
from flops_fit.stages import study_grid
from flops_fit.study.study import Study
from flops_fit_assets.automation.watch import watch_sensor
from flops_fit_assets.compared import ComparedStudies
from flops_fit_assets.definitions import build_study_definitions, definitions_of
from flops_fit_assets.freshness import versions
from flops_fit_assets.freshness.fingerprints import fingerprints
from flops_fit_assets.freshness.history import latest_version
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG
from flops_fit_assets.graph.progress import new_progress
from flops_fit_assets.graph.rounds_sensor import rounds_sensor
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


class Automation:
    """A study whose automation is on: `tick` says what it starts, `do` lets that happen."""

    def __init__(self, folder, instance):
        self.folder, self.instance, self.cursor = folder, instance, None
        self.edit()

    def edit(self, **changes):
        """Write the study file and observe its parts, as the watching sensor does."""
        self.runs = AssetRuns.of(write_study(self.folder, sizes=3, **changes), self.folder)
        self.definitions = definitions_of(self.runs.source)
        for part, version in fingerprints(self.runs.source.study).items():
            observation = dg.AssetObservation(["study", part], tags={DATA_VERSION_TAG: version})
            self.instance.report_runless_asset_event(observation)

    def tick(self):
        """Asset → how many runs of it are started now."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        self.requested = {}
        for item in result.results:
            subset = item.true_subset
            if not subset.is_empty:
                keys = subset.expensively_compute_asset_partitions()
                self.requested[item.key.to_user_string()] = sorted(key.partition_key or "" for key in keys)
        return {name: len(keys) for name, keys in self.requested.items()}

    def do(self, fail=()):
        """What was requested happens."""
        for name in ("size_map", "recipe_law", "sweep_plan", "training_run", "scaling_law"):
            for partition in self.requested.get(name, []):
                if partition not in fail:
                    self.runs.materialize(self.instance, name, partition or None)

    def settle(self, most=8):
        """What is started, one entry for each tick that starts something: two quiet ticks end it, or `most` of them."""
        story, idle = [], 0
        while idle < (2 if story else most) and len(story) < most:
            if started := self.tick():
                story.append(started)
                self.do()
            idle = 0 if started else idle + 1
        return story


@pytest.fixture(scope="module")
def automation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("automation")
    with open_instance(folder, 2) as instance:
        yield Automation(folder, instance)


def test_from_nothing_each_stage_once_and_the_law_when_the_plan_is_settled(automation):
    story = automation.settle()
    assert [name for step in story for name in step] == ["size_map", "sweep_plan", "training_run", "scaling_law"]
    assert sum(step.get("training_run", 0) for step in story) == 6


def test_nothing_changed_starts_nothing(automation):
    automation.edit()
    assert automation.settle() == []


def test_an_added_budget_starts_the_plan_its_experiments_and_the_law(automation):
    automation.edit(budgets=(3e5, 6e5, 1.2e6))
    assert automation.settle() == [{"sweep_plan": 1}, {"training_run": 3}, {"scaling_law": 1}]
    assert all(key.startswith("c1.2e+06-") for key in automation.requested.get("training_run", []))


def test_a_removed_budget_starts_no_training_and_neither_does_its_return_or_a_target_budget(automation):
    automation.edit(budgets=(3e5, 6e5))
    assert automation.settle() == [{"sweep_plan": 1}, {"scaling_law": 1}]
    automation.edit(budgets=(3e5, 6e5, 1.2e6), targets=(1e9,))
    assert automation.settle() == [{"sweep_plan": 1}, {"scaling_law": 1}]


def test_a_plan_made_again_by_hand_wakes_nothing(automation):
    automation.runs.materialize(automation.instance, "sweep_plan")
    assert automation.settle() == []


def test_how_far_it_is_is_said_once_and_wakes_nothing(automation):
    source, instance = automation.runs.source, automation.instance
    before = [latest_version(instance, source.key(name)) for name in ("sweep_plan", "scaling_law")]
    event, said = new_progress(source, instance)
    instance.report_runless_asset_event(event)
    assert said == "9 of 9 trained, nothing left to train"
    assert new_progress(source, instance) is None
    assert automation.settle() == []
    assert [latest_version(instance, source.key(name)) for name in ("sweep_plan", "scaling_law")] == before


def test_a_law_that_was_fitted_another_way_is_fitted_anew_once_and_nothing_else_is_made(automation, monkeypatch):
    """The last that takes `automation`: its definitions keep the later way."""
    monkeypatch.setattr(versions, "FIT_VERSION", "a later one")
    automation.edit(budgets=(3e5, 6e5, 1.2e6), targets=(1e9,))
    assert automation.settle() == [{"scaling_law": 1}]
    assert automation.settle() == []


def test_two_studies_in_one_place_do_not_wake_each_other(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = write_study(tmp_path / "one"), write_study(tmp_path / "two")
    second.write_text(second.read_text().replace('name = "tiny"', 'name = "other"'))
    both = dg.Definitions.merge(
        build_study_definitions(first, key_prefix="one", home=tmp_path),
        build_study_definitions(second, key_prefix="two", home=tmp_path),
    )
    dg.Definitions.validate_loadable(both)
    graph = both.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert all(parent.path[0] == key.path[0] for parent in graph.get(key).parent_keys)
    sets = {graph.get(dg.AssetKey([prefix, "training_run"])).partitions_def.name for prefix in ("one", "two")}
    assert sets == {"tiny_experiments", "other_experiments"}


class InRounds(Automation):
    """An adaptive study, whose rounds are watched too."""

    def edit(self, **changes):
        self.runs = AssetRuns.of(write_adaptive(self.folder, **changes), self.folder)
        self.definitions = definitions_of(self.runs.source)
        for part, version in fingerprints(self.runs.source.study).items():
            observation = dg.AssetObservation(["study", part], tags={DATA_VERSION_TAG: version})
            self.instance.report_runless_asset_event(observation)

    def tick(self):
        watched = rounds_sensor(self.runs.source)(dg.build_sensor_context(instance=self.instance))
        for event in getattr(watched, "asset_events", None) or []:
            self.instance.report_runless_asset_event(event)
        return super().tick()


@pytest.mark.slow
def test_an_adaptive_study_goes_from_round_to_round_by_itself_and_stops(tmp_path):
    with open_instance(tmp_path, 2) as instance:
        automation = InRounds(tmp_path, instance)
        story = automation.settle(most=20)
        first = story.index({"scaling_law": 1})
        assert [name for step in story[: first + 1] for name in step] == [
            "size_map", "sweep_plan", "training_run", "scaling_law",
        ]  # fmt: skip
        later = [name for step in story[first + 1 :] for name in step]
        rounds = len(list((tmp_path / "tiny" / "rounds").glob("*/round_*.json")))
        assert rounds >= 2
        assert later == ["sweep_plan", "training_run", "scaling_law"] * (rounds - 1) + ["sweep_plan"]
        trained = sum(step.get("training_run", 0) for step in story)
        assert trained == len(list((tmp_path / "tiny" / "runs").glob("*/result.json")))
        automation.edit(total=1.45e6, within=1.5)
        assert [name for step in automation.settle() for name in step] == ["sweep_plan"], (
            "another wish, nothing to train"
        )


class Tuned(InRounds):
    """A study that tunes its learning rate, whose trials are watched too."""

    def edit(self, **changes):
        self.runs = AssetRuns.of(write_tuned(self.folder, sizes=3, **changes), self.folder)
        self.definitions = definitions_of(self.runs.source)
        for part, version in fingerprints(self.runs.source.study).items():
            observation = dg.AssetObservation(["study", part], tags={DATA_VERSION_TAG: version})
            self.instance.report_runless_asset_event(observation)


@pytest.mark.slow
def test_a_tuned_study_goes_from_trials_to_the_rule_to_the_grid_by_itself(tmp_path):
    with open_instance(tmp_path, 2) as instance:
        automation = Tuned(tmp_path, instance)
        story = automation.settle(most=20)
        assert [name for step in story for name in step] == [
            "size_map", "recipe_law", "training_run", "recipe_law", "training_run", "recipe_law", "sweep_plan",
            "training_run", "scaling_law",
        ]  # fmt: skip
        assert [step["training_run"] for step in story if "training_run" in step] == [3, 1, 6]
        automation.edit(budgets=(3e5, 6e5, 1.2e6))
        later = automation.settle()
        trained = [step["training_run"] for step in later if "training_run" in step]
        assert trained == [5], "three of the grid, two checks of its rate, no trial"
        assert "size_map" not in {name for step in later for name in step}


def watching(source, instance, cursor=None):
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    return watch_sensor([source], source.study.name)(context)


COUNTED = """\
name = "tiny"

[model]
num_params = [1e5, 1e9]

[sweep]
compute_budgets = {budgets}

[trainer]
command = "train {{num_params}} {{num_tokens}} {{result_path}}"
"""


def test_the_watch_observes_a_change_and_only_once(tmp_path):
    """Of a study without torch, which each of the processes that read it anew would load."""
    study = tmp_path / "study.toml"
    study.write_text(COUNTED.format(budgets=["1e14", "1e15"]))
    runs = AssetRuns.of(study, tmp_path)
    with open_instance(tmp_path, 2) as instance:
        first = watching(runs.source, instance)
        assert [event.asset_key.path[-1] for event in first.asset_events] == ["model", "sweep"]
        assert isinstance(watching(runs.source, instance, first.cursor), dg.SkipReason)
        for event in first.asset_events:
            instance.report_runless_asset_event(event)
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        study.write_text("# a comment\n" + study.read_text())
        commented = watching(runs.source, instance, first.cursor)
        assert not commented.asset_events
        assert "nothing in what they mean" in commented.skip_reason.skip_message
        study.write_text(COUNTED.format(budgets=["1e14", "1e15", "1e16"]))
        changed = watching(runs.source, instance, commented.cursor)
        assert [event.asset_key.path[-1] for event in changed.asset_events] == ["sweep"]
        kept = len(runs.source.store.read("sweep_plan").experiments)
        planned = study_grid(Study.from_toml(study), runs.source.store.read("size_map"))
        said = f"compute_budgets + 1e16: {len(planned.experiments) - kept} added, {kept} kept"
        assert changed.skip_reason.skip_message == said
        assert changed.asset_events[0].metadata["changed"].value == said
        study.write_text(COUNTED.format(budgets=["1e14", "1e3"]))
        with pytest.raises(StudyError, match=r"1\.00e\+03 FLOPs admits no size.*the earlier plan stays in force"):
            watching(runs.source, instance, changed.cursor)


def test_one_watch_looks_after_all_values_and_names_new_ones(tmp_path):
    study = tmp_path / "study.toml"
    vary = '\n[sweep.vary]\n"trainer.command" = {}\nlabels = {}\n'
    counted = COUNTED.format(budgets=["1e14"]).replace("command = ", "version = '1'\n#")
    commands = {name: f"{name} {{num_params}} {{num_tokens}} {{result_path}}" for name in ("a", "b", "c")}

    def write(*names):
        study.write_text(counted + vary.format([commands[name] for name in names], [*names]))

    write("a", "b")
    compared = ComparedStudies.in_file(study, home=tmp_path)
    sensor = watch_sensor(list(compared.sources.values()), compared.name, varied_file=study)
    assert sensor.name == "watch_tiny"
    with open_instance(tmp_path, 2) as instance:
        first = sensor(dg.build_sensor_context(instance=instance))
        parts = [source.prefix[0] for source in compared.sources.values()]
        assert [event.asset_key.path for event in first.asset_events] == [
            [part, "study", which] for part in parts for which in ("model", "sweep")
        ]
        for event in first.asset_events:
            instance.report_runless_asset_event(event)
        write("b", "c")
        changed = sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
    assert not changed.asset_events, "a is kept as it is, b is the same"
    assert changed.skip_reason.skip_message.endswith("has new values: c; reload the code location to see them")


def test_a_half_written_study_fails_the_watch_with_its_reason(tmp_path):
    runs = AssetRuns.of(write_study(tmp_path), tmp_path)
    runs.source.origin.write_text('name = "ti')
    with open_instance(tmp_path, 2) as instance, pytest.raises(StudyError, match="the earlier plan stays in force"):
        watching(runs.source, instance)
