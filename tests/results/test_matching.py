"""Runs trained elsewhere: which experiments they belong to, and that the pipeline takes them for done."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from own_study import own_study, planned
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, run, write_study
from trunk_study import plan_of, trunk_study

from flops_fit import Experiment, ExperimentResult, Study, SweepOptions, SweepPlan, plan_from_counts
from flops_fit.cost.estimate import estimate
from flops_fit.cost.hardware import Hardware
from flops_fit.errors import FileError, FitError, StudyError
from flops_fit.results.matching import match_runs
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.sections import ModelSpec
from flops_fit_assets.cli import main
from flops_fit_assets.freshness.history import latest_materialization
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.source import StudySource

pytestmark = DAGSTER_WARNINGS


@pytest.fixture(scope="module")
def plan():
    """Two seeds of four sizes."""
    return plan_from_counts((1e6, 1e9), ["1e17"], num_sizes_per_budget=4, seeds=(0, 1))


def rows_of(plan, **columns):
    shared = [
        {"num_params": item.num_params, "num_tokens": item.num_tokens, "seed": item.seed, "loss": 2.0 + index / 10}
        for index, item in enumerate(plan.experiments)
    ]
    return pd.DataFrame(shared).assign(**columns)


def left_out(plan, **changes):
    """Why the first run of the plan is left out once it is changed."""
    results, unmatched = match_runs(plan, rows_of(plan).head(1).assign(**changes))
    assert results == []
    (one,) = unmatched
    assert one.row == 1
    return one.reason


TRACKED = {
    "num_params": "config.n_params",
    "num_tokens": "tokens (B)",
    "loss": "val/loss",
    "seed": "config.seed",
    "status": "State",
}


def test_a_trackers_export_is_read_as_a_law_reads_it(plan):
    rows = rows_of(plan, status="FINISHED", Name="bold-fox", num_params=lambda rows: rows.num_params.map("{:_}".format))
    rows = rows.assign(num_tokens=rows.num_tokens / 1e9, train_loss=9.0).rename(columns=TRACKED)
    results, unmatched = match_runs(plan, rows)
    assert unmatched == []
    assert [result.experiment_id for result in results] == [item.experiment_id for item in plan.experiments]
    assert [result.loss for result in results] == [2.0 + index / 10 for index in range(8)]


def test_units_columns_and_kinds_of_loss_are_given_as_for_a_law(plan):
    rows = rows_of(plan).assign(num_tokens=lambda rows: rows.num_tokens / 1e6, other=lambda rows: -rows.loss)
    results, unmatched = match_runs(
        plan, rows, units={"num_tokens": 1e6}, columns={"loss": "other"}, loss_kind="reward", loss_offset=1.0
    )
    assert unmatched == []
    assert results[0].loss == pytest.approx(3.0)
    with pytest.raises(FitError, match="units name 'tokens'"):
        match_runs(plan, rows, units={"tokens": 1e6})


def test_a_size_that_is_called_as_one_of_our_quantities_stays_the_size():
    items = [Experiment(f"e{d}", 1e17, d, 100 * d, 1000, size_param="d") for d in (8, 16)]
    plan = SweepPlan(items, "Model", "d", [1e17])
    rows = pd.DataFrame(
        [{"d": item.size_param_value, "tokens": item.num_tokens, "loss": 2.0} for item in plan.experiments]
    )
    results, unmatched = match_runs(plan, rows)
    assert (len(results), unmatched) == (len(plan.experiments), [])


def test_another_unit_is_named_with_what_to_type(plan):
    first = plan.experiments[0]
    assert "--units num_tokens=1e+06" in left_out(plan, num_tokens=first.num_tokens / 1e6)
    assert "--units num_params=1000" in left_out(plan, num_params=first.num_params / 1e3)
    with pytest.raises(FileError, match=r"needs the column loss; .* if so, give --columns loss=train_loss"):
        match_runs(plan, rows_of(plan).rename(columns={"loss": "train_loss"}))


@pytest.mark.parametrize("loss", [0, -3.2])
def test_a_loss_that_no_law_can_be_fitted_to_is_left_out_with_an_offset(plan, loss):
    reason = left_out(plan, loss=loss)
    assert f"loss = {loss} is not above 0, and no law can be fitted to it" in reason
    assert f"--loss-offset {1 - loss:g}" in reason


def test_every_run_finds_its_experiment_whatever_the_order(plan):
    results, unmatched = match_runs(plan, rows_of(plan).iloc[::-1])
    assert unmatched == []
    by_id = {result.experiment_id: result for result in results}
    assert len(by_id) == 8
    for index, item in enumerate(plan.experiments):
        result = by_id[item.experiment_id]
        assert (result.loss, result.seed, result.source) == (2.0 + index / 10, item.seed, "imported")
        assert result.flops == pytest.approx(6 * item.num_params * item.num_tokens)
        assert ExperimentResult.from_dict(result.to_dict()) == result


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_from_files_too(plan, tmp_path, suffix):
    frame, path = rows_of(plan), tmp_path / f"runs.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=suffix == "jsonl")
    results, unmatched = match_runs(plan, path)
    assert (len(results), unmatched) == (8, [])


def test_by_the_size_alone_and_by_the_id_alone():
    study = own_study()
    plan = planned(study)
    first = plan.experiments[0]
    for given in ({"size_param_value": first.size_param_value}, {"experiment_id": first.experiment_id}):
        table = pd.DataFrame([given | {"num_tokens": first.num_tokens, "loss": 2.0}])
        assert [result.experiment_id for result in match_runs(plan, table)[0]] == [first.experiment_id]


def test_tokens_may_be_two_percent_off_and_count_as_they_are(plan):
    tokens = round(plan.experiments[0].num_tokens * 0.981)
    ((result,), _) = match_runs(plan, rows_of(plan).head(1).assign(num_tokens=tokens))
    assert result.num_tokens == tokens
    assert result.flops == pytest.approx(6.0 * result.num_params * tokens)


def test_what_does_not_fit_is_left_out_with_the_reason(plan):
    first = plan.experiments[0]
    tokens = round(first.num_tokens * 1.03)
    assert f"num_tokens = {tokens:,} where the nearest planned are {first.num_tokens:,}" in left_out(
        plan, num_tokens=tokens
    )
    assert "+3.0%, more than 2%" in left_out(plan, num_tokens=tokens)
    assert "num_params = 17 is in no experiment of the plan" in left_out(plan, num_params=17)
    assert "seed = 5 is in no experiment of the plan that fits otherwise; planned are 0, 1" in left_out(plan, seed=5)
    assert "loss is not given" in left_out(plan, loss=None)
    assert "loss = inf is not finite" in left_out(plan, loss=float("inf"))
    assert "loss = 'two' is no number" in left_out(plan, loss="two")
    assert "status = 'failed'; only completed and diverged runs are taken" in left_out(plan, status="failed")
    assert "flops = 2e+17 where" in left_out(plan, flops=2e17)
    assert "experiment_id = other is in no experiment" in left_out(plan, experiment_id="other")


def test_a_second_run_of_an_experiment_is_left_out(plan):
    twice = pd.concat([rows_of(plan).head(1)] * 2)
    results, (second,) = match_runs(plan, twice)
    assert len(results) == 1
    assert (second.row, second.reason) == (2, f"row 1 is the same experiment, {plan.experiments[0].experiment_id}")


def test_a_diverged_run_is_taken_as_such(plan):
    ((result,), _) = match_runs(plan, rows_of(plan).head(1).assign(status="diverged", loss=None, num_tokens=1000))
    assert (result.status, result.loss, result.num_tokens) == ("diverged", None, 1000)
    assert result.is_final


@pytest.mark.parametrize("column", ["loss", "num_tokens", "num_params"])
def test_a_table_without_a_column_is_refused(plan, column):
    with pytest.raises(FileError, match=f"needs the column (one of )?{column}.*; it has "):
        match_runs(plan, rows_of(plan).drop(columns=column))


def test_results_written_before_there_were_imports_load(tmp_path, plan):
    old = match_runs(plan, rows_of(plan))[0][0].to_dict()
    del old["source"]
    assert ExperimentResult.from_dict(old).source == "trained"


def test_imported_runs_say_nothing_of_how_fast_this_machine_is(plan):
    results, _ = match_runs(plan, rows_of(plan, seconds=3.0))
    assert results[0].seconds == 3.0
    assert estimate(plan, Hardware(), results).basis == estimate(plan, Hardware()).basis


@pytest.fixture
def flops_fit(tmp_path, monkeypatch):
    """Runs the command in `tmp_path`."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def study_rows(path, experiments):
    return pd.DataFrame(
        [
            {"width": item.size_param_value, "num_tokens": item.num_tokens, "loss": 1.0 + 1e3 / item.num_params}
            for item in experiments
        ]
    )


