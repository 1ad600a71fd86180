"""Losses on several held-out sets, and metrics, that a trainer of one's own reports: kept, validated, fitted to."""

import json
import math
import sys

import own_trainer
import pytest
from own_study import own_study, planned, run_first

from flops_fit import ModelSpec, Study, SweepOptions, run_experiment
from flops_fit.all_measured import with_all_measured
from flops_fit.errors import StudyError
from flops_fit.results.matching import match_runs
from flops_fit.results.results import results_frame
from flops_fit.stages import fit_study
from flops_fit.study.named_sets import held_out_note, lacking_sets, measured_columns
from flops_fit.study.sections import TrainerSpec
from flops_fit.training.by_command import read_report
from flops_fit.training.reported import BadReport

SETS = {"eval_sets": ("web", "code"), "metrics": ("accuracy",)}
MEASURED = {"losses": {"web": 3.0, "code": 2.0}, "metrics": {"accuracy": {"web": 0.3, "code": 0.5}}}


def writes(**report):
    """A command that reports this of the tokens that were planned."""
    code = (
        "import json,sys;r=json.loads(sys.argv[2]);r['num_tokens']=int(sys.argv[1]);json.dump(r,open(sys.argv[3],'w'))"
    )
    text = json.dumps(report).replace("{", "{{").replace("}", "}}")
    return f"{sys.executable} -S -c \"{code}\" {{num_tokens}} '{text}' {{result_path}}"


def reported(tmp_path, **report):
    experiment = planned(own_study()).experiments[0]
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"num_tokens": experiment.num_tokens, **report}))
    return path, experiment


def test_a_result_holds_the_losses_and_metrics_of_every_set(tmp_path):
    study = own_study(writes(**MEASURED), **SETS)
    result = run_first(study, tmp_path)
    assert (result.status, result.reason) == ("completed", None)
    assert result.loss == 3.0  # of the first set
    assert result.losses == {"web": 3.0, "code": 2.0}
    assert result.metrics == {"accuracy_web": 0.3, "accuracy_code": 0.5}
    assert set(result.measured_by) == {"web", "code", "accuracy"}
    row = results_frame([result]).iloc[0]
    assert (row.loss_code, row.accuracy_code) == (2.0, 0.5)
    assert not lacking_sets(study, [result])
    assert held_out_note(study) == (
        "the law is fitted to the loss on held-out set web; every new result also has the loss on code"
    )


def test_without_named_sets_a_metric_is_a_number(tmp_path):
    study = own_study(writes(loss=3.0, metrics={"accuracy": 0.25}), metrics=["accuracy"])
    result = run_first(study, tmp_path)
    assert (result.loss, result.losses, result.metrics) == (3.0, {}, {"accuracy": 0.25})


def test_what_the_study_does_not_name_is_kept_too(tmp_path):
    path, experiment = reported(
        tmp_path, loss=3, losses={"web": 3, "code": 2}, metrics={"f1": {"code": 1}, "mmlu": 0.3}
    )
    report = read_report(path, experiment)
    assert (report.losses, report.metrics) == ({"web": 3.0, "code": 2.0}, {"f1_code": 1.0, "mmlu": 0.3})


@pytest.mark.parametrize("loss", [0, -1.5])
def test_a_loss_that_no_law_can_be_fitted_to_is_refused_with_what_to_add(tmp_path, loss):
    path, experiment = reported(tmp_path, loss=loss)
    said = f"loss = {loss} is not above 0"
    with pytest.raises(BadReport, match=f"{said}.* add a number to all its losses, such as {1 - loss:g}, or change"):
        read_report(path, experiment)
    result = run_first(own_study(writes(loss=loss)), tmp_path)
    assert result.status == "failed"
    assert said in result.reason


