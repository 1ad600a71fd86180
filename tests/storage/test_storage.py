"""A study whose files are in a storage: another machine goes on with them, and what could not be stored is not lost."""

import importlib.util
import io
import json
import os
import shutil
import signal
import time
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, run, write_study
from rich.console import Console
from tasks import run_tasks

from flops_fit import ExperimentResult
from flops_fit.errors import FileError, StudyError
from flops_fit_assets.cli import main
from flops_fit_assets.headless.dagster_runs import _LISTENER as LISTENER
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed, train_partition
from flops_fit_assets.headless.study import run_study
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage import background_upload as uploading
from flops_fit_assets.storage.copies import Copy, decide
from flops_fit_assets.storage.remote import STORAGE_VARIABLE, Storage, StorageError, storage_url

pytestmark = DAGSTER_WARNINGS


class Watched(MemoryFileSystem):
    """fsspec's memory filesystem under a name of its own, which counts what it is asked and can be out of reach."""

    protocol = "watched"
    broken, asked = False, []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("watched://"))

    def put_file(self, *args, **options):
        if Watched.broken:
            raise OSError("no route to host")
        return super().put_file(*args, **options)

    def info(self, path, **options):
        Watched.asked.append("info")
        return super().info(path, **options)

    def find(self, path, **options):
        Watched.asked.append("find")
        return super().find(path, **options)


fsspec.register_implementation("watched", Watched)


@pytest.fixture(autouse=True)
def _nobody_listens():
    """What `train_partition` tells whom stays set in its process, which a worker never minds."""
    yield
    LISTENER.target = None


def watched(folder):
    """The runs of a study in `folder` whose storage is in this process."""
    Watched.broken = False
    return AssetRuns.of(write_study(folder), folder, f"watched://{folder.name}")


def plan_in(runs, instance):
    runs.materialize(instance, "size_map")
    runs.materialize(instance, "sweep_plan")
    return runs.source.store.read("sweep_plan").experiments


def stored_files(base):
    """Name → content of everything below a directory that is used as storage, hidden files too."""
    return {str(path.relative_to(base)): path.read_bytes() for path in Path(base).rglob("*") if path.is_file()}


def copied_files(home):
    """The same of a study's working copy, hidden files (locks and records) left out."""
    return {name: content for name, content in stored_files(home / "tiny").items() if "/." not in f"/{name}"}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """A study that ran with its storage in a directory that is given as a URL, and what came of it."""
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STORAGE_VARIABLE, f"file://{folder}/shared")
        return folder, run(write_study(folder), folder)


@pytest.fixture
def cluster(first_run, monkeypatch):
    """The folder of `first_run`; each test leaves its storage whole, and its working copy in whatever state."""
    monkeypatch.setenv(STORAGE_VARIABLE, f"file://{first_run[0]}/shared")
    return first_run[0]


STAMP, CHANGED, HERE_NOW, HERE_LATER = "a", "b", (1, 10), (1, 20)
AGREED = Copy(stamp=STAMP, local=HERE_NOW)


@pytest.mark.parametrize(
    ("stored", "known", "local", "what"),
    [
        (None, None, None, "nothing"),
        (STAMP, None, None, "download"),
        (STAMP, AGREED, None, "download"),
        (None, AGREED, None, "nothing"),
        (STAMP, AGREED, HERE_NOW, "nothing"),
        (CHANGED, AGREED, HERE_NOW, "download"),
        (STAMP, AGREED, HERE_LATER, "upload"),
        (None, None, HERE_NOW, "upload"),
        (None, AGREED, HERE_NOW, "drop"),
        (None, AGREED, HERE_LATER, "drop"),
        (CHANGED, AGREED, HERE_LATER, "replace"),
        (STAMP, None, HERE_NOW, "replace"),
    ],
)
def test_of_two_contents_the_storage_counts_unless_only_this_one_is_new(stored, known, local, what):
    assert decide(stored, known, local) == what


def test_another_machine_trains_nothing_again_and_reads_the_law(cluster, first_run):
    first = first_run[1]
    assert len(first.results) == 8
    assert stored_files(cluster / "shared" / "tiny") == copied_files(cluster)
    assert {"report.html", "runs.csv", "scaling_law.json", "plots/isoflop.png"} <= copied_files(cluster).keys()
    before, made = copied_files(cluster), materializations(cluster)
    shutil.rmtree(cluster / "tiny")
    again = run(cluster / "study.toml", cluster)
    assert not again.done
    assert again.law.to_dict() == first.law.to_dict()
    assert materializations(cluster) == made
    after = copied_files(cluster)
    assert after.keys() == before.keys(), "the logs too, for the training curves of the report"
    results = [name for name in before if name.endswith("result.json")]
    assert len(results) == 8
    assert {name: after[name] for name in results} == {name: before[name] for name in results}


