"""`law_comparison` in Dagster: below the laws of one file's values, or of several studies in one code location."""

import dataclasses
import json

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit import fit_scaling_law
from flops_fit.errors import StudyError
from flops_fit.synthetic import REPLICATION, synthetic_runs
from flops_fit_assets.compared import ComparedStudies
from flops_fit_assets.definitions import build_comparison_definitions, build_study_definitions
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG, version_of
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.source import StudySource

pytestmark = DAGSTER_WARNINGS
VARY = '\n[sweep.vary]\n"model.kwargs.dropout" = [0.1, 0.2]\n'


def law(times, seed=0):
    """A law of a recipe that saves this much compute."""
    recipe = dataclasses.replace(REPLICATION, flops_per_param_per_token=6 / times)
    return fit_scaling_law(synthetic_runs(recipe, noise=0.002, seed=seed), bootstraps=50)


def keep(instance, source, made):
    """A law as if it had been fitted in the pipeline."""
    source.store.write("scaling_law", made)
    tags = {DATA_VERSION_TAG: version_of(made)}
    instance.report_runless_asset_event(dg.AssetMaterialization(source.key("scaling_law"), tags=tags))


@pytest.fixture
def varied(tmp_path):
    path = write_study(tmp_path, owners=("team:scaling",))
    path.write_text(path.read_text() + VARY)
    return path


def test_each_value_has_its_chain_and_one_comparison_stands_below(varied, tmp_path):
    definitions = build_study_definitions(varied, key_prefix="lm", home=tmp_path)
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    stages = {"size_map", "sweep_plan", "experiment", "training_run", "scaling_law", "study/model", "study/sweep"}
    stages |= {"study/progress"}
    values = ("dropout_0_1", "dropout_0_2")
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        *(f"lm/{value}/{stage}" for value in values for stage in stages), "lm/law_comparison"
    }  # fmt: skip
    node = graph.get(dg.AssetKey(["lm", "law_comparison"]))
    assert {key.to_user_string() for key in node.parent_keys} == {f"lm/{value}/scaling_law" for value in values}
    assert node.group_name == "tiny"
    assert node.owners == ["team:scaling"]
    assert graph.get(dg.AssetKey(["lm", "dropout_0_1", "size_map"])).group_name == "tiny_dropout_0_1"
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "watch_tiny", "automation_tiny", "retries_tiny_dropout_0_1", "retries_tiny_dropout_0_2",
        "progress_tiny_dropout_0_1", "progress_tiny_dropout_0_2",
    }  # fmt: skip
    one_value = build_study_definitions(f"{varied}@0.1", key_prefix="lm", home=tmp_path).get_repository_def()
    assert {key.path[1] for key in one_value.asset_graph.get_all_asset_keys()} == {"dropout_0_1"}


def test_it_is_made_of_the_laws_and_again_when_one_changes(varied, tmp_path):
    compared = ComparedStudies.in_file(varied, home=tmp_path)
    first, second = compared.sources.values()
    definitions = build_study_definitions(varied, home=tmp_path)
    key = dg.AssetKey("law_comparison")

    with open_instance(tmp_path, 1) as instance:

        def started():
            """Whether the sensor starts the comparison now."""
            nonlocal cursor
            result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
            cursor = result.cursor
            return result.get_num_requested(key) == 1

        cursor = None
        keep(instance, first, law(1.0))
        assert not started(), "a law is missing"
        keep(instance, second, law(1.2, seed=1))
        assert started()
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[key]).success
        assert not started()
        shown = instance.get_latest_materialization_event(key).asset_materialization.metadata
        keep(instance, second, law(1.2, seed=1))
        assert not started(), "the law is the same"
        keep(instance, second, law(0.8, seed=2))
        assert started()
        assert job.execute_in_process(instance=instance, asset_selection=[key]).success
        after = instance.get_latest_materialization_event(key).asset_materialization.metadata

    labels = list(shown)
    assert labels[0] == "answer"
    assert shown["answer"].value.startswith("**dropout 0.2 is the best at")
    assert after["answer"].value.startswith("**dropout 0.1 is the best at")
    assert "](data:image/" in shown["laws compared"].value
    (table,) = [shown[name].value for name in labels if name.startswith("at ")][:1]
    assert "| 0.1 |" in table
    assert " times (" in table
    content = json.loads(compared.file.read_text())
    assert content["axis"] == {"name": "dropout", "values": [0.1, 0.2]}
    assert {at["best"] for at in content["targets"]} == {"0.1"}
    assert "0.1 is the best" in compared.report.read_text()
    assert compared.figure.read_bytes().startswith(b"\x89PNG")


def test_studies_of_one_code_location_can_be_compared(tmp_path):
    paths = {}
    for name in ("gpt", "mamba"):
        (tmp_path / name).mkdir()
        paths[f"lm/{name}"] = write_study(tmp_path / name, name=name)
    of_studies = [
        build_study_definitions(path, key_prefix=prefix.split("/"), home=tmp_path) for prefix, path in paths.items()
    ]
    comparison = build_comparison_definitions(paths, key_prefix="lm", at=["1e21"], home=tmp_path)
    merged = dg.Definitions.merge(*of_studies, comparison)
    dg.Definitions.validate_loadable(merged)
    key = dg.AssetKey(["lm", "law_comparison"])
    node = merged.resolve_asset_graph().get(key)
    assert {parent.to_user_string() for parent in node.parent_keys} == {"lm/gpt/scaling_law", "lm/mamba/scaling_law"}
    with open_instance(tmp_path / "gpt", 1) as instance:
        for place, (prefix, path) in enumerate(paths.items()):
            keep(instance, StudySource.of(path, prefix.split("/"), tmp_path), law(1 + 0.3 * place, seed=place))
        job = merged.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, asset_selection=[key]).success
        shown = instance.get_latest_materialization_event(key).asset_materialization.metadata
    assert shown["answer"].value.startswith("**lm/mamba is the best at 1.00e+21 FLOPs with")
    assert (tmp_path / "comparison" / "law_comparison.html").is_file()
    assert "is for you to know" in shown["what to do, and notes"].value


def test_a_law_that_is_gone_fails_the_step_with_what_to_do(varied, tmp_path):
    definitions = build_study_definitions(varied, home=tmp_path)
    with open_instance(tmp_path, 1) as instance:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("law_comparison")], raise_on_error=False
        )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "does not exist; materialize dropout_0_1/scaling_law first" in str(
        failure.step_failure_data.user_failure_data
    )


@pytest.mark.parametrize(
    ("studies", "options", "message"),
    [
        (["gpt"], {}, "1 studies are to be compared; give two or more by name"),
        (["gpt", "gpt"], {}, "would belong to two of what is compared"),
        (["gpt", "mamba"], {"name": "gpt"}, "would belong to two of what is compared"),
        (["gpt", "mamba"], {"name": "a b"}, "name = 'a b' must be a letter followed by"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, studies, options, message):
    paths = {}
    for place, name in enumerate(studies):
        (tmp_path / f"{place}").mkdir()
        paths[f"{place}"] = write_study(tmp_path / f"{place}", name=name)
    with pytest.raises(StudyError, match=message):
        build_comparison_definitions(paths, home=tmp_path, **options)
