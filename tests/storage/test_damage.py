"""Damaged files: whatever is in the place of a file of a study, its reader raises `FileError` and nothing else.

`FLOPS_FIT_FUZZ=1000` tries that many kinds of damage of each file instead of a few.
"""

import json
import os
import shutil
import warnings
from contextlib import contextmanager

import pytest
from damage import as_text, changed, torn
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from made_forecasts import forecast
from tiny_study import experiment

from flops_fit import Forecast, SizeMap, fit_scaling_law, plan_from_size_map
from flops_fit.adaptive.rounds import Answer, Choice, Round, save_round
from flops_fit.basics.files import write_value
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.results.finished import load_finished
from flops_fit.results.results import RESULT_FILE, ExperimentResult
from flops_fit.sizes.size_map import SizeEntry, SkippedSize
from flops_fit.synthetic import synthetic_runs
from flops_fit_assets.freshness.versions import version_of
from flops_fit_assets.graph.centring import Centre, Centres
from flops_fit_assets.storage.copies import Copies, Copy
from flops_fit_assets.storage.store import StudyStore

MANY = int(os.environ.get("FLOPS_FIT_FUZZ", "40"))
NAME = "c1e+06-width8-s0-00000000"
FUZZ = settings(
    max_examples=MANY, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def values():
    """One of each kind of value that a study keeps."""
    sizes = [2, 4, 8, 16, 32]
    entries = [SizeEntry(size=size, num_params=1000 * size, flops_per_token=6000.0 * size) for size in sizes]
    skipped = (SkippedSize(size=3, reason="not even"),)
    size_map = SizeMap(model_name="M", size_param="width", entries=tuple(entries), skipped=skipped, notes=("a note",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)
        plan = plan_from_size_map(size_map, [1e9, 1e10], model_kwargs={"depth": 2, "names": ["a"]}, span=10)
        law = fit_scaling_law(synthetic_runs(compute_budgets=[1e18, 1e19, 1e20], noise=0.01), bootstraps=8)
    result = ExperimentResult.of(
        experiment(name=NAME), num_tokens=3000, flops=1e6, status="completed", loss=1.25, versions={"torch": "2"}
    )
    return {"size_map": size_map, "sweep_plan": plan, "training_run": result, "scaling_law": law}


def a_round():
    """The second round of a study, which has all that a round may have, under the number 1."""
    known = Answer(
        target_budget=1e21, runs=9, flops=1e18, N_opt=1e9, N_opt_low=5e8, N_opt_high=2e9, loss=2.0, loss_low=1.9,
        loss_high=2.1, verdict_N_opt="provisional", verdict_loss="trustworthy", supported=True,
    )  # fmt: skip
    choice = Choice(
        experiment=experiment(name=NAME),
        reason="near the optimum",
        width_before=1.5,
        width_after=1.25,
        widths_after={"N_opt": 1.25, "L_opt": 0.05},
    )
    return Round(number=1, target_budget=1e21, quantity="both", planned_from="ab", choices=(choice,), known=known)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's folder with every kind of file, and a function that reads one of them as the pipeline does."""
    store = StudyStore(directory=tmp_path_factory.mktemp("study"))
    for asset, value in values().items():
        store.write(asset, value, NAME if asset == "training_run" else None)
    centres = Centres(identity="abc", param_count="total", centres=(Centre(budget=1e9, num_params=1e3,
                                                                           tokens_per_param=20.0),))  # fmt: skip
    centres.save(store)
    sealed = forecast(witnesses=("0123456789ab",)).save(store.forecasts / "2026-01-31-0123.json")
    planned = save_round(store.directory / "rounds" / "0123", a_round())
    copies = Copies(directory=store.directory, storage="s3://b")
    copies.update({"size_map.json": Copy(stamp="e1", local=(10, 12))})

    def read(kind):
        match kind:
            case "centres":
                return Centres.load(centres.path(store))
            case "forecast":
                return Forecast.load(sealed).sha256
            case "round":
                return Round.load(planned)
            case "copies":
                return copies.of(["size_map.json"])
            case _:
                value = store.read(kind, NAME if kind == "training_run" else None)
                return version_of(value)

    paths = {asset: store.path(asset, NAME) for asset in values()}
    others = {"centres": centres.path(store), "forecast": sealed, "round": planned}
    others["copies"] = store.directory / ".stored.json"
    return paths | others, read


KINDS = ["size_map", "sweep_plan", "training_run", "scaling_law", "centres", "forecast", "round", "copies"]
HEALED = {"copies"}  # of which nothing is lost with them


def outcome(read, kind, path):
    """What reading gives, or the message of the `FileError`; what was set aside is removed."""
    try:
        return read(kind), None
    except FileError as error:
        return None, str(error)
    finally:
        for kept in path.parent.glob(f"{path.name}.unusable*"):
            kept.unlink()


def expect(kind, read, path, whole):
    """Reading what is there now raises `FileError`, or else finds what was there before it was damaged."""
    found, refusal = outcome(read, kind, path)
    if refusal is None:
        assert found == whole or (kind in HEALED and found == {}), "damage was not noticed"
    else:
        assert str(path) in refusal
        assert len(refusal) < 1000


@contextmanager
def restored(path):
    """The text of a file, which is there again afterwards."""
    text = path.read_text()
    try:
        yield text
    finally:
        path.write_text(text)


def fuzzed(test):
    """`test` with many kinds of damage of each file."""
    return pytest.mark.parametrize("kind", KINDS)(seed(14)(FUZZ(given(data=st.data())(test))))


@fuzzed
def test_a_changed_value_is_refused(study, kind, data):
    paths, read = study
    path, whole = paths[kind], read(kind)
    with restored(path) as text:
        path.write_text(as_text(data.draw(changed(json.loads(text)))))
        expect(kind, read, path, whole)


@fuzzed
def test_a_file_that_was_made_with_a_wrong_value_is_refused_or_a_value(study, kind, data):
    """The hash is right, so only the types speak against it: by a damaged program, or one of another version."""
    paths, read = study
    path = paths[kind]
    with restored(path) as text:
        content = {name: value for name, value in json.loads(text).items() if name != "sha256"}
        wrong = data.draw(changed(content))
        try:
            write_value(path, wrong)
        except (ValueError, RecursionError):  # no JSON: NaN, infinity, half a character, too deep
            return
        _, refusal = outcome(read, kind, path)
        assert refusal is None or str(path) in refusal


@fuzzed
def test_a_torn_file_is_refused(study, kind, data):
    paths, read = study
    path, whole = paths[kind], read(kind)
    with restored(path) as text:
        path.write_bytes(data.draw(torn(text)))
        expect(kind, read, path, whole)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in HEALED])