def test_a_result_changed_in_the_storage_is_kept_as_evidence_and_trained_again(cluster, first_run):
    name = sorted(first_run[1].results)[0]
    stored = cluster / "shared" / "tiny" / "runs" / name / "result.json"
    true = json.loads(stored.read_text())
    for lie in (0.5, 0.25):  # the second time on a machine that has seen nothing of the first
        stored.write_text(json.dumps(true | {"loss": true["loss"] * lie}))
        said = io.StringIO()
        again = run_study(cluster / "study.toml", cluster, Console(file=said, width=400))
        assert again.done == [name]
        assert "result.json: was changed since it was written" in said.getvalue()
        assert json.loads(stored.read_text())["loss"] == true["loss"] == again.results[name].loss
        shutil.rmtree(cluster / "tiny")
    kept = [json.loads(path.read_text())["loss"] for path in sorted(stored.parent.glob("*.unusable*"))]
    assert kept == [true["loss"] * 0.5, true["loss"] * 0.25]


def test_a_study_that_was_there_before_its_storage_is_taken_along(finished_home, tmp_path, monkeypatch):
    assert not list((tmp_path / "tiny").rglob(".stored*")), "without a storage nothing is noted"
    before = result_files(tmp_path)
    monkeypatch.setenv(STORAGE_VARIABLE, str(tmp_path / "shared"))
    assert not run(tmp_path / "study.toml", tmp_path).done
    shutil.rmtree(tmp_path / "tiny")
    assert not run(tmp_path / "study.toml", tmp_path).done
    assert {name: text for name, (_, text) in result_files(tmp_path).items()} == {
        name: text for name, (_, text) in before.items()
    }


def test_a_storage_that_holds_nothing_any_more_is_refused_and_the_copy_stays(cluster):
    assert not run(cluster / "study.toml", cluster).done
    before = result_files(cluster)
    assert len(before) == 8
    (cluster / "shared").rename(cluster / "unmounted")
    with pytest.raises(
        StorageError, match=r"holds nothing, although .* is a copy of what it held; see that it is mounted"
    ):
        run(cluster / "study.toml", cluster)
    assert result_files(cluster) == before
    shutil.rmtree(cluster / "shared")
    (cluster / "unmounted").rename(cluster / "shared")
    assert not run(cluster / "study.toml", cluster).done


def test_a_storage_that_holds_nothing_any_more_is_not_filled_with_what_happens_to_be_here(tmp_path):
    """Or what was not stored yet would be taken for all that there is, and the plan for removed."""
    runs = watched(tmp_path)
    with open_instance(tmp_path, 2) as instance:
        experiment = plan_in(runs, instance)[0]
    store, storage = runs.source.store, fsspec.filesystem("watched")
    kept = {path: storage.cat_file(path) for path in storage.find(f"/{tmp_path.name}")}
    result = store.path("training_run", experiment.experiment_id)
    result.parent.mkdir(parents=True)
    result.write_text("a result that could not be stored")
    storage.rm(f"/{tmp_path.name}", recursive=True)
    for attempt in (lambda: store.pull(result), lambda: store.push(result), lambda: store.pull_folder(result.parent)):
        with pytest.raises(StorageError, match=r"holds nothing, although .* is a copy of what it held"):
            attempt()
    assert not storage.exists(f"/{tmp_path.name}")
    for path, content in kept.items():
        storage.pipe_file(path, content)
    store.pull(result)
    assert storage.cat_file(f"/{tmp_path.name}/tiny/runs/{experiment.experiment_id}/result.json").startswith(
        b"a result"
    )
    assert store.read("sweep_plan").experiments[0] == experiment


def test_a_disk_on_which_empty_folders_are_left_holds_nothing(tmp_path):
    storage = Storage(url=str(tmp_path), folder="tiny")
    assert storage.is_empty(), "nor is it there"
    (tmp_path / "tiny" / "runs").mkdir(parents=True)
    (tmp_path / "tiny" / ".probe").touch()
    assert storage.is_empty()
    (tmp_path / "tiny" / "runs" / "result.json").touch()
    assert not storage.is_empty()


def test_imported_runs_are_stored(tmp_path, cluster, monkeypatch):
    table, study = cluster / "shared" / "tiny" / "runs.csv", write_study(tmp_path)
    monkeypatch.setenv(STORAGE_VARIABLE, str(tmp_path / "shared"))
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["import", str(table), str(study)])
    assert "imported 8 of 8 experiments" in done.output, done.output
    assert len(list((tmp_path / "shared").glob("tiny/runs/*/result.json"))) == 8
    shutil.rmtree(tmp_path / "tiny")
    assert run(study, tmp_path).done == ["scaling_law"]


