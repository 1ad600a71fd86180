"""How a table is read, as typed: the same options for every command; and one line for what is no table."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pipeline_study import DAGSTER_WARNINGS

from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import synthetic_runs
from flops_fit_assets.cli import main

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.filterwarnings("ignore::flops_fit.errors.FlopsFitWarning")]

BASE = synthetic_runs(noise=0.003, span=6, seed=3)
ODD = pd.DataFrame(
    {"size": BASE.num_params / 1e6, "seen": BASE.num_tokens, "C": np.log10(BASE.flops), "score": np.exp(BASE.loss)}
)
READ = ["--columns=num_params=size,num_tokens=seen,loss=score", "--units=num_params=millions,flops=log10",
        "--loss-kind=perplexity"]  # fmt: skip


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Runs a command in `tmp_path`, where `odd.csv` is; its exit code and what it said, on one line."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    ODD.to_csv("odd.csv", index=False)
    BASE.to_csv("runs.csv", index=False)

    def run(*arguments):
        done = CliRunner().invoke(main, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, " ".join(done.output.split())

    return run


def test_the_same_options_read_the_same_table_in_every_command(typed, tmp_path):
    code, said = typed("fit", "odd.csv", "--json", *READ)
    assert code == 0, said
    law = fit_scaling_law(BASE)
    assert json.loads(said)["parameters"]["alpha"]["value"] == pytest.approx(law.alpha, rel=1e-4)
    code, said = typed("suggest", "odd.csv", "--target", "1e21", *READ)
    assert (code, "to narrow the answer at 1.00e+21" in said) == (0, True), said
    code, said = typed("forecast", "odd.csv", "1e21", *READ)
    assert code == 0, said
    code, said = typed("compare", "odd.csv", "runs.csv", *READ)
    assert code == 1, "the other table has no such columns"
    assert "columns has num_params = 'size', which is none of" in said


def test_what_is_no_table_takes_no_such_options(typed, tmp_path):
    fit_scaling_law(BASE, bootstraps=10).save(tmp_path / "scaling_law.json")
    for command in (["suggest", "scaling_law.json", "--target", "1e21"], ["forecast", "scaling_law.json", "1e21"]):
        code, said = typed(*command, "--units=num_params=1e6")
        assert (code, "--units is for tables of runs, and scaling_law.json is none" in said) == (2, True), said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--units", "flops=furlongs"],
            "--units has flops=furlongs; give a number or a unit: flops=1e6, flops=millions",
        ),
        (["--loss-kind", "ppl"], "loss_kind = 'ppl'"),
        (["--columns", "loss"], "--columns has 'loss'; give name=value"),
        (["--target", ""], "--target '' names no compute; give FLOPs with commas between: --target 1e21,1e22"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_in_a_line(typed, options, message):
    code, said = typed("fit", "runs.csv", *options)
    assert code == 1
    assert message in said


LAW = json.dumps({"schema": "flops_fit.scaling_law/1", "E": 1.7})
BAD = {
    "empty.csv": ("", "it is empty"),
    "header.csv": ("num_params,num_tokens,loss\n", "has no rows"),
    "ragged.csv": ("N,D,loss\n1,2,3,4\n", "line 2 has 4 fields where the header has 3"),
    "torn.json": ('[{"N": 1', "line 1 is no JSON"),
    "law.json": (LAW, "not runs; give the table that it was made of"),
    "twice.csv": ("N,N,loss\n1,2,3\n", "more than one column N; keep one"),
    "one.csv": ("loss\n3\n", "the runs have no column num_params, num_tokens"),
    "negative.csv": (BASE.assign(loss=BASE.loss - 5).to_csv(index=False), "--loss-offset 3.4"),
    "three.csv": (BASE.head(3).to_csv(index=False), "3 usable runs cannot fix the law's 5 parameters"),
    "runs.docx": ("x", "is no directory, .csv"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_law_can_be_fitted_to_ends_in_one_line_and_exit_code_1(typed, tmp_path, name):
    text, message = BAD[name]
    (tmp_path / name).write_text(text)
    code, said = typed("fit", name)
    assert code == 1
    assert said.startswith("Error: ")
    assert message in said


def test_a_directory_and_a_path_that_is_not_there_are_named(typed, tmp_path):
    (tmp_path / "folder").mkdir()
    code, said = typed("fit", "folder")
    assert (code, "folder holds no */result.json; give the directory" in said) == (1, True)
    assert "does not exist; give a table of runs" in typed("fit", "nowhere.csv")[1]


def test_a_report_that_cannot_be_written_does_not_cost_the_law(typed, tmp_path):
    (tmp_path / "file").write_text("")
    code, said = typed("fit", "runs.csv", "--report", "file/report.html")
    assert code == 1
    assert "verdict trustworthy" in said
    assert "Not a directory" in said or "File exists" in said, said
