"""`flops-fit suggest`: what to train next, printed, and written only where asked."""

import re

import pandas as pd
import pytest
from click.testing import CliRunner

from flops_fit.synthetic import synthetic_runs
from flops_fit_assets.cli import main


@pytest.fixture
def suggest(tmp_path, monkeypatch):
    """Runs the command beside `runs.csv`, up to 1e20 FLOPs, and gives its exit code and output."""
    monkeypatch.chdir(tmp_path)
    synthetic_runs(noise=0.003, span=6, seed=3).to_csv("runs.csv", index=False)

    def run(*arguments):
        result = CliRunner().invoke(main, ["suggest", *arguments])
        return result.exit_code, result.output

    return run


def test_it_prints_each_experiment_and_writes_nothing(suggest, tmp_path):
    code, said = suggest("runs.csv", "--target", "1e22", "--flops", "1e21")

    assert code == 0
    assert "at 1.00e+22 FLOPs, with 1.00e+21 FLOPs to spend" in said
    assert re.findall(r"^ *(now|\d) +[\dw]", said, re.MULTILINE) == ["now", "1", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_the_file_is_a_table_of_runs_without_losses(suggest, tmp_path):
    suggest("runs.csv", "--target", "1e22", "--flops", "1e21", "--output", "next.csv")

    table = pd.read_csv(tmp_path / "next.csv")
    assert table["loss"].isna().all()
    cost = 6.0 * table["num_params"] * table["num_tokens"]
    assert cost.tolist() == pytest.approx(table["flops"].tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("runs.csv", "--target", "1e22", "--flops", "1e17"), 0, "give --flops 4.00e+20 or more"),
        (("absent.csv", "--target", "1e22"), 1, "absent.csv does not exist; give a table of runs"),
        (("runs.csv", "--target", "-1"), 1, "target = -1.0 must be"),
        (("study.toml", "--flops", "1e21"), 2, "--flops 1e+21 is for a table of runs or a law, and study.toml is a"),
        (("study.toml", "--output", "next.csv"), 2, "leave it out, or give the study's runs.csv"),
        (("study.toml", "--units", "loss=1"), 2, "--units is for tables of runs, and study.toml is none"),
    ],
)
def test_what_cannot_be_suggested_is_said_with_the_remedy(suggest, arguments, code, said):
    found = suggest(*arguments)

    assert found[0] == code
    assert said in found[1]


def test_without_a_target_it_is_ten_times_the_largest_run_and_says_so(suggest):
    code, said = suggest("runs.csv")

    assert code == 0
    largest = pd.read_csv("runs.csv")["flops"].max()
    assert f"at {10 * largest:.2e} FLOPs (10 times the largest run; another: --target)" in " ".join(said.split())
