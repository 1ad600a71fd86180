"""Several held-out sets: every result has the loss on each, the law is of one, and of the others on request."""

import dataclasses
import json
import math

import pytest
import torch
from played_trials import PlayedTuning, as_the_rule_says, best_rate
from tiny_study import OPTIONS, TinyMLP, examples, experiment, held_out, tiny_study, train
from torch.nn import functional
from torch.utils.data import TensorDataset

from flops_fit import (
    DataSpec,
    ExperimentResult,
    Recipe,
    Study,
    SweepPlan,
    find_optimal,
    fit_scaling_law,
    run_experiment,
)
from flops_fit.all_measured import with_all_measured
from flops_fit.errors import FitError, FlopsFitWarning, StudyError
from flops_fit.results.results import load_results, results_frame
from flops_fit.stages import fit_study, study_plan
from flops_fit.study.named_sets import judged, lacking_sets

BUDGETS = [4e6, 8e6, 1.6e7]


def noisy():
    """The same task with a third of the labels drawn anew: another loss for the same model."""
    inputs, labels = examples(1000, seed=2).tensors
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(0, 4, labels.shape, generator=generator)
    return TensorDataset(inputs, torch.where(torch.rand(1000, generator=generator) < 1 / 3, drawn, labels))


def study_with(held_out_sets, **more):
    return tiny_study(data=DataSpec(train=train, eval=held_out_sets, **more))


SETS = {"clean": held_out, "noisy": noisy}


# -- what a result holds ---------------------------------------------------------------------------------------------


def test_a_result_has_the_loss_on_every_set_and_the_first_is_that_of_a_single_one(tmp_path):
    one = run_experiment(study_with(held_out), experiment(), output_dir=tmp_path / "one")
    two = run_experiment(study_with(SETS), experiment(), output_dir=tmp_path / "two")
    assert two.weights_sha256 == one.weights_sha256
    assert (two.loss, two.losses["clean"]) == (one.loss, one.loss)
    assert two.losses.keys() == two.measured_by.keys() == {"clean", "noisy"}
    written = ExperimentResult.load(tmp_path / "two" / two.experiment_id / "result.json")
    assert written == two
    assert written.losses == two.losses


def test_each_loss_is_the_mean_over_the_examples_of_its_set(tmp_path):
    """Both sets, of 2,000 and 1,000 examples, by a model whose logits are always 0, ln 4, or by their labels' share."""
    constant = {name: TensorDataset(*make().tensors) for name, make in SETS.items()}
    study = dataclasses.replace(study_with(constant), model=dataclasses.replace(tiny_study().model, factory=Shares))
    result = run_experiment(study, experiment(num_tokens=64), output_dir=tmp_path)
    for name, dataset in constant.items():
        share = torch.bincount(dataset.tensors[1], minlength=4).double() / len(dataset)
        expected = -(share * torch.log_softmax(torch.tensor(LOGITS).double(), 0)).sum().item()
        assert result.losses[name] == pytest.approx(expected, rel=1e-5)


LOGITS = [0.0, 1.0, -1.0, 2.0]


class Shares(torch.nn.Module):
    """The same logits whatever it sees; nothing in it learns."""

    def __init__(self, width):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(width))

    def forward(self, inputs):
        return torch.tensor(LOGITS).expand(len(inputs), 4) + 0 * self.unused.sum()


def test_results_of_a_single_set_are_written_as_before(tmp_path):
    result = run_experiment(study_with(held_out), experiment(), output_dir=tmp_path)
    content = json.loads((tmp_path / result.experiment_id / "result.json").read_text())
    assert not {"losses", "measured_by", "metrics"} & content.keys()
    assert not [name for name in results_frame([result]).columns if name.startswith("loss_")]


def test_the_table_of_runs_has_a_column_for_each(tmp_path):
    result = run_experiment(study_with(SETS), experiment(), output_dir=tmp_path)
    row = results_frame([result]).iloc[0]
    assert (row["loss"], row["loss_clean"], row["loss_noisy"]) == (
        result.loss, result.losses["clean"], result.losses["noisy"],
    )  # fmt: skip


def test_a_loss_that_is_not_finite_names_its_set(tmp_path):
    bad = TensorDataset(torch.full((4, 6), math.nan), torch.zeros(4, dtype=torch.int64))
    result = run_experiment(study_with({"clean": held_out, "bad": bad}), experiment(), output_dir=tmp_path)
    assert result.status == "diverged"
    assert "held-out loss on bad is nan" in result.reason


