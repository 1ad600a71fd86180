"""A study declared in YAML is the same as one built in Python."""

import importlib.metadata
import tomllib

import dagster as dg
import pytest
import yaml
from dagster.components.testing.utils import create_defs_folder_sandbox
from paths import ROOT
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.component import StudyComponent
from flops_fit_assets.definitions import build_study_definitions

pytestmark = [
    *DAGSTER_WARNINGS,
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),  # Dagster's own use, in reading YAML
    pytest.mark.filterwarnings("ignore:.*is currently in beta"),
]
TYPE = "flops_fit_assets.component.StudyComponent"


@pytest.fixture
def project():
    """An empty `dg` project, with Dagster's own loading."""
    with create_defs_folder_sandbox() as sandbox:
        yield sandbox


def declare(project, folder, name="tiny", **attributes):
    """`defs.yaml` and `study.toml` in a folder of the project, as a person writes them."""
    place = project.defs_folder_path / folder
    place.mkdir(parents=True)
    study = write_study(place)
    study.write_text(study.read_text().replace('name = "tiny"', f'name = "{name}"'))
    content = {"type": TYPE, "attributes": {"study": "study.toml"} | attributes}
    (place / "defs.yaml").write_text(yaml.safe_dump(content))
    return study


def names(definitions):
    """Everything that Dagster's pages would list."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {key.to_user_string() for key in graph.get_all_asset_keys()},
        "checks": {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys},
        "sensors": {sensor.name for sensor in repository.sensor_defs},
        "schedules": {schedule.name for schedule in repository.schedule_defs},
        "jobs": {job.name for job in repository.get_all_jobs()},
    }


def test_yaml_gives_what_python_gives(project):
    study = declare(project, "gpt", key_prefix="gpt", home="data")
    with project.build_all_defs() as declared:
        found = names(declared)
        built = names(build_study_definitions(study, key_prefix="gpt", home=study.parent / "data"))
    assert found == built
    assert {"gpt/size_map", "gpt/sweep_plan", "gpt/training_run", "gpt/scaling_law"} <= found["assets"]
    assert found["sensors"] == {"automation_tiny", "watch_tiny", "retries_tiny", "progress_tiny"}
    assert found["schedules"] == {"replan_tiny_schedule"}


def test_what_it_declares_can_be_run_and_its_paths_are_the_folders_own(project):
    study = declare(project, "gpt", home="data", storage="shared")
    with project.build_all_defs() as declared, dg.DagsterInstance.ephemeral() as instance:
        job = declared.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("size_map")])
    assert result.success
    for place in ("data", "shared"):
        assert (study.parent / place / "tiny" / "size_map.json").stat().st_size > 100


def test_two_components_do_not_disturb_each_other(project):
    declare(project, "gpt", "gpt", key_prefix=["lm", "gpt"])
    declare(project, "mamba", "mamba", key_prefix=["lm", "mamba"])
    with project.build_all_defs() as declared:
        found = names(declared)
        owned = {
            key.to_user_string(): definition.required_resource_keys
            for definition in declared.resolve_asset_graph().assets_defs
            for key in definition.keys
        }
    assert found["sensors"] == {
        f"{sensor}_{name}" for sensor in ("automation", "watch", "retries", "progress") for name in ("gpt", "mamba")
    }
    assert found["schedules"] == {"replan_gpt_schedule", "replan_mamba_schedule"}
    of = {study: {name for name in found["assets"] if name.startswith(f"lm/{study}/")} for study in ("gpt", "mamba")}
    assert {name.replace("gpt", "mamba") for name in of["gpt"]} == of["mamba"]
    assert "gpt_files" in owned["lm/gpt/size_map"]
    assert "mamba_files" in owned["lm/mamba/size_map"]


def test_a_component_compares_the_studies_of_others(project):
    declare(project, "gpt", "gpt", key_prefix=["lm", "gpt"], home="../data")
    declare(project, "mamba", "mamba", key_prefix=["lm", "mamba"], home="../data")
    place = project.defs_folder_path / "both"
    place.mkdir()
    studies = {f"lm/{name}": f"../{name}/study.toml" for name in ("gpt", "mamba")}
    content = {
        "type": "flops_fit_assets.component.LawComparisonComponent",
        "attributes": {"studies": studies, "at": ["1e21", 1e22], "home": "../data", "name": "both"},
    }
    (place / "defs.yaml").write_text(yaml.safe_dump(content))
    with project.build_all_defs() as declared:
        found = names(declared)
        node = declared.resolve_asset_graph().get(dg.AssetKey("law_comparison"))
    assert {parent.to_user_string() for parent in node.parent_keys} == {"lm/gpt/scaling_law", "lm/mamba/scaling_law"}
    assert "automation_both" in found["sensors"]


def loaded(project):
    with project.build_all_defs() as declared:
        return declared


def messages(error):
    """The message of an error and of all that it came from."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"study": "studdy.toml"}, "study 'studdy.toml' of the component in "),
        ({"budgets": [1e9]}, "Extra inputs are not permitted"),
        ({"study": 3}, "Input should be a valid string"),
        ({"storage": "nowhere://x"}, "Protocol not known: nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_readably(project, attributes, message):
    declare(project, "gpt", **attributes)
    with pytest.raises(Exception) as raised:
        loaded(project)
    assert any(message in text for text in messages(raised.value)), list(messages(raised.value))


def test_what_is_scaffolded_names_a_study_beside_it(project):
    place = project.scaffold_component(component_cls=StudyComponent, defs_path="gpt")
    content = yaml.safe_load((place / "defs.yaml").read_text())
    assert content == {"type": TYPE, "attributes": {"study": "study.toml"}}


def test_dg_finds_it():
    """The entry point that is declared, and that what it names has the component."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    (module,) = declared["dagster_dg_cli.registry_modules"].values()
    entry = importlib.metadata.EntryPoint("flops_fit_assets", module, "dagster_dg_cli.registry_modules")
    assert f"{module}.StudyComponent" == TYPE
    assert entry.load().StudyComponent is StudyComponent
