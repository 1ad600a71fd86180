"""`flops-fit` as typed in a terminal: exit codes, messages, and what a kill leaves."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from paths import HELPERS, ROOT
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, write_study

from flops_fit_assets.cli import main

pytestmark = DAGSTER_WARNINGS


@pytest.fixture
def flops_fit(tmp_path, monkeypatch):
    """Runs the command in `tmp_path`."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def start(home, *arguments):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flops_fit_assets.cli", *arguments],
        env=os.environ | {"FLOPS_FIT_HOME": str(home), "PYTHONPATH": os.pathsep.join([str(HELPERS), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys, flops_fit_assets.cli\n"
        "loaded = {'torch', 'dagster', 'pandas', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_is_too_little_for_a_law_is_refused_by_run_and_said_by_plan(flops_fit, tmp_path):
    write_study(tmp_path, budgets=[3e5])
    assert "would be refused: the plan has 4 experiments that differ" in flops_fit("plan").output
    refused = flops_fit("run")
    assert refused.exit_code == 1
    assert "nothing was trained: the plan has 4 experiments" in refused.output
    assert "--train-anyway trains it all the same" in refused.output
    assert not result_files(tmp_path / "home")
    assert "4 usable runs cannot fix the law's 5 parameters" in flops_fit("run", "--train-anyway").output
    assert len(result_files(tmp_path / "home")) == 4


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ("[-1.0]", r"compute budget -1.0 must be above 0; give training FLOPs as a positive finite number"),
        ('["a lot"]', "compute budget 'a lot' is text that is no number"),
        ("[1e6", "is not valid TOML"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run", "ui"])
def test_a_study_that_is_not_valid_is_refused_readably(flops_fit, tmp_path, command, budgets, message):
    write_study(tmp_path)
    text = (tmp_path / "study.toml").read_text().replace("[300000.0, 600000.0]", budgets)
    (tmp_path / "study.toml").write_text(text)
    result = flops_fit(command)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_missing_study_file_is_named(flops_fit):
    result = flops_fit("run", "nowhere.toml")
    assert result.exit_code == 1
    assert "nowhere.toml does not exist" in result.output


def test_plan_shows_the_cost_and_leaves_nothing(flops_fit, tmp_path):
    result = flops_fit("plan", str(write_study(tmp_path)))
    assert result.exit_code == 0, result.output
    assert "8 experiments" in result.output
    assert "8 still to train" in result.output
    assert "learning-rate check: 10 trainings at the cheapest budget, 3.0" in result.output, "10 of 3e5 FLOPs each"
    assert re.search(r"^ids cover the code used of \S*tests/helpers/tiny_study\.py", result.output, re.MULTILINE)
    assert not (tmp_path / "home").exists()


def test_check_shows_what_a_few_steps_tell_and_leaves_how_long_they_took_for_plan(flops_fit, tmp_path):
    study = write_study(tmp_path)
    assert "ms a step; flops-fit check measures it" in flops_fit("plan", str(study)).output
    result = flops_fit("check", str(study))
    assert result.exit_code == 0, result.output
    assert "no problems found" in result.output
    assert "8 experiments: " in result.output
    assert [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == [".step_seconds.json"]
    told = re.search(r"on one device, (.* workers?), timed on", result.output)[1]
    planned = flops_fit("plan", str(study)).output
    assert f"{told}, $0.00 (from first steps timed on " in planned


def test_check_lists_every_problem_and_ends_with_1(flops_fit, tmp_path):
    result = flops_fit("check", str(write_study(tmp_path, model="Fails", module="failing_model")))
    assert result.exit_code == 1
    assert "4 problems:" in result.output, "training step and held-out step at both sizes"
    assert result.output.count("step: RuntimeError: every model has a bug") == 4


def test_a_study_that_fails_at_both_ends_is_refused_before_it_trains(flops_fit, tmp_path):
    result = flops_fit("run", str(write_study(tmp_path, model="Fails", module="failing_model")))
    assert result.exit_code == 1
    assert "no size tried gets through its first steps" in result.output
    assert result.output.count("training step: RuntimeError: every model has a bug") == 2
    assert not result_files(tmp_path / "home")


def test_the_learning_rate_check_says_what_it_costs_and_what_it_found(flops_fit, tmp_path):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("learning_rate = 0.02", "learning_rate = 0.0001"))
    result = flops_fit("learning-rate", str(path))
    assert result.exit_code == 0, result.output
    assert "learning-rate check: 10 trainings at the cheapest budget" in result.output
    assert re.search(r"^ +0\.0004 +\d", result.output, re.MULTILINE)
    assert result.output.count("is at the edge of those tried") == 2, "a rate far too low"
    assert len(list((tmp_path / "home" / "tiny" / "learning_rate").glob("*-x*/result.json"))) == 10
    assert not result_files(tmp_path / "home"), "the study's own experiments are still to be trained"


def test_fit_prints_the_law_and_writes_the_report(flops_fit, tmp_path):
    rows = ["num_params,num_tokens,flops,loss,compute_budget"]
    for budget in (1e18, 1e19, 1e20):
        for share in (0.25, 0.5, 1, 2, 4):
            size = share * (budget / 120) ** 0.5
            tokens = budget / 6 / size
            rows.append(f"{size},{tokens},{budget},{1.7 + 400 / size**0.34 + 410 / tokens**0.28},{budget}")
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    result = flops_fit("fit", "runs.csv")
    assert result.exit_code == 0, result.output
    assert "alpha" in result.output
    assert (tmp_path / "runs_report.html").stat().st_size > 10_000
    held = flops_fit("fit", "runs.csv", "--fix", "E=1.65", "--fix", "alpha=0.2:0.5")
    assert "held        E = 1.65, alpha in 0.2 to 0.5" in held.output
    wrong = flops_fit("fit", "runs.csv", "--units", "num_params")
    assert (wrong.exit_code, "--units has 'num_params'; give name=value" in wrong.output) == (1, True)
    named = flops_fit("fit", "runs.csv", "--units", "num_params=1", "--columns", "loss=val_loss")
    assert "columns has loss = 'val_loss', which is none of" in named.output
    wrong = flops_fit("fit", "runs.csv", "--fix", "E")
    assert wrong.exit_code == 1
    assert "must be a value such as E=1.69" in wrong.output


def test_fit_of_nothing_is_refused_readably(flops_fit):
    result = flops_fit("fit", "runs.csv")
    assert result.exit_code == 1
    assert "runs.csv does not exist" in result.output


@pytest.mark.filterwarnings("ignore::flops_fit.errors.FlopsFitWarning")
def test_a_report_cannot_be_written_to_a_directory(flops_fit, tmp_path):
    (tmp_path / "runs.csv").write_text("N,D,loss\n")
    done = flops_fit("fit", str(tmp_path / "runs.csv"), "--report", str(tmp_path))
    assert done.exit_code == 2
    assert "is a directory" in done.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:6 FLOPs per parameter and example")  # of the narrow sizes, which alone are measured
def test_a_failing_experiment_gives_exit_code_2_and_the_rest_goes_on(flops_fit, tmp_path):
    result = flops_fit("run", str(write_study(tmp_path, model="FailsWhenWide", module="failing_model")))
    output = result.output
    assert result.exit_code == 2, output
    assert "RuntimeError: wide models have a bug" in output
    made = materializations(tmp_path / "home")
    wide = [name for name in result_files(tmp_path / "home") if int(name.split("-width")[1].split("-")[0]) >= 30]
    said = f"8 experiments run now: {8 - len(wide)} completed, {len(wide)} did not ({len(wide)} failed)"
    assert f"{said}; the law is fitted without them" in output
    assert 0 < made["training_run"] == made["experiment"] - len(wide)
    assert made["scaling_law"] == 1


@pytest.mark.slow
def test_after_a_kill_the_same_command_trains_only_the_rest(flops_fit, tmp_path):
    home, study = tmp_path / "home", write_study(tmp_path, workers=2)
    first = start(home, "run", str(study))
    end = time.monotonic() + 300
    while len(result_files(home)) < 2 and time.monotonic() < end and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    time.sleep(1)  # its workers notice and end
    finished = result_files(home)
    assert 2 <= len(finished) < 8
    second = flops_fit("run", str(study))
    assert second.exit_code == 0, second.output
    after = result_files(home)
    assert len(after) == 8
    assert {name: after[name] for name in finished} == finished
    assert materializations(home)["scaling_law"] == 1
