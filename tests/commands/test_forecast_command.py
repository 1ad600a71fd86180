"""`flops-fit forecast`: sealed before, scored by themselves after, of a table, a law and a study."""

import re
import shutil

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner
from pipeline_study import DAGSTER_WARNINGS

from flops_fit import Forecast, fit_scaling_law
from flops_fit.synthetic import synthetic_runs
from flops_fit_assets.cli import main
from flops_fit_assets.freshness.history import latest_materialization
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


@pytest.fixture
def flops_fit(tmp_path, monkeypatch):
    """Runs the command in `tmp_path`, whose folder is the home too, and gives its exit code and output."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(main, arguments)
        return result.exit_code, result.output

    return run


@pytest.fixture
def table(tmp_path):
    """`runs.csv` up to 1e20 FLOPs, and a function that adds the budget 1e21 to it."""
    path, runs = tmp_path / "runs.csv", synthetic_runs(noise=0.002, span=6, seed=3)
    runs.to_csv(path, index=False)
    later = synthetic_runs(noise=0.002, span=6, seed=4, compute_budgets=(1e21,))
    return lambda: pd.concat([runs, later.assign(experiment_id=[f"new-{i}" for i in range(7)])]).to_csv(
        path, index=False
    )


def test_a_table_is_forecast_and_once_it_has_grown_the_forecast_is_scored(flops_fit, tmp_path, table):
    assert flops_fit("forecast", "runs.csv") == (
        0, "runs_forecasts holds no forecasts; to make one: flops-fit forecast runs.csv 1.00e+21\n"
    )  # fmt: skip
    code, said = flops_fit("forecast", "runs.csv", "1e21", "3e21", "--level", "0.8")
    assert code == 0, said
    (path,) = (tmp_path / "runs_forecasts").glob("*.json")
    made = Forecast.load(path)
    assert f"sha256    {made.sha256}" in said
    assert f"file: runs_forecasts/{path.name}" in said
    assert [target.compute for target in made.targets] == [1e21, 3e21]
    assert made.level == 0.8
    code, said = flops_fit("forecast", "runs.csv", "1e21", "--level", "0.8")
    assert (code, said.strip()) == (
        0, f"at 1.00e+21 FLOPs it was forecast before: runs_forecasts/{path.name}, sha256 {made.sha256}"
    )  # fmt: skip
    assert list((tmp_path / "runs_forecasts").iterdir()) == [path]

    table()
    record = "2 targets forecast by 1 law: 1 scored, 1 not yet"
    code, said = flops_fit("fit", "runs.csv")
    assert record in said
    report = (tmp_path / "runs_report.html").read_text()
    assert "<h2>Forecasts</h2>" in report
    assert record in report
    code, said = flops_fit("forecast", "runs.csv")
    assert code == 0
    assert record in said
    assert re.search(
        r"N_opt: \d of 1 inside their 80 % intervals, \d within both errors, where 0\.8 are expected", said
    )
    assert f"runs_forecasts/{path.name}  sha256 {made.sha256}" in said

    path.write_text(path.read_text().replace("trustworthy", "provisional"))
    code, said = flops_fit("forecast", "runs.csv")
    assert code == 2
    assert f"cannot be used: runs_forecasts/{path.name}: was changed since it was written" in said
    code, said = flops_fit("fit", "runs.csv")
    assert code == 0, "the law stands"
    assert "cannot be used" in said
    assert "cannot be used" in (tmp_path / "runs_report.html").read_text()


def test_without_forecasts_nothing_is_said_of_them(flops_fit, tmp_path, table):
    _, said = flops_fit("fit", "runs.csv")
    assert "forecast" not in said
    assert "<h2>Forecasts</h2>" not in (tmp_path / "runs_report.html").read_text()


def test_a_law_keeps_its_forecasts_beside_it_and_a_table_can_take_anothers(flops_fit, tmp_path, table):
    law = fit_scaling_law(tmp_path / "runs.csv", bootstraps=40)
    law.save(tmp_path / "law.json")
    law.save(tmp_path / "out" / "scaling_law.json")
    for source, folder in (
        ("law.json", "law_forecasts"),
        ("out", "out/forecasts"),
        ("out/scaling_law.json", "out/forecasts"),
    ):
        code, said = flops_fit("forecast", source, "1e21")
        assert code == 0, said
        assert len(list((tmp_path / folder).iterdir())) == 1
    table()
    _, said = flops_fit("forecast", "runs.csv", "--folder", "law_forecasts")
    assert "1 target forecast by 1 law: 1 scored, 0 not yet" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1e21",), "1e21 is a compute budget, which comes after a study file, a law or a table of runs"),
        (("nothing.csv", "1e21"), "nothing.csv does not exist; give a study file"),
        (("runs.csv", "5e19"), "is not beyond the runs, which reach 1.00e+20"),
        (("runs.csv", "much"), "must be a positive, finite number of FLOPs, for example 1e21"),
        (("runs.csv", "1e21", "--level", "90"), "level = 90.0 must lie between 0 and 1"),
        (("study.toml", "1e21"), "study.toml"),
    ],
)
def test_what_cannot_be_forecast_is_refused_readably(flops_fit, tmp_path, table, arguments, message):
    code, said = flops_fit("forecast", *arguments)
    assert code == 1
    assert said.startswith("Error: ")
    assert message in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.csv"]


@pytest.mark.slow
def test_a_study_is_forecast_and_its_next_law_scores_it_from_the_storage(flops_fit, finished_home, monkeypatch):
    """Sealed on one machine, trained on another: the files of the study are in a storage."""
    stored = finished_home / "shared" / "tiny" / "forecasts"
    monkeypatch.setenv("FLOPS_FIT_STORAGE", f"file://{finished_home}/shared")
    assert flops_fit("run", "study.toml")[0] == 0
    code, said = flops_fit("forecast", "study.toml", "1.2e6", "1e8")
    assert code == 0, said
    (path,) = stored.iterdir()
    assert Forecast.load(path).sha256 in said
    assert "2 targets forecast by 1 law: 0 scored, 2 not yet" in (finished_home / "tiny" / "report.html").read_text()
    (stored / "2026-01-01-torn.json").write_text('{"schema"')

    shutil.rmtree(finished_home / "tiny")
    study = finished_home / "study.toml"
    study.write_text(study.read_text().replace("600000.0]", "600000.0, 1200000.0]"))
    code, said = flops_fit("run", "study.toml")
    assert code == 0, said
    record = "2 targets forecast by 1 law: 1 scored, 1 not yet"
    for text in (said, (finished_home / "shared" / "tiny" / "report.html").read_text()):
        assert record in text
        assert "2026-01-01-torn.json is torn or not JSON" in text
    with open_instance(finished_home, 2) as instance:
        shown = latest_materialization(instance, dg.AssetKey("scaling_law")).metadata
    assert record in shown["forecasts"].value
    assert "2026-01-01-torn.json" in shown["forecasts"].value
    assert "\n| 1.20e+06 | N_opt | " in shown["forecast table"].value
    assert (shown["forecast targets scored"].value, shown["forecast targets waiting"].value) == (1, 1)
    code, said = flops_fit("forecast", "study.toml")
    assert code == 2
    assert record in said
    assert Forecast.load(path).sha256 in said


def test_a_study_without_a_law_and_a_folder_for_a_study_are_refused(flops_fit, finished_home):
    assert "--folder = x is for tables and laws" in flops_fit("forecast", "study.toml", "1e8", "--folder", "x")[1]
    shutil.rmtree(finished_home / "tiny")
    code, said = flops_fit("forecast", "study.toml", "1e8")
    assert code == 1
    assert "scaling_law.json does not exist; `flops-fit run study.toml` makes it" in said
