"""Nothing is trained, taken up or fitted that the plan was not made of."""

import dataclasses
import importlib
import math
import sys

import pytest
from tiny_study import TinyMLP, experiment, held_out, tiny_size_map, tiny_study, train

from flops_fit import DataSpec, ExperimentResult, Hardware, ModelSpec, Recipe, Study, run_experiment
from flops_fit.errors import FlopsFitWarning, SourceChanged
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.training import train_all

MODEL = """
import os, signal
from pathlib import Path
from tiny_study import TinyMLP, held_out, train

HERE = Path(__file__).parent

class Model(TinyMLP):
    def forward(self, inputs):
        if (HERE / "die").exists():
            (HERE / "die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0 * super().forward(inputs)
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose model is in a file of its own, trained by one worker process."""
    (tmp_path / "edited_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    sys.modules.pop("edited_model", None)
    importlib.invalidate_caches()
    model = importlib.import_module("edited_model").Model
    yield tiny_study(
        model=ModelSpec(factory=model, size_param="width", max_size=64), hardware=Hardware(device="cpu", workers=1)
    )
    sys.modules.pop("edited_model", None)


def planned(study):
    return study_plan(study, tiny_size_map() if study.model.factory is TinyMLP else study_size_map(study))


def losses(results):
    return {result.experiment_id: result.loss for result in results}


def test_a_successor_of_a_killed_worker_does_not_train_edited_source_under_the_old_ids(study, tmp_path):
    plan, ended = planned(study), []

    def edit_and_kill(event):
        ended.extend([event["experiment_id"]] if "status" in event else [])
        if len(ended) == 2 and "status" in event:
            path = tmp_path / "edited_model.py"
            path.write_text(MODEL.replace("1.0 * super", "0.0 * super"))
            (tmp_path / "die").touch()

    results = train_all(study, plan.experiments, output_dir=tmp_path / "runs", progress=False, on_log=edit_and_kill)
    completed = [result for result in results if result.status == "completed"]
    refused = [result for result in results if result.status != "completed"]
    assert len(completed) == 2
    assert all(result.loss < math.log(4) - 0.01 for result in completed)
    reason = r"edited_model:Model changed since; plan again"
    assert sum("edited_model:Model changed since; plan again" in result.reason for result in refused) >= 3, reason
    (tmp_path / "edited_model.py").write_text(MODEL)
    restored = train_all(study, plan.experiments, output_dir=tmp_path / "runs", progress=False)
    undisturbed = train_all(study, plan.experiments, output_dir=tmp_path / "undisturbed", progress=False)
    assert losses(restored) == losses(undisturbed)
    assert {result.outcome_fingerprint for result in restored} == {study.outcome_fingerprint()}


def test_an_experiment_of_another_study_is_refused_before_a_step_and_the_parts_are_named(tmp_path):
    plan = planned(tiny_study())
    other = tiny_study(training=Recipe(learning_rate=0.03), data=DataSpec(train=train, version="2"))
    with pytest.raises(SourceChanged, match="is not what its experiments were planned from: model, data, loss or reci"):
        run_experiment(other, plan.experiments[0], output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SourceChanged, match=r"planned from: recipe or trainer, data changed since; plan again"):
        other.refuse_unless_planned(plan.experiments[0].outcome_fingerprint, plan.made_from)
    assert run_experiment(other, experiment(), output_dir=tmp_path).status == "completed", "of no study: of any"


def test_a_plan_keeps_what_it_was_made_of_in_its_file():
    plan = planned(tiny_study())
    again = type(plan).from_dict(plan.to_dict())
    assert again == plan
    assert plan.made_from["tiny_study:TinyMLP"]
    assert {item.outcome_fingerprint for item in again.experiments} == {tiny_study().outcome_fingerprint()}


def test_a_result_trained_from_something_else_is_trained_again(tmp_path):
    first = planned(tiny_study()).experiments[0]
    result = run_experiment(tiny_study(), first, output_dir=tmp_path)
    path = tmp_path / first.experiment_id / "result.json"
    dataclasses.replace(result, outcome_fingerprint="0" * 64, loss=0.1).save(path)
    with pytest.warns(FlopsFitWarning, match=r"was trained from another model, data, loss or recipe.*trained again"):
        again = run_experiment(tiny_study(), first, output_dir=tmp_path)
    assert (again.loss, again.outcome_fingerprint) == (result.loss, first.outcome_fingerprint)


def test_a_law_leaves_out_what_was_trained_from_something_else_with_its_reason(tmp_path):
    study = tiny_study(sweep=dataclasses.replace(tiny_study().sweep, compute_budgets=(3e5, 6e5, 1.2e6)))
    plan = planned(study)
    results = train_all(study, plan.experiments, output_dir=tmp_path, progress=False)
    foreign = dataclasses.replace(results[0], outcome_fingerprint="0" * 64, loss=0.1)
    moved = dataclasses.replace(results[1], compute_budget=1e9)
    law = fit_study(study, plan, [foreign, moved, *results[2:]])
    left_out = {row.experiment_id: row.reason for row in law.runs.excluded}
    assert "trained from another model, data, loss or recipe" in left_out[foreign.experiment_id]
    assert "compute_budget = 1000000000.0 where 300000.0 is planned" in left_out[moved.experiment_id]
    assert len(law.runs.loss) == len(results) - 2


def test_the_law_counts_parameters_as_the_plan_does():
    """Another convention for N changes no training, so its result is kept, and counted anew."""
    plan = planned(tiny_study())
    first = plan.experiments[0]
    from flops_fit.results.finished import as_planned

    old = ExperimentResult.of(
        first, num_tokens=first.num_tokens, flops=first.planned_flops, status="completed", loss=1.0
    )
    fewer = {"num_params": first.num_params - 4, "flops_per_token": first.flops_per_token - 24.0}
    now = dataclasses.replace(first, tokens_per_param=None, **fewer)
    counted = as_planned(old, now)
    assert (counted.num_params, counted.flops) == (now.num_params, now.planned_flops)
    assert as_planned(old, first) == old


def test_data_that_is_drawn_anew_from_the_global_generators_is_known_all_the_same():
    import torch

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 100

        def __getitem__(self, index):
            return torch.randn(6), torch.tensor(index % 4)

    state = torch.get_rng_state()
    first, second = (tiny_study(data=DataSpec(train=Noisy(), eval=held_out)).outcome_fingerprint() for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_the_code_of_datasets_and_collate_functions_counts(tmp_path):
    from streams import Stream
    from torch.utils.data import DataLoader

    def fingerprint(**options):
        return Study(
            name="tiny",
            model=ModelSpec(factory=TinyMLP, size_param="width"),
            data=DataSpec(train=DataLoader(Stream(100), **options), eval=held_out, tokens_per_example=1),
            sweep=tiny_study().sweep,
        ).outcome_fingerprint()

    plain = fingerprint()
    assert fingerprint() == fingerprint(batch_size=7) == plain, "batches are the recipe's"
    assert fingerprint(collate_fn=lambda examples: examples) != plain