def test_plan_and_report_on_a_machine_that_has_only_the_storage(cluster, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(cluster / "other"))
    planned = CliRunner().invoke(main, ["plan", str(cluster / "study.toml")])
    assert "0 still to train" in planned.output, planned.output
    (cluster / "shared" / "tiny" / "report.html").unlink()
    told = CliRunner().invoke(main, ["report", str(cluster / "study.toml")])
    assert told.exit_code == 0, told.output
    assert (cluster / "shared" / "tiny" / "report.html").stat().st_size > 10_000


LONG = """\
checkpoint_seconds = 0.0
batch_tokens = 64
"""


@pytest.mark.slow
def test_a_training_killed_on_one_machine_goes_on_from_its_checkpoint_on_another(tmp_path):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("weight_decay = 0.0\n", "weight_decay = 0.0\n" + LONG))
    storage = f"file://{tmp_path}/shared"
    here = AssetRuns.of(path, tmp_path, storage)
    with open_instance(tmp_path, 2) as instance:
        name = max(plan_in(here, instance), key=lambda item: item.num_tokens).experiment_id
    checkpoint = tmp_path / "shared" / "tiny" / "runs" / name / "checkpoint.safetensors"

    def kill(_, event):
        end = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < end:
            time.sleep(0.005)
        os.kill(event["process"], signal.SIGKILL)

    (outcome,) = run_tasks("stored_training:train", [(name, here)], num_workers=1, on_event=kill)
    assert "was killed (signal 9, SIGKILL" in outcome.error
    assert checkpoint.exists()
    assert not checkpoint.with_name("result.json").exists()
    stale = tmp_path / "tiny"  # what the killed machine has
    stale.rename(tmp_path / "killed")
    events = []
    resumed = train_partition(name, events.append, here)
    assert events[0]["step"] > 1, "it went on"
    alone = tmp_path / "alone"
    alone.mkdir()
    whole_runs = AssetRuns.of(path, alone)
    with open_instance(alone, 2) as instance:
        plan_in(whole_runs, instance)
    whole = train_partition(name, events.append, whole_runs)
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)
    assert not checkpoint.exists(), "a final result needs none"
    assert ExperimentResult.load(checkpoint.with_name("result.json")) == resumed
    steps = [json.loads(line)["step"] for line in checkpoint.with_name("log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    shutil.rmtree(stale)
    (tmp_path / "killed").rename(stale)  # the killed machine is back, with its old checkpoint
    store = here.source.store
    with store.training(name, pytest.fail):
        assert store.read_here("training_run", name) == resumed
    assert not (store.runs / name / "checkpoint.safetensors").exists()


def test_a_result_that_could_not_be_stored_is_stored_by_the_next_attempt_and_not_trained_again(tmp_path):
    runs = watched(tmp_path)
    with open_instance(tmp_path, 2) as instance:
        name = plan_in(runs, instance)[0].experiment_id
        Watched.broken = True
        message = r"storage watched://\S+ could not be written \(OSError: no route to host\); see that it exists"
        with pytest.raises(RunFailed, match=message):
            runs.materialize(instance, "training_run", name)
        Watched.broken = False
    events = []
    result = train_partition(name, events.append, runs)
    assert not events, "nothing was trained"
    kept = json.loads(fsspec.filesystem("watched").cat_file(f"/{tmp_path.name}/tiny/runs/{name}/result.json"))
    assert kept["loss"] == result.loss
    assert materializations(tmp_path)["training_run"] == 1


def test_an_interrupted_training_leaves_its_checkpoint_in_the_storage(tmp_path):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("weight_decay = 0.0\n", "weight_decay = 0.0\n" + LONG))
    runs = AssetRuns.of(path, tmp_path, f"watched://{tmp_path.name}")

    def interrupt(event):
        raise KeyboardInterrupt

    with open_instance(tmp_path, 2) as instance:
        name = plan_in(runs, instance)[0].experiment_id
    left = train_partition(name, interrupt, runs)
    assert left.status == "failed"
    assert "KeyboardInterrupt" in left.reason
    store = fsspec.filesystem("watched")
    assert store.exists(f"/{tmp_path.name}/tiny/runs/{name}/log.jsonl")
    assert not store.exists(f"/{tmp_path.name}/tiny/runs/{name}/result.json")


def test_a_storage_out_of_reach_for_a_while_does_not_stop_a_training(tmp_path, monkeypatch):
    """And whatever a trainer of the user's own leaves in the folder is stored, hidden files left out."""
    monkeypatch.setattr(uploading, "UPLOAD_SECONDS", 0.01)
    store, said = watched(tmp_path).source.store, []
    folder = store.path("training_run", "made-up").parent
    with store.training("made-up", said.append):
        Watched.broken = True
        for name in ("checkpoint.safetensors", "step-5/weights.bin", ".cache/scratch"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        end = time.monotonic() + 60
        while not said and time.monotonic() < end:
            time.sleep(0.01)
        Watched.broken = False
    assert "no route to host" in said[0]
    assert "the training goes on, and this is tried again" in said[0]
    root = f"/{tmp_path.name}/tiny/runs/made-up"
    stored = fsspec.filesystem("watched")
    names = {path.removeprefix(root + "/") for path in stored.find(root)}
    assert names == {"checkpoint.safetensors", "step-5/weights.bin"}
    assert stored.cat_file(f"{root}/step-5/weights.bin") == b"step-5/weights.bin"


def test_many_results_are_one_question(tmp_path):
    runs = watched(tmp_path)
    with open_instance(tmp_path, 2) as instance:
        plan_in(runs, instance)
    here = runs.source.store
    names = [f"made-up-{number}" for number in range(50)]
    storage = fsspec.filesystem("watched")
    for name in names:
        storage.pipe_file(f"/{tmp_path.name}/tiny/runs/{name}/result.json", name.encode())
    Watched.asked.clear()
    here.pull_results(names)
    assert Watched.asked.count("find") == 1
    Watched.asked.clear()
    here.pull_results(names)
    assert Watched.asked == ["find"], "what is unchanged is not brought again"
    assert [here.path("training_run", name).read_text() for name in names] == names
    storage.rm_file(f"/{tmp_path.name}/tiny/runs/{names[0]}/result.json")
    here.pull_results(names)
    assert not here.path("training_run", names[0]).exists(), "absent there is absent here"
    assert here.path("training_run", names[0]).with_name("result.json.unusable").read_text() == names[0]


@pytest.mark.slow
def test_memory_is_enough_for_one_process(tmp_path):
    runs = AssetRuns.of(write_study(tmp_path, sizes=3), tmp_path, f"memory://{tmp_path.name}")
    with open_instance(tmp_path, 2) as instance:
        for experiment in plan_in(runs, instance):
            runs.materialize(instance, "training_run", experiment.experiment_id)
        shutil.rmtree(tmp_path / "tiny")
        runs.materialize(instance, "scaling_law")
        law = runs.source.store.read("scaling_law")
    assert len(law.runs) == 6
    assert materializations(tmp_path)["training_run"] == 6


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "nowhere://x",
            r"storage nowhere://x cannot be used \(Protocol not known: nowhere\); give a directory, or a URL",
        ),
        ("simplecache::file:///x", "is a chain of URLs, whose caches go stale; give the last one alone"),
        ("memory://x", "is seen by one process alone, and each worker is one; give a directory or another URL"),
        pytest.param(
            "s3://bucket/x",
            r"storage s3://bucket/x cannot be used \(.*s3fs.*\); install that package beside flops-fit",
            marks=pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed"),
        ),
        ("file://{folder}/study.toml/x", r"could not be written, read and cleaned \(NotADirectoryError: .*; see that"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_before_anything_is_spent(tmp_path, monkeypatch, url, message):
    monkeypatch.setenv(STORAGE_VARIABLE, url.format(folder=tmp_path))
    with pytest.raises(StorageError, match=message):
        run(write_study(tmp_path), tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_a_password_in_the_url_is_shown_to_nobody():
    with pytest.raises(StorageError, match="nowhere://…@host/x") as raised:
        storage_url("nowhere://me:secret@host/x")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("partition", ["..", "a/b", "../x", "/etc/passwd", "a\\b", "a\nb", ".hidden", ""])
def test_a_partition_leads_nowhere_else(tmp_path, partition):
    store = StudySource.of(write_study(tmp_path), home=tmp_path, storage=tmp_path / "shared").store
    with pytest.raises(FileError, match="is not an experiment id"):
        store.read("training_run", partition)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//b", "a\\..\\b", "a\0b"])
def test_a_name_leads_out_of_no_storage(tmp_path, name):
    with pytest.raises(FileError, match="is not a valid file name in"):
        Storage(url=str(tmp_path), folder="tiny").stamps([name])


@pytest.mark.parametrize("name", ["../tiny", "tiny\n", "a/b", ""])
def test_a_study_name_leads_nowhere_else(tmp_path, name):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace('name = "tiny"', f"name = {json.dumps(name)}"))
    with pytest.raises(StudyError, match="must be a letter followed by at most 63 letters, digits or underscores"):
        StudySource.of(path, home=tmp_path, storage=tmp_path / "shared")