@pytest.mark.slow
def test_imported_trainings_are_done_and_only_the_others_are_trained(flops_fit, tmp_path, monkeypatch):
    path = write_study(tmp_path)
    study = Study.from_toml(path)
    experiments = study_plan(study, study_size_map(study)).experiments
    table = study_rows(path, experiments[:5])
    table.loc[5] = [999, 17, 2.0]
    table.to_csv("runs.csv", index=False)

    imported = flops_fit("import", "runs.csv")
    assert imported.exit_code == 2, imported.output
    assert "imported 5 of 8 experiments" in imported.output
    assert "row 6 is left out: width = 999 is in no experiment of the plan" in imported.output
    files = result_files(tmp_path)
    assert files.keys() == {item.experiment_id for item in experiments[:5]}
    assert {json.loads(text)["source"] for _, text in files.values()} == {"imported"}

    monkeypatch.setenv("COLUMNS", "120")
    shown = flops_fit("plan")
    assert shown.output.count("imported") == 5
    assert "3 still to train" in shown.output

    with open_instance(tmp_path, 2) as instance:
        latest = latest_materialization(instance, StudySource.of(path, home=tmp_path).key("sweep_plan"))
        states = [record.data["when planned"] for record in latest.metadata["plan table"].records]
        assert sorted(states) == ["imported"] * 5 + ["to train"] * 3
        latest = latest_materialization(instance, StudySource.of(path, home=tmp_path).key("training_run"))
        assert latest.metadata["source"].value == "imported"

    made = materializations(tmp_path)
    outcome = run(path, tmp_path)
    after = result_files(tmp_path)
    assert {name: after[name] for name in files} == files, "nothing is trained again, nothing set aside"
    assert not list(tmp_path.glob("tiny/runs/*/*.unusable*"))
    assert len(after) == 8
    trained = {name for name in outcome.done if name in outcome.results}
    assert trained == {item.experiment_id for item in experiments[5:]}
    change = {name: count - made[name] for name, count in materializations(tmp_path).items()}
    assert change == {"size_map": 0, "sweep_plan": 0, "experiment": 0, "training_run": 3, "scaling_law": 1}
    assert {run.loss for run in outcome.results.values()} >= {1.0 + 1e3 / item.num_params for item in experiments[:5]}
    assert not run(path, tmp_path).done