def test_a_training_that_diverged_need_not_measure_anything(tmp_path):
    result = run_first(own_study(writes(loss=None), **SETS), tmp_path)
    assert (result.status, result.losses, result.metrics) == ("diverged", {}, {})


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_in_both_places_diverged(tmp_path, loss):
    path, experiment = reported(tmp_path, loss=math.nan, losses={"web": loss, "code": 2.0})
    assert read_report(path, experiment, *SETS.values()).loss is None
    path, experiment = reported(tmp_path, loss=math.nan, losses={"web": 3.0, "code": 2.0})
    with pytest.raises(BadReport, match=r"loss = nan in .*, and losses.web = 3.0"):
        read_report(path, experiment, *SETS.values())


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"loss": 3.0}, r"losses in .* has nothing and no web, which trainer.eval_sets names; report it"),
        ({**MEASURED, "losses": {"web": 3.0}}, "losses in .* has web and no code"),
        ({**MEASURED, "metrics": {}}, "metrics in .* has nothing and no accuracy, which trainer.metrics names"),
        ({**MEASURED, "metrics": {"accuracy": {"web": 0.3}}}, r"metrics.accuracy in .* has web and no code"),
        ({**MEASURED, "metrics": {"accuracy": 0.3}}, r'accuracy = 0.3 in .* for each held-out set: \{"web": ...'),
        ({**MEASURED, "metrics": {"accuracy": {"web": 1, "code": 1, "c": 1}}}, "is for 'c', which has no loss"),
        ({**MEASURED, "losses": {"web": 3.0, "code": "low"}}, r"losses.code = 'low' in .* must be a finite number"),
        ({**MEASURED, "losses": {"web": 3.0, "code": True}}, r"losses.code = True in .* must be a finite number"),
        ({**MEASURED, "losses": {"web": 3.0, "code": math.nan}}, r"losses.code = nan in .* must be a finite number"),
        ({**MEASURED, "losses": {"web": 3.0, "code": 10**400}}, r"losses.code = 1000\d+ in .* must be a finite number"),
        ({**MEASURED, "losses": [3.0, 2.0]}, r"losses = \[3.0, 2.0\] in .* must be an object of numbers by name"),
        ({**MEASURED, "loss": 2.0}, r"loss = 2.0 in .*, and losses.web = 3.0: loss is that of the first"),
        ({**MEASURED, "losses": {"web": 3.0, "code": 2.0, "two words": 1.0}}, "a name in losses = 'two words' must be"),
        (
            {**MEASURED, "metrics": {**MEASURED["metrics"], "seed": {"web": 1, "code": 1}}},
            "'seed' has the name of a col",
        ),
    ],
)
def test_a_report_that_cannot_be_taken_is_refused_with_what_to_write(tmp_path, report, message):
    path, experiment = reported(tmp_path, **report)
    with pytest.raises(BadReport, match=message):
        read_report(path, experiment, *SETS.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eval_sets": "web"}, "trainer.eval_sets = 'web' must be a list of names"),
        ({"eval_sets": ["web", "web"]}, "has a name twice"),
        ({"eval_sets": ["two words"]}, "must be a letter followed by"),
        ({"eval_sets": ["web"], "eval_for_law": "wed"}, "'wed' is none of trainer.eval_sets; did you mean 'web'"),
        ({"eval_for_law": "web"}, "is none of trainer.eval_sets; name the sets in eval_sets"),
        ({"metrics": ["loss"]}, "'loss' has the name of a column of results"),
        ({"metrics": ["loss_web"]}, "has the name of a column of results"),
        ({"metrics": ["a", "a_b"], "eval_sets": ["b_c", "c"]}, "give the column a_b_c twice"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(given, message):
    with pytest.raises(StudyError, match=message):
        TrainerSpec(command="train", **given)


def test_ids_do_not_follow_from_what_is_reported():
    assert own_study(**SETS).outcome_fingerprint() == own_study().outcome_fingerprint()
    assert own_study(**SETS).sweep_fingerprint() != own_study().sweep_fingerprint()  # the law may be another


def test_the_law_is_of_the_set_that_is_named_for_it(tmp_path):
    """Of a trainer whose loss on code is that of the true law, and on web twice as high."""
    study = Study(
        name="own",
        model=ModelSpec.from_counts([1e5, 1e9]),
        sweep=SweepOptions(compute_budgets=("1e14", "1e15", "1e16"), num_sizes_per_budget=5),
        trainer=TrainerSpec(command="unused", eval_sets=("web", "code"), eval_for_law="code", metrics=("accuracy",)),
    )
    plan = planned(study)
    rows = [
        {"num_params": item.num_params, "num_tokens": item.num_tokens, "loss": 2 * loss, "loss_web": 2 * loss,
         "loss_code": loss, "accuracy_code": 1 / loss}
        for item in plan.experiments
        for loss in [own_trainer.noisy(item.num_params, item.num_tokens)]
    ]  # fmt: skip
    import pandas as pd

    results, unmatched = match_runs(plan, pd.DataFrame(rows), measured_columns(study))
    assert not unmatched
    law = fit_study(study, plan, results)
    assert law.L_opt(1e16) == pytest.approx(min(row["loss_code"] for row in rows), rel=0.02)
    assert fit_study(study, plan, results, eval_set="web").L_opt(1e16) == pytest.approx(2 * law.L_opt(1e16), rel=0.02)
    law = with_all_measured(study, plan, results, law)
    assert "| web |" in law.held_out_sets_table()
    assert "accuracy_code" in law.summary()


def test_results_of_before_a_set_was_named_are_left_out_with_what_to_do(tmp_path):
    before = run_first(own_study(writes(loss=3.0)), tmp_path)
    (said,) = lacking_sets(own_study(writes(loss=3.0), eval_sets=["code"]), [before])
    assert "1 of 1 results have no loss on code" in said
    assert "change version in [trainer]" in said
    again = own_study(writes(loss=3.0), eval_sets=["code"])
    kept = run_experiment(again, planned(again).experiments[0], output_dir=tmp_path)
    assert kept.losses == {}  # it is done: ids have not changed
