"""`--json` of plan, fit and check: stable keys, numbers as numbers, alone on stdout; and what-ifs beside it."""

import json
import re

import pytest
from click.testing import CliRunner
from paths import ROOT
from pipeline_study import DAGSTER_WARNINGS, write_adaptive, write_study

from flops_fit_assets.cli import main

pytestmark = DAGSTER_WARNINGS

PAGE = (ROOT / "docs" / "terminal.md").read_text(encoding="utf-8")
E, A, B, ALPHA, BETA = 1.7, 400.0, 410.0, 0.34, 0.28


@pytest.fixture
def flops_fit(tmp_path, monkeypatch):
    """Runs the command in `tmp_path`: exit code, stdout, stderr."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(main, arguments)
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def exact_runs(tmp_path):
    """A table of runs that follow a law exactly, with 6·N·D FLOPs."""
    rows = ["num_params,num_tokens,flops,loss"]
    for budget in (1e18, 1e19, 1e20):
        for share in (0.25, 0.5, 1, 2, 4):
            size = share * (budget / 120) ** 0.5
            tokens = budget / 6 / size
            rows.append(f"{size},{tokens},{budget},{E + A / size**ALPHA + B / tokens**BETA}")
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    return "runs.csv"


def documented(command):
    """Top-level keys in the table of the page on `command`."""
    section = PAGE.split(f"### `{command} --json`")[1].split("###")[0]
    return [
        name for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]


def test_a_plan_as_json_adds_up(flops_fit, tmp_path):
    write_study(tmp_path)
    code, said, told = flops_fit("plan", "--json")
    found = json.loads(said)
    assert (code, told) == (0, "")
    assert [*found] == documented("plan")
    assert found["budgets_flops"] == [3e5, 6e5]
    assert len(found["experiments"]) == found["total"]["experiments"] == found["left"]["experiments"] == 8
    assert sum(item["planned_flops"] for item in found["experiments"]) == pytest.approx(found["total"]["flops"])
    assert sum(item["seconds"] for item in found["experiments"]) == pytest.approx(found["total"]["device_seconds"])
    assert found["total"]["money"] == pytest.approx(2.0 * found["total"]["device_seconds"] / 3600)
    assert {item["state"] for item in found["experiments"]} == {"to train"}
    assert not (tmp_path / "home").exists()


def test_a_plan_says_who_takes_several_devices_and_what_would_be_refused(flops_fit, tmp_path):
    path = write_study(tmp_path, workers=2)
    path.write_text(path.read_text() + "devices_per_training = 2\n")
    _, said, _ = flops_fit("plan")
    _, as_json, _ = flops_fit("plan", "--json")
    assert "every training takes 2 devices (devices_per_training = 2)" in said.replace("\n", " ")
    assert {item["devices"] for item in json.loads(as_json)["experiments"]} == {2}
    path.write_text(path.read_text().replace("devices_per_training = 2", "devices_per_training = 3"))
    (refused,) = json.loads(flops_fit("plan", "--json")[1])["would_be_refused"]
    assert refused.startswith("devices_per_training = 3 in [hardware] is more than the 2 devices")


def test_other_budgets_are_planned_as_if_they_were_the_files(flops_fit, tmp_path):
    study = write_study(tmp_path)
    before = study.read_bytes()
    code, said, _ = flops_fit("plan", "--json", "--budgets", "6e5, 9e5,1.2e6")
    asked = json.loads(said)
    assert (code, study.read_bytes()) == (0, before)
    assert (asked["budgets_flops"], asked["instead_of_budgets_flops"]) == ([6e5, 9e5, 1.2e6], [3e5, 6e5])
    assert "with budgets 600000, 900000 instead of 300000, 600000" in flops_fit("plan", "--budgets", "6e5,9e5")[1]
    study.write_text(study.read_text().replace("[300000.0, 600000.0]", "[6e5, 9e5, 1.2e6]"))
    written = json.loads(flops_fit("plan", "--json")[1])
    assert [item["experiment_id"] for item in asked["experiments"]] == [
        item["experiment_id"] for item in written["experiments"]
    ]


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ("6e5,many", "--budgets 'many' is text that is no number; give training FLOPs"),
        ("-3", "--budgets '-3' must be above 0"),
        (",", "--budgets ',' names no budget; give FLOPs with commas between: --budgets 1e9,1e10"),
    ],
)
def test_budgets_that_are_none_are_refused(flops_fit, tmp_path, budgets, message):
    write_study(tmp_path)
    code, said, told = flops_fit("plan", "--budgets", budgets, "--json")
    assert (code, said) == (1, "")
    assert message in told


def test_an_adaptive_study_chooses_its_budgets_itself(flops_fit, tmp_path):
    write_adaptive(tmp_path)
    code, _, told = flops_fit("plan", "--budgets", "1e6")
    assert code == 1
    assert "is adaptive: it chooses its budgets itself, below total_compute = " in told


def test_why_a_plan_would_be_refused_is_in_its_json(flops_fit, tmp_path):
    write_study(tmp_path, budgets=[3e5])
    code, said, _ = flops_fit("plan", "--json")
    assert code == 0
    assert [text[:26] for text in json.loads(said)["would_be_refused"]] == ["the plan has 4 experiments"]


def test_a_check_as_json_has_the_exit_code_of_the_check(flops_fit, tmp_path):
    write_study(tmp_path)
    code, said, _ = flops_fit("check", "--json")
    found = json.loads(said)
    assert (code, found["problems"]) == (0, [])
    assert [*found] == documented("check")
    small, large = found["sizes"]
    assert small["num_params"] < large["num_params"]
    assert small["loss_at_the_start"] == pytest.approx(1.386, abs=0.5), "about ln 4 of four classes"
    assert 0 < small["seconds_per_step"] < 1
    assert found["device_seconds"] > 0
    write_study(tmp_path, model="Fails", module="failing_model")
    code, said, _ = flops_fit("check", "--json")
    assert (code, len(json.loads(said)["problems"])) == (1, 4)
    assert json.loads(said)["device_seconds"] is None


def test_a_fit_as_json_holds_the_law_at_the_target(flops_fit, exact_runs):
    code, said, told = flops_fit("fit", exact_runs, "--target", "1e21,3e22", "--json", "--units", "num_params=1")
    found = json.loads(said)
    assert (code, told) == (0, "")
    assert [*found] == documented("fit")
    assert (found["runs"], found["runs_largest_flops"], found["determined"]) == (15, 1e20, True)
    values = {name: item["value"] for name, item in found["parameters"].items()}
    assert values == pytest.approx(
        {"E": E, "A": A, "B": B, "alpha": ALPHA, "beta": BETA, "a": BETA / (ALPHA + BETA), "b": ALPHA / (ALPHA + BETA)},
        rel=1e-3,
    )
    far = found["predictions"][-1]
    best = (ALPHA * A / BETA / B) ** (1 / (ALPHA + BETA)) * (3e22 / 6) ** (BETA / (ALPHA + BETA))
    assert [item["compute_flops"] for item in found["predictions"]].count(3e22) == 1
    assert (far["compute_flops"], far["times_the_largest_run"]) == (3e22, pytest.approx(300))
    assert far["num_params"] == pytest.approx(best, rel=1e-3)
    assert far["loss"] == pytest.approx(E + A / best**ALPHA + B / (3e22 / 6 / best) ** BETA, rel=1e-4)
    assert far["num_params_interval"][0] <= far["num_params"] <= far["num_params_interval"][1]


def test_a_target_is_shown_with_how_far_it_is(flops_fit, exact_runs, tmp_path):
    _, said, _ = flops_fit("fit", exact_runs, "--target", "1e23", "--units", "num_params=1")
    assert re.search(r"^  1\.00e\+23 ", said, re.MULTILINE)
    assert re.search(r"^    1\.00e\+23 +N_opt within x\d.* at 90 %: ", said, re.MULTILINE), "its verdict too"
    assert "1.00e+23 FLOPs is 1.00k times beyond the runs" in said
    assert "1.00e+23 FLOPs is 1.00k times beyond the runs" in (tmp_path / "runs_report.html").read_text()
    code, _, told = flops_fit("fit", exact_runs, "--target", "far")
    assert (code, "--target 'far' is text that is no number" in told) == (1, True)


def test_options_of_tables_are_refused_for_a_study(flops_fit, tmp_path):
    write_study(tmp_path)
    code, _, told = flops_fit("fit", "study.toml", "--units", "num_params=1")
    assert (code, "--units is for tables of runs; leave it out" in told) == (2, True)