def test_results_that_are_there_stay(flops_fit, finished_home, tmp_path):
    path = finished_home / "study.toml"
    before, made = result_files(tmp_path), materializations(tmp_path)
    study = Study.from_toml(path)
    study_rows(path, study_plan(study, study_size_map(study)).experiments).to_json("runs.json", orient="records")
    imported = flops_fit("import", "runs.json", str(path))
    assert imported.exit_code == 0, imported.output
    assert "imported 0 of 8 experiments\n8 had a result already, which stays: c300000-" in imported.output
    assert (result_files(tmp_path), materializations(tmp_path)) == (before, made)


def test_a_corrected_import_replaces_a_wrong_one_and_no_training(flops_fit, tmp_path):
    path = write_study(tmp_path)
    study = Study.from_toml(path)
    experiments = study_plan(study, study_size_map(study)).experiments
    rows = study_rows(path, experiments[:3])
    rows.assign(loss=rows.loss + 5).to_csv("wrong.csv", index=False)
    rows.to_csv("right.csv", index=False)
    assert flops_fit("import", "wrong.csv").exit_code == 0
    own = result_folder(tmp_path, experiments[2]) / "result.json"
    dataclasses.replace(ExperimentResult.load(own), source="trained").save(own)

    kept = flops_fit("import", "right.csv")
    assert "imported 0 of 8" in kept.output
    assert "to put these in the place of what was imported before: --replace" in " ".join(kept.output.split())
    made = materializations(tmp_path)["training_run"]
    replaced = flops_fit("import", "right.csv", "--replace")
    said = " ".join(replaced.output.split())
    assert replaced.exit_code == 0, replaced.output
    assert "imported 2 of 8 experiments 2 replace what was imported before:" in said
    assert "1 had a result already, which stays (trained here, or the same)" in said
    losses = {name: json.loads(text)["loss"] for name, (_, text) in result_files(tmp_path).items()}
    expected = dict(zip((item.experiment_id for item in experiments[:3]), rows.loss, strict=True))
    assert losses == expected | {experiments[2].experiment_id: expected[experiments[2].experiment_id] + 5}
    aside = list(tmp_path.glob("**/result.json.unusable"))
    assert len(aside) == 2, "what was replaced is kept"
    assert materializations(tmp_path)["training_run"] == made + 2
    again = flops_fit("import", "right.csv", "--replace")
    assert "imported 0 of 8" in again.output
    assert len(list(tmp_path.glob("**/result.json.unusable"))) == 2