# -- ids -------------------------------------------------------------------------------------------------------------


def test_ids_are_those_of_a_study_with_the_first_set_alone():
    one = study_with(held_out)
    for same in (study_with({"clean": held_out}), study_with(SETS), study_with(SETS, eval_for_law="noisy")):
        assert same.outcome_fingerprint() == one.outcome_fingerprint()
    assert study_with({"noisy": noisy, "clean": held_out}).outcome_fingerprint() != one.outcome_fingerprint()


def fewer():
    return examples(500, seed=5)


def test_a_plan_is_another_where_the_sets_or_the_one_of_the_law_are():
    prints = [
        study_with(sets, **more).sweep_fingerprint()
        for sets, more in (
            (held_out, {}), (SETS, {}), (SETS, {"eval_for_law": "noisy"}), ({"clean": held_out, "noisy": fewer}, {}),
        )
    ]  # fmt: skip
    assert len(set(prints)) == 4


# -- what may be given -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "more", "said"),
    [
        ({}, {}, "data.eval has no set"),
        ({"a b": held_out}, {}, "must be a letter followed by"),
        ({"web": None}, {}, "data.eval.web is None"),
        (SETS, {"eval_for_law": "nosy"}, "did you mean 'noisy'"),
        (held_out, {"eval_for_law": "web"}, "is for held-out sets by name"),
        ({"web": "data/web.bin"}, {}, "data.eval.web = 'data/web.bin' is a path; set context"),
    ],
)
def test_what_cannot_be_a_set_is_refused(sets, more, said):
    with pytest.raises(StudyError, match=said.replace("(", r"\(")):
        study_with(sets, **more)


def test_the_training_data_as_a_set_is_said():
    dataset = examples(100)
    with pytest.warns(FlopsFitWarning, match="eval_dataset 'seen' is the training data itself"):
        _ = tiny_study(data=DataSpec(train=dataset, eval={"clean": held_out, "seen": dataset})).prepared_data


FILE = """
[model]
factory = "tiny_study:TinyMLP"
size_param = "width"
max_size = 64
[data]
train = "tiny_study:train"
eval_for_law = "other"
[data.eval]
clean = "tiny_study:held_out"
other = {other}
[loss]
fn = "flops_fit.loss:cross_entropy"
[sweep]
compute_budgets = [2e6, 4e6]
[hardware]
device = "cpu"
"""


