"""A study that checks its learning rate: the checks are trained beside the grid, judged, and in no law."""

import dataclasses

import pytest
import torch
from tiny_study import OPTIONS, TinyMLP, examples, held_out, tiny_size_map, tiny_study

from flops_fit import Recipe, SweepOptions, find_optimal, load_runs, run_experiment
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_plan

BUDGETS = [1e6, 2e6, 4e6]


def found_in(folder, **options):
    given = {"dataset": examples(), "eval_dataset": held_out(), "loss_fn": torch.nn.functional.cross_entropy}
    return find_optimal(TinyMLP, "width", compute_budgets=BUDGETS, output_dir=folder, **OPTIONS | given | options)


def results_in(folder):
    return {path.name: ExperimentResult.load(path / "result.json") for path in (folder / "runs").iterdir()}


@pytest.mark.slow
def test_the_law_is_fitted_to_the_grid_alone_and_says_what_the_checks_found(tmp_path):
    plain = found_in(tmp_path)
    before = results_in(tmp_path)
    law = found_in(tmp_path, check_learning_rate=[1e6, 4e6])
    after = results_in(tmp_path)
    assert before.items() < after.items(), "what was there is as it was"
    new = [after[name] for name in after.keys() - before.keys()]
    assert sorted(result.learning_rate for result in new) == [0.01, 0.01, 0.04, 0.04]
    assert sorted(load_runs(tmp_path / "runs.csv")["experiment_id"]) == sorted(before)
    assert (law.E, law.alpha, law.a) == (plain.E, plain.alpha, plain.a)
    (said,) = {item.code for item in law.diagnostics} - {item.code for item in plain.diagnostics}
    assert said.startswith("learning_rate_")
    assert next(item for item in law.diagnostics if item.code == said).message in law.summary()
    found_in(tmp_path, check_learning_rate=[1e6, 4e6])
    assert results_in(tmp_path) == after, "nothing is trained again"


@pytest.mark.slow
def test_a_check_trains_at_its_own_rate_and_diverges_as_data(tmp_path):
    study = tiny_study(
        sweep=SweepOptions(compute_budgets=BUDGETS, check_learning_rate=[1e6]), training=Recipe(learning_rate=0.02)
    )
    plan = study_plan(study, tiny_size_map())
    low, high = (run_experiment(study, item, output_dir=tmp_path) for item in plan.checks)
    assert (low.learning_rate, high.learning_rate) == (0.01, 0.04)
    assert low.loss != high.loss
    wild = dataclasses.replace(plan.checks[1], tuned=(("learning_rate", 1e30),))
    result = run_experiment(study, dataclasses.replace(wild, experiment_id="wild"), output_dir=tmp_path)
    assert (result.status, result.loss) == ("diverged", None)