def test_a_folder_in_place_of_a_file_and_the_reverse(study, kind):
    paths, read = study
    path, text = paths[kind], paths[kind].read_text()
    path.unlink()
    path.mkdir()
    with pytest.raises(FileError, match="is not a file; move what is there away"):
        read(kind)
    path.rmdir()
    with pytest.raises(FileNotFoundError):
        read(kind)
    if path.parent.name in (NAME, "centres", "forecasts", "0123"):
        path.parent.rmdir()
        path.parent.write_text("not a folder")
        with pytest.raises(FileError, match="is below a file where a folder belongs"):
            read(kind)
        path.parent.unlink()
        path.parent.mkdir()
    path.write_text(text)


def test_what_is_in_the_way_of_a_file_is_set_aside(tmp_path):
    store = StudyStore(directory=tmp_path / "tiny")
    size_map = values()["size_map"]
    store.path("size_map").mkdir(parents=True)
    (store.path("size_map") / "mine").write_text("kept")
    with pytest.warns(FlopsFitWarning, match=r"size_map\.json was in the way .* kept as size_map\.json\.unusable"):
        store.write("size_map", size_map)
    assert store.read("size_map") == size_map
    assert (tmp_path / "tiny" / "size_map.json.unusable" / "mine").read_text() == "kept"


@pytest.mark.parametrize("damage", ["folder", "file below", "torn"])
def test_a_damaged_result_is_set_aside_and_said(tmp_path, damage):
    folder = tmp_path / NAME
    path = values()["training_run"].save(folder / RESULT_FILE)
    assert load_finished(folder) is not None
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
        path.mkdir()
        if damage == "file below":
            shutil.rmtree(folder)
            folder.write_text("")
            assert load_finished(folder) is None
            return
    with pytest.warns(FlopsFitWarning, match=r"kept as result\.json\.unusable, trained again"):
        assert load_finished(folder) is None
    assert path.with_name("result.json.unusable").exists()
