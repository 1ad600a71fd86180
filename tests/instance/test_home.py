"""`dagster.yaml` in the home is the user's: what it says of storage holds for headless runs and for the pages."""

import dagster as dg
import pytest
from dagster._core.instance.config import dagster_instance_config
from pipeline_study import DAGSTER_WARNINGS
from ray_cluster import in_place, sections_in_docs

from flops_fit_assets.instance.home import instance_directory, open_instance
from flops_fit_assets.warm_runs.launcher import WarmRunLauncher

pytestmark = DAGSTER_WARNINGS


def test_storage_in_dagster_yaml_holds_for_headless_runs_too(tmp_path):
    config = instance_directory(tmp_path, 2) / "dagster.yaml"
    config.write_text(config.read_text() + f"storage: {{sqlite: {{base_dir: {tmp_path / 'elsewhere'}}}}}\n")
    with open_instance(tmp_path, 2) as headless:
        headless.report_runless_asset_event(dg.AssetMaterialization("thing"))
    assert (tmp_path / "elsewhere").is_dir()
    assert not (tmp_path / "dagster" / "history").exists()
    with dg.DagsterInstance.from_config(str(config.parent)) as pages:
        assert len(pages.fetch_materializations(dg.AssetKey("thing"), limit=5).records) == 1


def test_a_launcher_in_dagster_yaml_does_not_concern_headless_runs(tmp_path):
    config = instance_directory(tmp_path, 2) / "dagster.yaml"
    config.write_text(config.read_text() + "run_launcher: {module: not_installed_here, class: Launcher}\n")

    @dg.asset
    def thing():
        return dg.MaterializeResult()

    with open_instance(tmp_path, 2) as headless:
        assert dg.materialize([thing], instance=headless).success


def test_what_an_earlier_version_wrote_gets_the_launcher_and_what_was_edited_is_left(tmp_path):
    config = instance_directory(tmp_path, 3) / "dagster.yaml"
    now = config.read_text()
    launcher = now[now.index("run_launcher:") : now.index("run_coordinator:")]
    earlier = now.replace(launcher, "")
    config.write_text(earlier)
    instance_directory(tmp_path, 5)
    assert config.read_text() == now
    for edited in (earlier + "retention: {}\n", earlier.replace("max_retries: 2", "max_retries: 1"), ""):
        config.write_text(edited)
        instance_directory(tmp_path, 3)
        assert config.read_text() == edited


def test_the_pages_have_the_launcher_that_forks_and_a_home_may_do_without(tmp_path):
    directory = instance_directory(tmp_path, 2)
    with dg.DagsterInstance.from_config(str(directory)) as pages:
        assert isinstance(pages.run_launcher, WarmRunLauncher)
    config = directory / "dagster.yaml"
    without = "run_launcher:\n  module: dagster\n  class: DefaultRunLauncher\n"
    config.write_text(in_place(config.read_text(), without))
    with dg.DagsterInstance.from_config(str(instance_directory(tmp_path, 2))) as pages:
        assert type(pages.run_launcher) is dg.DefaultRunLauncher


@pytest.mark.parametrize("name", ["RayRunLauncher", "K8sRunLauncher"])
def test_the_launcher_of_a_cluster_takes_the_place_of_the_one_that_forks_and_keeps_it(tmp_path, name):
    section, *_ = [text for text in sections_in_docs() if f"class: {name}" in text]
    config = instance_directory(tmp_path, 2) / "dagster.yaml"
    config.write_text(in_place(config.read_text(), section))
    accepted, _ = dagster_instance_config(str(instance_directory(tmp_path, 2)))
    assert accepted["run_launcher"]["class"] == name
    assert "WarmRunLauncher" not in config.read_text()


def test_a_run_whose_process_died_is_started_again_and_one_that_failed_is_not(tmp_path):
    with dg.DagsterInstance.from_config(str(instance_directory(tmp_path, 2))) as pages:
        assert (pages.run_retries_enabled, pages.run_retries_max_retries) == (True, 2)
        assert not pages.run_retries_retry_on_asset_or_op_failure


@pytest.mark.parametrize("section", sections_in_docs(), ids=lambda text: text.split(":")[0])
def test_dagster_accepts_the_sections_in_the_docs(tmp_path, section, monkeypatch):
    for name in ("USER", "PASSWORD", "HOST"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "somewhere")
    (tmp_path / "dagster.yaml").write_text(section)
    accepted, _ = dagster_instance_config(str(tmp_path))
    assert accepted[section.split(":")[0]]
    (tmp_path / "dagster.yaml").write_text(section.replace("  ", "  x", 1))
    with pytest.raises(dg.DagsterInvalidConfigError):
        dagster_instance_config(str(tmp_path))
