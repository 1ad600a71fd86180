"""A study whose files are on an S3 server: other machines go on with it, damage and outages are said and mended."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import fsspec
import pytest
from pipeline_study import DAGSTER_WARNINGS, run, write_study
from s3_server import BUCKET, s3_server

from flops_fit import ExperimentResult
from flops_fit_assets.headless.dagster_runs import _LISTENER as LISTENER
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed, train_partition
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.storage.remote import STORAGE_VARIABLE, StorageError

for package in ("s3fs", "moto"):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; pip install 'flops-fit[cluster-tests]'", allow_module_level=True)

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.cluster]
STUDY = {"budgets": (3e5, 6e5), "sizes": 3}


@pytest.fixture(scope="module")
def server():
    with s3_server() as started:
        yield started


@pytest.fixture(scope="module")
def first_run(server, tmp_path_factory):
    """A home whose study ran with its files in the bucket, and what came of it."""
    home = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        _reach(server, patch)
        return home, run(write_study(home, **STUDY), home)


@pytest.fixture
def home(server, first_run, monkeypatch):
    """The home of `first_run` without its working copy: what a machine has that has done nothing yet."""
    _reach(server, monkeypatch)
    shutil.rmtree(first_run[0] / "tiny", ignore_errors=True)
    write_study(first_run[0], **STUDY)
    return first_run[0]


def _reach(server, patch):
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # which would know another server
    for name, value in (server.environment | {STORAGE_VARIABLE: f"s3://{BUCKET}/studies"}).items():
        patch.setenv(name, value)


def trained(outcome):
    """The experiments among what a run did."""
    return [name for name in outcome.done if name in outcome.results]


def evidence(files):
    """Of files by name those that do not say how long things take on this machine."""
    return {name: content for name, content in files.items() if name.endswith((".json", ".csv", ".jsonl"))}


def test_all_of_a_study_is_in_the_bucket_and_another_machine_goes_on_with_it(server, first_run, home):
    stored = server.contents("studies/tiny")
    assert {"size_map.json", "sweep_plan.json", "scaling_law.json", "report.html", "runs.csv"} <= stored.keys()
    assert sum(name.endswith("/result.json") for name in stored) == len(trained(first_run[1])) == 6
    assert not [name for name in stored if name.rpartition("/")[2].startswith(".")], "no lock, no record, no probe"
    again = run(home / "study.toml", home)
    assert not again.done
    assert again.law.to_dict() == first_run[1].law.to_dict()
    assert evidence(server.contents("studies/tiny")) == evidence(stored)


def test_edits_train_what_is_new_and_nothing_else(home):
    more = run(write_study(home, **STUDY | {"budgets": (3e5, 6e5, 1.2e6)}), home)
    assert len(trained(more)) == 3
    shutil.rmtree(home / "tiny")
    less = run(write_study(home, **STUDY), home)
    assert not trained(less)
    assert set(less.results) < set(more.results)
    path = write_study(home, **STUDY)
    path.write_text(path.read_text().replace("learning_rate = 0.02", "learning_rate = 0.03"))
    other = run(path, home)
    assert len(trained(other)) == 6
    assert not set(other.results) & set(more.results)


def test_objects_removed_and_damaged_are_made_again_to_the_same_loss(server, first_run, home):
    removed, torn, changed = sorted(first_run[1].results)[:3]
    place = {name: f"{BUCKET}/studies/tiny/runs/{name}/result.json" for name in (removed, torn, changed)}
    whole = {name: json.loads(server.files.cat_file(path)) for name, path in place.items()}
    server.files.rm_file(place[removed])
    server.files.pipe_file(place[torn], server.files.cat_file(place[torn])[:40])
    server.files.pipe_file(place[changed], json.dumps(whole[changed] | {"loss": 0.1}).encode())
    again = run(home / "study.toml", home)
    assert sorted(trained(again)) == sorted(place)
    for name, path in place.items():
        made = json.loads(server.files.cat_file(path))
        assert (made["loss"], made["weights_sha256"]) == (whole[name]["loss"], whole[name]["weights_sha256"])
    kept = [name for name in server.contents("studies/tiny/runs") if "unusable" in name]
    assert sorted(name.split("/")[0] for name in kept) == sorted([torn, changed])


def test_a_server_that_is_away_or_comes_back_empty_is_said_and_loses_no_result(tmp_path, monkeypatch):
    with s3_server() as server:
        _reach(server, monkeypatch)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        runs = AssetRuns.of(write_study(tmp_path, **STUDY), tmp_path, f"s3://{BUCKET}/mine")
        with open_instance(tmp_path, 2) as instance:
            runs.materialize(instance, "size_map")
            runs.materialize(instance, "sweep_plan")
            name = runs.source.store.read("sweep_plan").experiments[0].experiment_id
            before = server.contents("mine/tiny")

            def away(event):
                if server.runs:
                    server.stop()

            said = r"s3://bucket/mine/tiny could not be (listed|written) \(EndpointConnectionError: .*; see that it"
            with pytest.raises(RunFailed, match=said):
                _train(runs, instance, name, away)
            with pytest.raises(StorageError, match="could not be written, read and cleaned"):
                run(tmp_path / "study.toml", tmp_path)
            kept = ExperimentResult.load(runs.source.store.path("training_run", name))
            server.start()  # with nothing in its bucket
            for _ in range(2):
                with pytest.raises(StorageError, match=r"holds nothing, although .* is a copy of what it held"):
                    train_partition(name, lambda event: None, runs)
            assert not server.contents("mine/tiny"), "nor is it filled with what happens to be here"
            for path, content in before.items():
                server.files.pipe_file(f"{BUCKET}/mine/tiny/{path}", content)
        events = []
        assert train_partition(name, events.append, runs) == kept
        assert not events, "nothing was trained"
        assert f"runs/{name}/result.json" in server.contents("mine/tiny")
    LISTENER.target = None


def _train(runs, instance, name, on_event):
    LISTENER.target = on_event
    runs.materialize(instance, "training_run", name)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://another/x", "could not be written, read and cleaned .*bucket does not exist"),
        ("s3://", "could not be written, read and cleaned"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused_before_anything_is_spent(server, tmp_path, monkeypatch, url, message):
    _reach(server, monkeypatch)
    monkeypatch.setenv(STORAGE_VARIABLE, url)
    with pytest.raises(StorageError, match=message):
        run(write_study(tmp_path), tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_definitions_of_a_study_on_s3_begin_no_thread(tmp_path, server, monkeypatch):
    """A process with threads has no forks, so every run of the pages would load all anew."""
    _reach(server, monkeypatch)
    monkeypatch.setenv("FLOPS_FIT_STUDY", str(write_study(tmp_path)))
    code = "import threading, flops_fit_assets.definitions as d; d.defs; print(threading.active_count())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["1"]
