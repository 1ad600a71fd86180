"""`flops-fit compare`: two tables, laws or studies; which is better, and what to type where that is not known."""

import dataclasses
import json
import re
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner
from paths import ROOT

from flops_fit import fit_scaling_law
from flops_fit.synthetic import REPLICATION, synthetic_runs
from flops_fit_assets.cli import main

CHEAPER = dataclasses.replace(REPLICATION, flops_per_param_per_token=5.0)


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Runs the command beside `old.csv`, `new.csv` (a fifth cheaper) and `again.csv`, another seed of old."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for seed, (name, law) in enumerate({"old": REPLICATION, "new": CHEAPER, "again": REPLICATION}.items()):
        synthetic_runs(law, noise=0.002, seed=seed).to_csv(f"{name}.csv", index=False)

    def run(*arguments):
        result = CliRunner().invoke(main, ["compare", *arguments])
        return result.exit_code, result.output

    return run


def test_two_tables_that_differ(compare, tmp_path):
    code, said = compare("old.csv", "new.csv", "--at", "1e20,1e21", "--plot", "both.png")

    assert code == 0, said
    needed = re.match(r"new is better at 1.00e\+20 FLOPs with more than 99 %: old needs ([\d.]+) times", said)
    assert float(needed[1]) == pytest.approx(1.2, rel=0.05)
    assert len(re.findall(r"^ 1.00e\+2[01] +\d", said, re.MULTILINE)) == 2
    assert "figure: both.png" in said
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_told_apart_says_what_to_type(compare):
    code, said = compare("old.csv", "again.csv", "--at", "1e21")

    assert code == 0, said
    assert "old and again cannot be told apart at 1.00e+21 FLOPs" in said
    (typed,) = [line.split(": ")[-1] for line in said.splitlines() if "->" in line]
    assert typed.split()[:2] == ["flops-fit", "suggest"]
    assert typed.endswith("--target 1e+21")
    result = CliRunner().invoke(main, typed.split()[1:])
    assert result.exit_code == 0, result.output


def test_laws_studies_and_tables_can_be_mixed(compare, tmp_path):
    law = fit_scaling_law("old.csv", bootstraps=100)
    (tmp_path / "home" / "demo").mkdir(parents=True)
    law.save(tmp_path / "home" / "demo" / "scaling_law.json")
    fit_scaling_law("new.csv", bootstraps=100).save("cheap.json")
    shutil.copy(ROOT / "flops_fit/examples/demo/study.toml", "study.toml")

    code, said = compare("study.toml", "cheap.json", "--at", "1e20", "--json")

    assert code == 0, said
    found = json.loads(said)
    assert found["names"] == ["demo", "cheap"]
    assert found["targets"][0]["losses"][0] == pytest.approx(law.L_opt(1e20))
    assert found["targets"][0]["probability"] < 0.025


def test_studies_of_one_name_are_one_law(compare, tmp_path):
    (tmp_path / "home" / "demo").mkdir(parents=True)
    fit_scaling_law("old.csv", bootstraps=20).save(tmp_path / "home" / "demo" / "scaling_law.json")
    for name in ("one.toml", "two.toml"):
        shutil.copy(ROOT / "flops_fit/examples/demo/study.toml", name)

    code, said = compare("one.toml", "two.toml")

    assert code == 1
    assert "studies of one name share their results" in said


def test_laws_of_one_file_name_are_named_by_their_paths(compare, tmp_path):
    for folder, table in (("x", "old.csv"), ("y", "new.csv")):
        (tmp_path / folder).mkdir()
        shutil.copy(table, tmp_path / folder / "runs.csv")

    found = json.loads(compare("x/runs.csv", "y/runs.csv", "--json")[1])

    assert found["names"] == ["x/runs.csv", "y/runs.csv"]


def test_tables_can_share_what_their_recipes_share(compare):
    apart, together = (
        json.loads(compare("old.csv", "new.csv", "--at", "1e22", "--json", *more)[1])
        for more in ((), ("--share", "E,alpha,beta"))
    )

    assert not apart["together"]
    assert together["together"]
    (low, high), (wide_low, wide_high) = (each["targets"][0]["loss_ratio_interval"] for each in (together, apart))
    assert high - low < (wide_high - wide_low) / 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("old.csv", "absent.csv"), "absent.csv does not exist; give two laws"),
        (("old.csv", "old.csv"), "old.csv and old.csv are both old.csv; give another"),
        (("old.csv", "new.csv", "--at", "much"), "--at = 'much' must be FLOPs"),
        (("old.csv", "new.csv", "--at", "-1"), "must be a positive, finite number of FLOPs"),
        (("old.csv", "new.csv", "--plot", "both.pdf"), "must end with .png"),
        (("old.csv", "new.csv", "--share", "A"), "must name some of E, alpha, beta"),
        (("study.toml", "new.csv"), "`flops-fit run study.toml` makes it"),
    ],
)
def test_what_cannot_be_compared_is_said_with_the_remedy(compare, arguments, said):
    shutil.copy(ROOT / "flops_fit/examples/demo/study.toml", "study.toml")
    code, output = compare(*arguments)

    assert code == 1, output
    assert said in output


def test_a_study_that_was_run_in_the_folder_of_its_file_says_what_to_give(compare, tmp_path):
    """Two studies of `flops-fit init`, each run in its own folder."""
    kept = tmp_path / "mine" / "flops_fit_data" / "demo" / "scaling_law.json"
    kept.parent.mkdir(parents=True)
    shutil.copy(ROOT / "flops_fit/examples/demo/study.toml", "mine/study.toml")
    fit_scaling_law("old.csv").save(kept)
    code, said = compare("mine/study.toml", "new.csv", "--at", "1e21")
    assert code == 1
    given = said.strip().rpartition("so give ")[2]
    assert given == "mine/flops_fit_data/demo/scaling_law.json"
    code, said = compare(given, "new.csv", "--at", "1e21")
    assert code == 0, said
    assert "new is better at 1.00e+21 FLOPs" in said


def test_losses_in_two_units_are_refused(compare):
    synthetic_runs(CHEAPER, noise=0.002, seed=5).rename(columns={"loss": "val_bpb"}).to_csv("bits.csv", index=False)
    code, output = compare("old.csv", "bits.csv")

    assert code == 1
    assert "those of bits in bits per byte, and cannot be compared" in output


def test_a_trackers_headings_say_the_time_too(compare, tmp_path):
    """As W&B exports runs: the newer recipe costs five sixths of the compute, at half the speed."""
    theirs = {"num_params": "params", "num_tokens": "tokens", "loss": "eval/loss", "flops": "total_flops"}
    for name, rate in (("old", 1e12), ("new", 0.5e12)):
        runs = pd.read_csv(tmp_path / f"{name}.csv")
        timed = runs.assign(Runtime=runs["flops"] / rate).rename(columns=theirs).assign(**{"GPU Type": "NVIDIA H100"})
        timed.to_csv(tmp_path / f"{name}.csv", index=False)
    code, said = compare("old.csv", "new.csv", "--at", "1e20")

    assert code == 0, said
    needed = re.search(r"by the clock old needs ([\d.]+) times as long .*as measured on NVIDIA H100", said)
    assert float(needed[1]) == pytest.approx(0.6, rel=0.05), said
