"""An adaptive study in Dagster: round after round, each planned once and trained once, until it stops."""

import json

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, run, write_adaptive

from flops_fit.adaptive.rounds import load_rounds
from flops_fit.cost.step_seconds import StepSeconds, TimedStep
from flops_fit.errors import FileError
from flops_fit.stages import rounds_folder
from flops_fit.study.study import Study
from flops_fit_assets.commands.plan import write_again
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.storage.store import StudyStore

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.slow]


def rounds_of(home):
    return load_rounds(rounds_folder(Study.from_toml(home / "study.toml"), home / "tiny"))


def round_files(home):
    return {path.name: path.read_text() for path in (home / "tiny" / "rounds").glob("*/round_*.json")}


def test_it_ends_once_it_knows_what_the_command_asks_for(tmp_path):
    """`flops-fit run --until N_opt=1000`: little is enough; without it the file's own wish counts again."""
    path = write_adaptive(tmp_path, within=1.0001)
    easy = run(path, tmp_path, until=("N_opt=1000",))
    assert easy.rounds.step.kind == "certain"
    assert "asked for 1000" in easy.rounds.step.reason
    rounds = rounds_of(tmp_path)
    again = run(path, tmp_path)
    assert again.rounds.step.kind == "spent"
    assert rounds_of(tmp_path)[: len(rounds)] == rounds
    assert set(easy.results) < set(again.results)


def test_steps_that_were_timed_slowly_do_not_refuse_a_round_that_was_planned_without(tmp_path):
    path = write_adaptive(tmp_path, 1.45e6)
    path.write_text(path.read_text().replace("[adaptive]", "[adaptive]\nmax_hours = 1"))
    study = Study.from_toml(path)
    steps = tuple(TimedStep(tokens=1, flops=flops, seconds=1000.0) for flops in (1.0, 1e4))
    slow = StepSeconds(timed=steps, device="cpu", outcome=study.outcome_fingerprint())
    slow.save(tmp_path / "tiny")
    assert run(path, tmp_path).rounds.step.kind == "spent"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A study run to its end, run again, and given a larger total."""
    home = tmp_path_factory.mktemp("rounds")
    steps = {}
    for name, total in {"first": 1.45e6, "unchanged": 1.45e6, "larger total": 1.75e6}.items():
        outcome = run(write_adaptive(home, total), home)
        seen = {"outcome": outcome, "made": materializations(home), "results": result_files(home)}
        steps[name] = seen | {"rounds": rounds_of(home), "files": round_files(home)}
    return {"home": home, **steps}


def test_it_goes_on_until_the_total_is_spent(story):
    first = story["first"]
    assert len(first["rounds"]) >= 2
    assert first["outcome"].rounds.step.kind == "spent"
    assert sum(result.flops for result in first["outcome"].results.values()) <= 1.45e6
    trained = [item.experiment_id for round_ in first["rounds"] for item in round_.experiments]
    assert sorted(trained) == sorted(first["results"])


def test_each_experiment_is_trained_once_and_each_round_planned_once(story):
    made, rounds = story["first"]["made"], story["first"]["rounds"]
    assert made["size_map"] == 1
    assert made["training_run"] == made["experiment"] == sum(len(item.choices) for item in rounds)
    assert made["scaling_law"] == len(rounds)
    assert made["sweep_plan"] == len(rounds) + 1, "the last one says why it stopped"


def test_a_study_that_has_ended_makes_nothing(story):
    assert story["unchanged"]["made"] == story["first"]["made"]
    assert story["unchanged"]["files"] == story["first"]["files"]
    assert not story["unchanged"]["outcome"].done


def test_a_larger_total_keeps_every_round_and_trains_only_what_is_new(story):
    before, after = story["unchanged"], story["larger total"]
    assert len(after["files"]) > len(before["files"])
    assert {name: after["files"][name] for name in before["files"]} == before["files"]
    assert {name: after["results"][name] for name in before["results"]} == before["results"]
    new = after["results"].keys() - before["results"].keys()
    assert after["made"]["training_run"] - before["made"]["training_run"] == len(new) > 0


def test_rounds_after_the_first_know_what_the_law_said(story):
    known = [item.known for item in story["first"]["rounds"]]
    assert known[0] is None
    assert all(answer.N_opt_low < answer.N_opt < answer.N_opt_high for answer in known[1:])


def test_the_plan_says_why_it_stopped(story):
    with open_instance(story["home"], 2) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("sweep_plan"))
    shown = event.asset_materialization.metadata
    assert shown["rounds"].value.startswith("stopped, the total is spent: ")
    assert "raise the total in [adaptive]" in shown["rounds"].value
    assert shown["rounds so far"].value.count("\n") >= len(story["larger total"]["rounds"]) + 1
    assert shown["rounds figure"].value.startswith("![rounds](data:image/png;base64,")


def test_the_report_shows_the_rounds(story):
    text = (story["home"] / "tiny" / "report.html").read_text()
    assert "<h2>Rounds</h2>" in text
    assert "Stopped, the total is spent: " in text
    assert text.count("Why each experiment was chosen") == 1


def test_a_report_that_is_written_again_shows_the_same_rounds(story, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(story["home"]))
    report = story["home"] / "tiny" / "report.html"
    before = section_of(report)
    assert "Stopped, the total is spent: " in before
    assert write_again(story["home"] / "study.toml") == report
    assert section_of(report) == before


def section_of(report):
    """What the report says of rounds."""
    return report.read_text().partition("<h2>Rounds</h2>")[2].partition("<h2>")[0]


def test_a_materialization_by_hand_plans_nothing_twice(story):
    home = story["home"]
    runs = AssetRuns.of(home / "study.toml", home)
    before = materializations(home)
    with open_instance(home, 1) as instance:
        runs.materialize(instance, "sweep_plan")
    after = materializations(home)
    assert after["sweep_plan"] == before["sweep_plan"] + 1
    assert after["experiment"] == before["experiment"]
    assert round_files(home) == story["larger total"]["files"]


def test_a_total_below_what_is_planned_blocks_what_is_left(tmp_path):
    runs = AssetRuns.of(write_adaptive(tmp_path), tmp_path)
    with open_instance(tmp_path, 1) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        planned = StudyStore(directory=tmp_path / "tiny").read("sweep_plan").total_flops
        lowered = AssetRuns.of(write_adaptive(tmp_path, total=planned / 2), tmp_path)
        with pytest.raises(Exception, match="within_total"):
            lowered.materialize(instance, "sweep_plan")
    with pytest.raises(Exception, match="raise the total"):
        run(tmp_path / "study.toml", tmp_path)
    assert not result_files(tmp_path)


def test_a_damaged_round_is_named_with_the_remedy(tmp_path):
    runs = AssetRuns.of(write_adaptive(tmp_path), tmp_path)
    with open_instance(tmp_path, 1) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
    path = next((tmp_path / "tiny" / "rounds").glob("*/round_001.json"))
    content = json.loads(path.read_text())
    content["choices"][0]["reason"] = "because"
    path.write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"round_001.json: was changed since it was written.*restore it from a copy"):
        run(tmp_path / "study.toml", tmp_path)
