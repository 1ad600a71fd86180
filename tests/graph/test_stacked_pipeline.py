"""Several trainings at once under `flops-fit run`: each has its own Dagster run, result and id all the same."""

import io
import json

import pytest
from pipeline_study import DAGSTER_WARNINGS, materializations, run, write_study
from rich.console import Console

from flops_fit_assets.commands.plan import print_plan
from flops_fit_assets.headless.study import run_study
from flops_fit_assets.storage.remote import STORAGE_VARIABLE

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.slow]


def write_seeds(folder, at_once):
    path = write_study(folder, budgets=(2e5, 4e5), sizes=3, workers=2)
    text = path.read_text().replace("[sweep]\n", "[sweep]\nseeds = [0, 1, 2]\n")
    path.write_text(text.replace("[hardware]\n", f"[hardware]\ntrainings_per_device = {at_once}\n"))
    return path


def results_in(home):
    return {path.parent.name: json.loads(path.read_text()) for path in home.glob("tiny/runs/*/result.json")}


def test_each_of_several_at_once_is_a_run_of_its_own(tmp_path, monkeypatch):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, at_once in ((alone, 1), (together, 3)):
        folder.mkdir()
        outcome = run(write_seeds(folder, at_once), folder)
        assert not outcome.not_completed
    one, other = results_in(alone), results_in(together)
    assert one.keys() == other.keys(), "ids are the same"
    assert {result.get("stacked", 0) for result in one.values()} == {0}
    assert {result["stacked"] for result in other.values()} == {3}
    for name, result in one.items():
        assert other[name]["loss"] == pytest.approx(result["loss"], rel=1e-4)
    assert materializations(together)["training_run"] == len(other)
    assert run(write_seeds(together, 1), together).done == [], "how many at once makes nothing stale"
    monkeypatch.setenv("FLOPS_FIT_HOME", str(together))
    console = Console(file=io.StringIO(), width=200)
    print_plan(write_seeds(together, 3), console)
    assert "0 still to train" in console.file.getvalue()
    assert "tried at once" not in console.file.getvalue(), "nothing is left to be"


def test_the_plan_says_what_is_tried_at_once(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    print_plan(write_seeds(tmp_path, '"auto"'), console)
    said = console.file.getvalue()
    assert "tried at once: " in said
    assert "groups of up to 3" in said


def test_in_a_storage_each_is_alone_and_it_is_said_why(tmp_path, monkeypatch):
    monkeypatch.setenv(STORAGE_VARIABLE, f"file://{tmp_path}/shared")
    path, planned, ran = write_seeds(tmp_path, 3), *(Console(file=io.StringIO(), width=200) for _ in range(2))
    print_plan(path, planned)
    run_study(path, tmp_path, ran)
    why = "each is trained alone: the study is kept in a storage, from which each training fetches how far it had come"
    for console in (planned, ran):
        assert console.file.getvalue().count(why) == 1
        assert "at once" not in console.file.getvalue()
    assert {result.get("stacked", 0) for result in results_in(tmp_path).values()} == {0}