def result_folder(home, experiment):
    (folder,) = home.glob(f"**/{experiment.experiment_id}/result.json")
    return folder.parent


def test_a_table_that_is_not_there_is_named(flops_fit, tmp_path):
    write_study(tmp_path)
    result = flops_fit("import", "nowhere.csv")
    assert result.exit_code == 1
    assert "nowhere.csv does not exist" in result.output


@pytest.mark.slow
def test_a_study_of_counts_alone_needs_no_training_at_all(flops_fit, tmp_path):
    """Planned here, trained elsewhere, fitted here."""
    Path("study.toml").write_text(
        'name = "tiny"\n[model]\nnum_params = [1e6, 1e9]\n[sweep]\ncompute_budgets = ["1e16", "1e17", "1e18"]\n'
    )
    study = Study.from_toml("study.toml")
    experiments = study_plan(study, study_size_map(study)).experiments
    assert study.model == ModelSpec.from_counts([1e6, 1e9])
    assert study.sweep == SweepOptions(compute_budgets=("1e16", "1e17", "1e18"))
    rows = [
        {
            "num_params": n.num_params,
            "num_tokens": n.num_tokens,
            "loss": 1.7 + 400 / n.num_params**0.34 + 410 / n.num_tokens**0.28,
        }
        for n in experiments
    ]
    pd.DataFrame(rows).to_json("runs.jsonl", orient="records", lines=True)
    assert flops_fit("import", "runs.jsonl").exit_code == 0
    done = flops_fit("run")
    assert done.exit_code == 0, done.output
    assert f"nothing had to be trained\n{len(rows)} of the {len(rows)} experiments are imported" in done.output


def test_runs_trained_elsewhere_are_refused_where_experiments_share_trunks():
    plan = plan_of(trunk_study())
    table = pd.DataFrame([{"num_params": 81, "num_tokens": 4115, "loss": 1.0}])
    with pytest.raises(
        StudyError, match=r"share trunks \(training\.share_trunk\), which runs trained elsewhere do not"
    ):
        match_runs(plan, table)
