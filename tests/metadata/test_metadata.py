"""Numbers that Dagster can plot: finite, named, and with the study's owners and target budgets."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, run, write_study

from flops_fit.cost.estimate import estimate
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.spending import spending
from flops_fit.errors import StudyError
from flops_fit.results.results import failed_result
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit.training.run_log import first_loss
from flops_fit_assets.commands.outcome import what_ran
from flops_fit_assets.definitions import build_study_definitions
from flops_fit_assets.freshness.history import latest_materialization
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.metadata.published_files import missing_files
from flops_fit_assets.metadata.shared import finite
from flops_fit_assets.metadata.sweep_plan import MOST_ROWS, plan_metadata
from flops_fit_assets.pages.training_page import training_curve
from flops_fit_assets.source import StudySource

pytestmark = DAGSTER_WARNINGS


@pytest.fixture(scope="module")
def ran(finished, tmp_path_factory):
    """The home and file of a study that has run, what running it again finds, and what its first run showed."""
    home = shutil.copytree(finished, tmp_path_factory.mktemp("home"), dirs_exist_ok=True)
    path = home / "study.toml"
    outcome = run(path, home)
    assert not outcome.done
    with open_instance(home, 2) as instance:
        names = ("size_map", "sweep_plan", "experiment", "training_run", "scaling_law")
        shown = {name: latest_materialization(instance, dg.AssetKey(name)).metadata for name in names}
    return home, path, outcome, shown


def number(entry):
    return entry.value


def test_numbers_to_plot_are_there_and_fit_together(ran):
    _, _, outcome, shown = ran
    plan, training, law = shown["sweep_plan"], shown["training_run"], shown["scaling_law"]
    for label in ("FLOPs spent", "device-hours spent", "device-hours still to spend", "hours to train", "cost so far"):
        assert isinstance(number(plan[label]), float), label
    assert next(iter(plan)) == "when planned"
    assert re.match(r"0 of 8 trained, \S+ FLOPs, .* s and \$0\.00 left$", plan["when planned"].value)
    assert (plan["N counts"].value, plan["FLOPs per token"].value) == ("total parameters", "6nd")
    ratio = number(training["seconds"]) / number(training["seconds predicted"])
    assert number(training["seconds over predicted (ratio)"]) == pytest.approx(ratio, rel=3e-3), "each of four digits"
    spent = sum(result.flops for result in outcome.results.values())
    hours = sum(result.seconds for result in outcome.results.values()) / 3600
    assert number(law["FLOPs spent"]) == pytest.approx(spent, rel=1e-3)
    assert number(law["device-hours spent"]) == pytest.approx(hours, rel=1e-3)
    assert number(law["cost so far"]) == pytest.approx(2.0 * hours, rel=1e-3)
    assert {"exponent a", "exponent b", "exponent alpha", "exponent beta"} <= law.keys()


def test_a_target_budget_is_predicted_in_the_table_and_as_numbers(ran):
    _, _, outcome, shown = ran
    law = shown["scaling_law"]
    assert "1.00e+09" in law["predictions"].value
    assert "beyond 100 the law is a guess" in law["predictions"].value
    assert number(law["optimal params at 1.00e+09"]) == pytest.approx(outcome.law.N_opt(1e9), rel=1e-5)
    assert number(law["expected loss at 1.00e+09"]) == pytest.approx(outcome.law.L_opt(1e9), rel=1e-5)


def test_the_schema_is_that_of_the_runs_table(ran):
    home, _, _, shown = ran
    schema = shown["scaling_law"]["columns of runs.csv"].value
    written = (home / "tiny" / "runs.csv").read_text().split("\n", 1)[0].split(",")
    assert [column.name for column in schema.columns] == written
    assert {column.type for column in schema.columns} == {"string", "float", "int"}


def test_no_number_is_nan_or_infinite(ran):
    for metadata in ran[3].values():
        for label, entry in metadata.items():
            assert not isinstance(entry.value, float) or math.isfinite(entry.value), label
    assert finite({"a": math.nan, "b": -math.inf, "c": 1.5}) == {"a": "nan", "b": "-inf", "c": 1.5}


def test_the_owners_own_every_asset_that_is_made(ran):
    home, path, _, _ = ran
    specs = {spec.key.path[-1]: spec for spec in build_study_definitions(path, home=home).resolve_all_asset_specs()}
    for name in ("size_map", "sweep_plan", "experiment", "training_run", "scaling_law"):
        assert list(specs[name].owners) == ["team:scaling", "someone@example.org"]


@pytest.mark.parametrize("owners", ['["scaling"]', '"team:scaling"', "[1]"])
def test_owners_that_dagster_would_not_take_are_refused_readably(tmp_path, owners):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("owners = []", f"owners = {owners}"))
    with pytest.raises(StudyError, match=r"owners .*(team:scaling)"):
        StudySource.of(path, home=tmp_path)


def test_the_first_step_is_logged_and_is_the_baseline(ran, tmp_path):
    home, _, outcome, _ = ran
    for name in outcome.results:
        folder = home / "tiny" / "runs" / name
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert lines[0]["step"] == 1
        assert first_loss(folder) == lines[0]["loss"]
        assert first_loss(folder) == pytest.approx(math.log(4), rel=0.4), "four classes, nothing learnt"
    assert first_loss(tmp_path) is None
    (tmp_path / "log.jsonl").write_text('{"step": 7, "loss": 1.0}\n')
    assert first_loss(tmp_path) is None
    (tmp_path / "log.jsonl").write_text("epoch 1: fine\n")
    assert first_loss(tmp_path) is None


def test_a_training_shows_how_its_loss_fell(ran):
    home, _, outcome, shown = ran
    training = shown["training_run"]
    blocks = training["loss in training"].value
    name = Path(training["file"].value).parent.name
    losses = [json.loads(line)["loss"] for line in (home / "tiny" / "runs" / name / "log.jsonl").open()]
    assert blocks.startswith(f"{losses[0]:.4f} "), "the first line is not averaged with others"
    assert "█" in blocks
    alt, address = re.match(r"\[!\[(.*)\]\((.*)\?width=430\)\]", training["loss curve"].value).groups()
    assert address == f"/flops_fit/tiny/runs/{name}/curve.svg"
    assert f"held out {outcome.results[name].loss:.4f}" in alt
    folder = home / "tiny" / "runs" / name
    svg = ElementTree.fromstring(training_curve(name, folder, home / "tiny" / "sweep_plan.json"))
    assert len(svg.findall(".//{*}g/{*}circle")) == len(losses)


def test_the_figures_are_on_the_page_in_plots_and_in_the_report(ran):
    home, _, _, shown = ran
    titles = {"IsoFLOP curves", "compute-optimal frontier", "tokens per parameter", "residuals"}
    assert titles | {"training curves", "cost by budget"} <= shown["scaling_law"].keys()
    names = ("isoflop", "frontier", "tokens_per_param", "residuals", "exponents", "contours", "training_curves", "cost")
    report = (home / "tiny" / "report.html").read_text()
    for name in names:
        assert (home / "tiny" / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.fromstring((home / "tiny" / "plots" / f"{name}.svg").read_text())
        assert f'<figure class="{name}">' in report
    for blocked in ("residuals", "isoflop"):
        (home / "tiny" / "plots" / f"{blocked}.png").unlink()
    assert missing_files(StudySource.of(ran[1], home=home).store) == [
        home / "tiny" / "plots" / f"{name}.png" for name in ("isoflop", "residuals")
    ]


def test_what_ran_is_said_as_it_was(ran):
    _, _, outcome, _ = ran
    results = dict(outcome.results)
    names = list(results)
    assert what_ran(results, names) == "8 experiments run now: 8 completed"
    assert what_ran(results, []) == "nothing had to be trained"
    for name in names[:2]:
        item = next(item for item in outcome.plan.experiments if item.experiment_id == name)
        results[name] = failed_result(item, "broke")
    assert what_ran(results, names) == (
        "8 experiments run now: 6 completed, 2 did not (2 failed); the law is fitted without them"
    )
    assert what_ran(results, names[1:2]) == (
        "1 experiment run now: 0 completed, 1 did not (1 failed); 1 of earlier runs did not complete (1 failed); "
        "the law is fitted without them"
    )


def test_of_a_plan_of_thousands_the_table_shows_those_still_to_train_and_says_so():
    count = MOST_ROWS + 100
    experiments = [Experiment(f"run-{i:04}", 6e9, 8, 1_000 + i, 1_000_000) for i in range(count)]
    plan = SweepPlan(experiments, "Model", "width", [6e9])
    done = {item.experiment_id: failed_result(item, "it diverged", status="diverged") for item in experiments[:300]}
    cost, hardware = estimate(plan), Hardware()
    metadata = plan_metadata(plan, cost, spending(plan, cost, done, hardware), done, Path("plan.json"), {})
    rows = metadata["plan table"].records
    assert metadata["plan table shows"].startswith(f"{MOST_ROWS} of {count} experiments, those still to train first")
    assert [row.data["when planned"] for row in rows].count("to train") == count - 300
    sizes = [row.data["params"] for row in rows]
    assert len(sizes) == MOST_ROWS
    assert (sizes[199], sizes[200]) == ("1.20k", "1.30k"), "the last hundred of those that are done are left out"
    assert metadata["experiments"] == count