def test_a_study_file_names_sets_in_a_table(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(FILE.format(other='"tiny_study:held_out"'))
    study = Study.from_toml(path)
    assert list(study.data.eval_sets) == ["clean", "other"]
    assert study.data.law_set == "other"
    assert study.outcome_fingerprint() == Study.from_toml(_single(tmp_path)).outcome_fingerprint()
    for wrong, said in (('"nowhere"', r"\[data.eval\] other = 'nowhere'"), ("3", r"\[data.eval\] other = 3")):
        path.write_text(FILE.format(other=wrong))
        with pytest.raises(StudyError, match=said):
            Study.from_toml(path)


def _single(folder):
    text = FILE.replace('eval_for_law = "other"', 'eval = "tiny_study:held_out"')
    lines = [line for line in text.splitlines() if line.split(" ")[0] not in ("[data.eval]", "clean", "other")]
    path = folder / "single.toml"
    path.write_text("\n".join(lines))
    return path


# -- the law of each set -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned():
    study = study_with(SETS)
    from tiny_study import tiny_size_map

    return study, study_plan(study, tiny_size_map(), overrides={"compute_budgets": BUDGETS})


def made(study, plan, losses):
    """Results of all of the plan whose losses are those of the laws in `losses`, by name (E, A, alpha, B, beta)."""
    found = []
    for item in plan.experiments:
        values = {
            name: E + A / item.num_params**alpha + B / item.num_tokens**beta
            for name, (E, A, alpha, B, beta) in losses.items()
        }
        found.append(
            ExperimentResult.of(
                item, num_tokens=item.num_tokens, flops=item.planned_flops, status="completed",
                loss=values["clean"], losses=values, measured_by=dict(study.measured_by),
            )
        )  # fmt: skip
    return found


LAWS = {"clean": (1.0, 3.0, 0.5, 20.0, 0.5), "noisy": (2.0, 8.0, 0.5, 20.0, 0.5)}


def test_the_law_of_each_set_is_that_of_its_losses(planned):
    study, plan = planned
    results = made(study, plan, LAWS)
    for name, (E, A, alpha, B, beta) in LAWS.items():
        law = fit_study(study, plan, results, eval_set=name)
        assert law.options["held_out_set"] == name
        for found, true in zip((law.E, law.A, law.alpha, law.B, law.beta), (E, A, alpha, B, beta), strict=True):
            assert found == pytest.approx(true, rel=0.02)
    assert fit_study(study, plan, results).E == fit_study(study, plan, results, eval_set="clean").E
    other = study_with(SETS, eval_for_law="noisy")
    assert fit_study(other, plan, results).E == fit_study(study, plan, results, eval_set="noisy").E
    with pytest.raises(StudyError, match="eval_set = 'nois' is none of the study's held-out sets; did you mean"):
        fit_study(study, plan, results, eval_set="nois")


def test_one_table_has_the_optima_of_all_sets(planned):
    """At C = 6ND: N_opt^alpha+beta = (A alpha / B beta) (C/6)^beta, of both sets by hand."""
    study, plan = planned
    results = made(study, plan, LAWS)
    law = with_all_measured(study, plan, results, fit_study(study, plan, results))
    rows = law.options["optima_by_set"]
    assert [row["set"] for row in rows] == ["clean", "clean", "noisy", "noisy"]
    for row in rows:
        E, A, alpha, B, beta = LAWS[row["set"]]
        per_token = law.flops_per_token(row["N_opt"])
        assert per_token * row["D_opt"] == pytest.approx(row["compute"], rel=1e-6)
        loss = E + A / row["N_opt"] ** alpha + B / row["D_opt"] ** beta
        assert row["loss"] == pytest.approx(loss, rel=2e-3)
        for other in (0.7, 1.4):  # no other size is better
            N = other * row["N_opt"]
            assert E + A / N**alpha + B / (row["compute"] / law.flops_per_token(N)) ** beta > loss
    larger = {row["set"]: row["N_opt"] for row in rows}
    assert larger["noisy"] / larger["clean"] == pytest.approx(8 / 3, rel=0.05), "N_opt goes with A^(1/(alpha+beta))"
    assert "held-out set   runs" in law.summary()
    assert law.held_out_sets_table().count("noisy") == 2
    again = type(law).from_dict(json.loads(json.dumps(law.to_dict())))
    assert again.held_out_sets_table() == law.held_out_sets_table()
    with pytest.raises(FitError, match="of one held-out set"):
        fit_scaling_law(results).held_out_sets_table()


def test_the_report_shows_the_table(planned, tmp_path):
    from flops_fit.report.report import report_html

    study, plan = planned
    results = made(study, plan, LAWS)
    law = with_all_measured(study, plan, results, fit_study(study, plan, results))
    page = report_html(law, "sets")
    assert "<h2>Held-out sets</h2>" in page
    assert "optima_by_set" not in page


def test_the_command_fits_the_set_that_is_asked_for(planned, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from flops_fit_assets.cli import main
    from flops_fit_assets.source import StudySource

    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    path = tmp_path / "study.toml"
    path.write_text(FILE.format(other='"tiny_study:held_out"'))
    source, (_, plan) = StudySource.of(path), planned
    source.store.write("sweep_plan", plan)
    for result in made(source.study, plan, {"clean": LAWS["clean"], "other": LAWS["noisy"]}):
        result.save(source.store.runs / result.experiment_id / "result.json")
    for asked, E in (([], 2), (["--eval-set", "clean"], 1), (["--eval-set", "other"], 2)):
        done = CliRunner().invoke(main, ["fit", str(path), *asked])
        assert done.exit_code == 0, done.output
        line = next(line for line in done.output.splitlines() if line.startswith("  E  "))
        assert float(line.split()[1]) == pytest.approx(E, rel=0.02)
        assert "have not finished" not in done.output
    (source.store.runs / plan.experiments[0].experiment_id / "result.json").unlink()
    done = CliRunner().invoke(main, ["fit", str(path), "--json"])
    assert f"1 of {len(plan.trainings)} trainings of {path} have not finished and are not in this law" in done.stderr
    assert json.loads(done.stdout)["runs"] == len(plan.experiments) - 1
    for wrong, said in (
        (["fit", str(path), "--eval-set", "othr"], "did you mean 'other'"),
        (["fit", str(path), "--fix", "E=1"], "--fix is for tables of runs"),
        (["fit", "runs.csv", "--eval-set", "web"], "loss=loss_web"),
    ):
        done = CliRunner().invoke(main, wrong)
        assert done.exit_code != 0
        assert said in done.output


def test_first_steps_look_at_every_set():
    from flops_fit.preflight.first_steps import try_experiment

    shapeless = TensorDataset(torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64))
    found = try_experiment(study_with({"clean": held_out, "odd": shapeless}), experiment(), torch.device("cpu"))
    assert [problem.split(":")[0] for problem in found.problems] == ["held-out step"]


def test_imported_runs_bring_the_losses_and_metrics_whose_columns_they_have(planned):
    from flops_fit.results.matching import match_runs
    from flops_fit.study.named_sets import measured_columns

    _, plan = planned
    study = study_with(SETS, metrics={"share": right})
    results = [
        dataclasses.replace(item, metrics={"share_clean": 0.5, "share_noisy": 0.25}) for item in made(study, plan, LAWS)
    ]
    table = results_frame(results).drop(columns="status")
    found, unmatched = match_runs(plan, table, measured_columns(study))
    assert not unmatched
    assert [(item.losses, item.metrics) for item in found] == [(item.losses, item.metrics) for item in results]
    assert {tuple(sorted(item.measured_by.items())) for item in found} == {tuple(sorted(study.measured_by.items()))}
    law = fit_study(study, plan, found, eval_set="noisy")
    assert abs(law.E - LAWS["noisy"][0]) < 0.04
    (first, *_), _ = match_runs(plan, table.drop(columns=["loss_noisy", "share_noisy"]), measured_columns(study))
    assert (first.losses.keys(), first.metrics.keys()) == ({"clean"}, {"share_clean"})
    assert match_runs(plan, table)[0][0].losses == {}


# -- a set that was added, or whose data changed, after trainings ended ----------------------------------------------


def test_results_without_a_set_are_left_out_of_its_law_and_said(planned):
    study, plan = planned
    results = made(study, plan, LAWS)
    early = [dataclasses.replace(item, losses={}, measured_by={}) for item in results[:2]]
    law = fit_study(study, plan, early + results[2:], eval_set="noisy")
    assert len(law.runs) == len(results) - 2
    assert "it ended before held-out set noisy was added" in law.runs.excluded[0].reason
    finding = next(item for item in law.diagnostics if item.code == "not_on_this_set")
    assert finding.message.startswith(f"2 of {len(results)} results have no loss on noisy")
    assert "name noisy first in [data.eval]" in finding.remedy
    assert len(fit_study(study, plan, early + results[2:]).runs) == len(results), "the first set's loss is there"


def test_a_loss_on_other_data_of_that_name_is_none(planned):
    study, plan = planned
    results = [
        dataclasses.replace(item, measured_by={**item.measured_by, "noisy": "0" * 16})
        for item in made(study, plan, LAWS)
    ]
    assert lacking_sets(study, results)[0].startswith(
        f"{len(results)} of {len(results)} results have no loss on noisy (its loss on noisy is of other data"
    )
    with pytest.raises(
        FitError, match=r"none of .* runs can be used .*of other data than noisy has now.*trained again"
    ):
        fit_study(study, plan, results, eval_set="noisy")
    law = with_all_measured(study, plan, results, fit_study(study, plan, results))
    assert [row.get("why", "") for row in law.options["optima_by_set"]][-1].startswith("none of")
    assert any(item.code == "not_on_this_set" for item in law.diagnostics)


@pytest.mark.slow
def test_in_one_call_a_set_is_added_and_the_law_moved_to_another(tmp_path):
    def whole(sets, **more):
        return find_optimal(
            TinyMLP, "width", None, train(), functional.cross_entropy, BUDGETS,
            eval_dataset=sets, output_dir=tmp_path, **OPTIONS | more,
        )  # fmt: skip

    alone = whole(held_out())
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/result.json")}
    both = {"clean": held_out(), "noisy": noisy()}
    with pytest.warns(FlopsFitWarning, match="12 of 12 results have no loss on noisy"):
        law = whole(both)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/result.json")} == times
    assert (law.E, law.N_opt(1e8)) == (alone.E, alone.N_opt(1e8))
    plan = whole(both, train=False)
    assert isinstance(plan, SweepPlan)
    assert any("fitted to the loss on held-out set clean" in note for note in plan.notes)
    law = whole(both, resume=False)
    assert {row["set"] for row in law.options["optima_by_set"] if "N_opt" in row or "compute" in row} == set(both)
    losses = {result.losses["noisy"] for result in load_results(tmp_path / "runs")}
    assert set(whole(both, eval_for_law="noisy").runs.loss.tolist()) == losses


# -- metrics of a study ------------------------------------------------------------------------------------------------


def right(model, batch):
    return 1.0


def test_what_metrics_will_be_is_in_the_studys_law(planned):
    """The metric of the law's set is a known sigmoid of its loss, and so it is at the law's loss at other budgets."""
    _, plan = planned
    study = study_with(SETS, metrics={"share": right}, eval_for_law="noisy")

    def share(loss):
        return 0.1 + 0.8 / (1 + math.exp(4 * (loss - 2.9)))

    results = [
        dataclasses.replace(item, metrics={f"share_{name}": share(loss) for name, loss in item.losses.items()})
        for item in made(study, plan, LAWS)
    ]
    law = with_all_measured(study, plan, results, fit_study(study, plan, results))
    rows = law.options["metrics"]
    assert [row["metric"] for row in rows] == ["share_noisy"] * 2
    for row in rows:
        assert row["predicted"] == pytest.approx(share(law.L_opt(row["compute"])), abs=2e-3)
    older = [dataclasses.replace(item, measured_by={**item.measured_by, "share": "0" * 16}) for item in results]
    law = with_all_measured(study, plan, older, fit_study(study, plan, older))
    assert law.options["metrics"] == [{"metric": "share_noisy", "why": "no result has it as it is measured now"}]
    assert "no result has it as it is measured now" in law.summary()


# -- a recipe that is tuned -----------------------------------------------------------------------------------------


def tuned(**data):
    return dataclasses.replace(study_with(SETS, **data), training=Recipe(learning_rate="tune", weight_decay=0.0))


def test_trials_are_judged_by_the_set_of_the_law():
    first, other = tuned(), tuned(eval_for_law="noisy")
    assert other.tuning_fingerprint() != first.tuning_fingerprint() == tuned(eval_for_law="clean").tuning_fingerprint()
    alone = dataclasses.replace(first, data=DataSpec(train=train, eval=held_out))
    assert alone.tuning_fingerprint() == first.tuning_fingerprint(), "the first set is in it as a single one is"
    trial = dataclasses.replace(finished(experiment()), losses={"clean": 2.0, "noisy": 1.5}, loss=2.0)
    trial = dataclasses.replace(trial, measured_by=dict(other.measured_by))
    assert judged(first, {"a": trial})["a"].loss == 2.0
    assert judged(other, {"a": trial})["a"].loss == 1.5
    assert judged(alone, {"a": trial})["a"] is trial
    before = dataclasses.replace(trial, losses={}, measured_by={})
    assert judged(other, {"a": before})["a"].status == "failed"


def test_a_recipe_is_tuned_for_the_set_of_the_law():
    """Trials whose losses on the second set ask for a rate three times as high."""
    study = tuned(eval_for_law="noisy")
    story = PlayedTuning(study)
    while (now := story.look()).planned is not None:
        story.rounds = (*story.rounds, now.planned)
        ended = {item.experiment_id: on_two_sets(item, study) for item in now.planned.experiments}
        story.results |= judged(study, ended)
    N, D = story.design.largest
    low, high = now.found.law.interval("learning_rate", N, D)
    assert low < 3 * best_rate(N, D) < high
    assert not low < best_rate(N, D) < high


def on_two_sets(item, study):
    own = as_the_rule_says(item)
    if own.loss is None:
        return own
    rate = dict(item.tuned)["learning_rate"]
    far = math.log(rate / (3 * best_rate(item.num_params, item.num_tokens)))
    level = 1 + item.num_params**-0.3 + item.num_tokens**-0.3
    losses = {"clean": own.loss, "noisy": level * math.exp(0.03 * far**2)}
    return dataclasses.replace(own, losses=losses, measured_by=dict(study.measured_by))


def finished(item):
    return ExperimentResult.of(item, num_tokens=item.num_tokens, flops=item.planned_flops, status="completed", loss=1.0)
