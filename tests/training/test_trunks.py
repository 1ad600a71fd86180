"""Experiments that share a trunk: to the bit those of a training from the beginning, in any order, after any kill."""

import dataclasses
import itertools
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from tiny_study import tiny_study
from trunk_study import BUDGETS, PLAIN, longest_trunk, plan_of, trained_by_hand, trunk_study

from flops_fit import Recipe, SweepOptions, TrainerSpec, run_experiment
from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.errors import FileError, FlopsFitWarning, StudyError
from flops_fit.recipe.steps import plan_steps
from flops_fit.recipe.trunk import own_parts
from flops_fit.recipe.trunk_states import FOLDER
from flops_fit.results.results import results_frame
from flops_fit.training import loop
from flops_fit.training.evaluation import weights_sha256
from flops_fit.training.side_by_side import study_workers, train_all
from flops_fit.training.trunk import Trunk


class Killed(BaseException):
    """Stands in for a kill: nothing catches it, so nothing is tidied up."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Study, plan, and the result of every experiment trained from the beginning, in a folder of its own."""
    study, folder = trunk_study(), tmp_path_factory.mktemp("alone")
    plan = plan_of(study)
    results = [run_experiment(study, item, output_dir=folder / item.experiment_id) for item in plan.experiments]
    assert all(result.trunk_tokens == 0 for result in results)
    return study, plan, {result.experiment_id: result for result in results}


@pytest.fixture
def counted(monkeypatch):
    """Examples of every optimizer step since the list was last cleared."""
    seen, step = [], loop.TrainingLoop._step

    def counting(self, batch, factor):
        seen.append(len(batch[1]))
        return step(self, batch, factor)

    monkeypatch.setattr(loop.TrainingLoop, "_step", counting)
    return seen


def same(result, other):
    return (result.weights_sha256, result.loss, result.steps, result.flops) == (
        other.weights_sha256, other.loss, other.steps, other.flops,
    )  # fmt: skip


def states(folder, item):
    return sorted((folder / FOLDER / item.trunk).glob("*.safetensors"))


@pytest.mark.parametrize("last_first", [False, True])
def test_each_branch_is_to_the_bit_a_training_by_hand_from_its_first_step(tmp_path, last_first):
    study = trunk_study(**PLAIN)
    mine = longest_trunk(plan_of(study))
    assert len(mine) == 3
    order = mine[::-1] if last_first else mine
    results = [run_experiment(study, item, output_dir=tmp_path, siblings=mine) for item in order]
    for item, result in zip(order, results, strict=True):
        assert result.weights_sha256 == weights_sha256(trained_by_hand(item))
    assert [result.trunk_tokens > 0 for result in results] == [False, True, True]


@pytest.mark.parametrize("order", ["shortest first", "longest first", "mixed"])
def test_in_any_order_results_are_the_same_and_what_is_trained_is_what_the_plan_says(tmp_path, alone, counted, order):
    study, plan, whole = alone
    items = plan.experiments[::-1] if order == "longest first" else list(plan.experiments)
    items = items[1::2] + items[::2] if order == "mixed" else items
    planned, results = own_parts(study.training, plan.experiments), []
    total = sum(part.examples for part in planned.values())
    for item in items:
        results.append(run_experiment(study, item, output_dir=tmp_path, siblings=items))
        own = own_parts(study.training, plan.experiments, taken={r.experiment_id: r.trunk_tokens for r in results})
        assert sum(own[result.experiment_id].examples for result in results) == sum(counted)
        assert sum(own[result.experiment_id].steps for result in results) == len(counted)
        assert sum(part.examples for part in own.values()) == total, "what is done and what is left is the plan"
    assert all(same(result, whole[result.experiment_id]) for result in results)
    assert sum(counted) == total < 0.75 * sum(item.num_tokens for item in items)
    assert len(counted) == sum(part.steps for part in planned.values())
    assert sum(result.num_tokens - result.trunk_tokens for result in results) == sum(counted)
    assert sum(result.steps - result.trunk_steps for result in results) == len(counted)
    assert all(0 < result.own_seconds < result.seconds for result in results if result.trunk_tokens)
    if order == "longest first":
        assert all(result.own_share == pytest.approx(planned[result.experiment_id].share) for result in results)


def test_without_knowing_of_its_siblings_it_is_merely_dearer(tmp_path, alone, counted):
    study, plan, whole = alone
    short, middle, long = longest_trunk(plan)
    assert all(same(run_experiment(study, item, output_dir=tmp_path), whole[item.experiment_id])
               for item in (long, short, middle))  # fmt: skip
    steps = {item: own_parts(study.training, [item])[item.experiment_id].examples for item in (short, middle, long)}
    shared = run_steps(study, short).branch
    assert sum(counted) == steps[long] + steps[short] + steps[middle] - run_steps(study, short).end(shared)


def run_steps(study, item):
    return plan_steps(study.training, item, 1)


def test_another_budget_trains_only_its_increment(tmp_path, alone, counted):
    study, plan, whole = alone
    items = longest_trunk(plan)
    for item in items[:2]:
        run_experiment(study, item, output_dir=tmp_path, siblings=items[:2])
    counted.clear()
    result = run_experiment(study, items[2], output_dir=tmp_path)
    branch = run_steps(study, items[1]).branch
    assert len(counted) == run_steps(study, items[2]).steps - branch
    assert sum(counted) == result.num_tokens - run_steps(study, items[1]).end(branch)
    assert same(result, whole[result.experiment_id])


@pytest.mark.parametrize(
    ("where", "checkpoint_seconds"),
    [
        ("in the trunk", 0.05),
        ("in the trunk", 1000.0),
        ("at the branch", 1000.0),
        ("after it", 0.05),
        ("after it", 1e3),
    ],
)
def test_killed_and_resumed_it_has_the_same_bits(tmp_path, alone, monkeypatch, where, checkpoint_seconds):
    study, plan, whole = alone
    study = dataclasses.replace(
        study, training=dataclasses.replace(study.training, checkpoint_seconds=checkpoint_seconds)
    )
    short, middle, long = longest_trunk(plan)
    run_experiment(study, short, output_dir=tmp_path, siblings=[middle, long])
    steps, step = run_steps(study, long), loop.TrainingLoop._step
    last = {"in the trunk": steps.branch - 3, "at the branch": steps.branch, "after it": steps.branch + 5}[where]

    def killed(self, batch, factor):
        if self.progress.step == last:
            raise Killed
        return step(self, batch, factor)

    monkeypatch.setattr(loop.TrainingLoop, "_step", killed)
    with pytest.raises(Killed):
        run_experiment(study, long, output_dir=tmp_path, siblings=[short, middle])
    monkeypatch.setattr(loop.TrainingLoop, "_step", step)
    resumed = run_experiment(study, long, output_dir=tmp_path, siblings=[short, middle])
    assert same(resumed, whole[long.experiment_id])
    assert resumed.trunk_tokens == run_steps(study, short).end(run_steps(study, short).branch), "its own is its own"
    assert same(run_experiment(study, middle, output_dir=tmp_path), whole[middle.experiment_id])


def test_the_trunk_of_one_that_was_killed_serves_the_others(tmp_path, alone, monkeypatch, counted):
    study, plan, whole = alone
    short, middle, long = longest_trunk(plan)
    step, last = loop.TrainingLoop._step, run_steps(study, middle).branch + 2

    def killed(self, batch, factor):
        if self.progress.step == last and self.job.experiment == long:
            raise Killed
        return step(self, batch, factor)

    monkeypatch.setattr(loop.TrainingLoop, "_step", killed)
    with pytest.raises(Killed):
        run_experiment(study, long, output_dir=tmp_path, siblings=[short, middle])
    counted.clear()
    assert same(run_experiment(study, middle, output_dir=tmp_path), whole[middle.experiment_id])
    steps = run_steps(study, middle)
    assert len(counted) == steps.steps - steps.branch, "of which only its own end is trained"


def test_a_trunk_that_is_gone_or_damaged_is_trained_again(tmp_path, alone):
    study, plan, whole = alone
    short, middle, long = longest_trunk(plan)
    for item in (short, middle):
        run_experiment(study, item, output_dir=tmp_path)
    _, second = states(tmp_path, long)
    content = bytearray(second.read_bytes())
    content[-5] ^= 1
    second.write_bytes(content)
    with pytest.warns(FlopsFitWarning, match=r"is damaged .*kept as .*unusable, the trunk is trained again"):
        result = run_experiment(study, long, output_dir=tmp_path)
    assert same(result, whole[long.experiment_id])
    steps = run_steps(study, short)
    assert result.trunk_tokens == steps.end(steps.branch), "from the one before it"
    shutil.rmtree(tmp_path / FOLDER)
    (tmp_path / long.experiment_id / "result.json").unlink()
    again = run_experiment(study, long, output_dir=tmp_path)
    assert same(again, whole[long.experiment_id])
    assert again.trunk_tokens == 0


@pytest.mark.parametrize("damage", [b"\xa5\x81 no text\n", None])
def test_a_damaged_log_of_a_trunk_costs_the_log_alone(tmp_path, alone, damage):
    study, plan, whole = alone
    short, middle, _ = longest_trunk(plan)
    run_experiment(study, short, output_dir=tmp_path, siblings=[middle])
    (state, *_) = states(tmp_path, short)
    log = state.with_suffix(".jsonl")
    log.unlink() if damage is None else log.write_bytes(damage)
    with pytest.warns(FlopsFitWarning, match="is damaged; kept as") if damage else nullcontext():
        result = run_experiment(study, middle, output_dir=tmp_path)
    assert same(result, whole[middle.experiment_id])
    assert result.trunk_tokens > 0


def test_two_at_once_train_their_trunk_once(tmp_path, alone, counted):
    study, plan, whole = alone
    mine, reached = longest_trunk(plan), threading.Event()
    random_states = torch.get_rng_state()
    with (
        ThreadPoolExecutor() as side
    ):  # torch's generator is the process's: only the second draws while the first waits
        held = side.submit(hold_trunk, tmp_path, mine[0], reached)
        assert reached.wait(30)
        waiting = side.submit(run_experiment, study, mine[0], output_dir=tmp_path)
        assert not waiting.done()
        held.result()
        assert same(waiting.result(), whole[mine[0].experiment_id])
    torch.set_rng_state(random_states)
    assert len(counted) == run_steps(study, mine[0]).steps


def hold_trunk(folder, item, reached):
    with Trunk.of(item, folder).lock():
        reached.set()
        threading.Event().wait(0.7)


def test_side_by_side_and_again_from_nothing(tmp_path, alone):
    """Two processes, siblings known: the sum of what was trained is the plan's; `resume=False` trains trunks again."""
    _, plan, whole = alone
    study, how = trunk_study(workers=2), {"output_dir": tmp_path, "progress": False}
    own = sum(part.examples for part in own_parts(study.training, plan.experiments).values())
    with study_workers(study, 2) as workers:
        for resume in (True, False):
            results = train_all(study, plan.experiments, resume=resume, workers=workers, **how)
            assert all(same(result, whole[result.experiment_id]) for result in results)
            assert sum(result.num_tokens - result.trunk_tokens for result in results) == own
    frame = results_frame(results)
    assert set(frame["trunk"]) == {item.trunk for item in plan.experiments}
    assert frame["trunk_tokens"].sum() == frame["num_tokens"].sum() - own


def test_a_trunk_that_cannot_be_removed_is_not_gone_on_from_in_silence(tmp_path, alone, monkeypatch, counted):
    study, plan, _ = alone
    (item, *_) = longest_trunk(plan)
    run_experiment(study, item, output_dir=tmp_path)
    removed = os.unlink

    def held(path, *rest, **more):
        if str(path).endswith(".safetensors"):
            raise PermissionError(13, "Permission denied", str(path))
        removed(path, *rest, **more)

    counted.clear()
    monkeypatch.setattr(os, "unlink", held)
    with pytest.raises(
        FileError, match=r"trunks/width\d+.* cannot be removed \(.*Permission denied.*nothing was trained.*`rm -r "
    ):
        train_all(study, [item], output_dir=tmp_path, resume=False, progress=False)
    assert not counted
    monkeypatch.undo()
    shutil.rmtree(tmp_path / FOLDER)
    (result,) = train_all(study, [item], output_dir=tmp_path, resume=False, progress=False)
    assert result.trunk_tokens == 0


def test_its_log_goes_back_to_the_first_step(tmp_path, alone):
    study, plan, _ = alone
    items = longest_trunk(plan)
    for item in items:
        run_experiment(study, item, output_dir=tmp_path, siblings=items)
        lines = (tmp_path / item.experiment_id / "log.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps[0] == 1
        assert steps[-1] == run_steps(study, item).steps
        assert all(after > before for before, after in itertools.pairwise(steps))


def test_seeds_have_trunks_of_their_own(tmp_path, alone):
    study, plan, _ = alone
    (item, *_) = longest_trunk(plan)
    other = dataclasses.replace(item, experiment_id="other-seed", seed=1)
    assert other.trunk != item.trunk
    results = [run_experiment(study, each, output_dir=tmp_path, siblings=[item, other]) for each in (item, other)]
    assert results[0].loss != results[1].loss
    assert results[1].trunk_tokens == 0


def test_one_of_no_plan_is_trained_on_its_own(tmp_path, alone):
    study, plan, _ = alone
    item = dataclasses.replace(plan.experiments[0], experiment_id="own", recipe_tokens=None, outcome_fingerprint="")
    result = run_experiment(study, item, output_dir=tmp_path)
    assert (result.status, result.trunk) == ("completed", "")
    assert not (tmp_path / FOLDER).exists()


def test_what_cannot_share_is_refused_by_name():
    shared = Recipe(schedule="wsd", share_trunk=True)
    with pytest.raises(StudyError, match=r"share_trunk = true with sweep\.check_learning_rate"):
        tiny_study(training=shared, sweep=SweepOptions(compute_budgets=BUDGETS, check_learning_rate=True))
    with pytest.raises(StudyError, match=r"share_trunk = true with a \[trainer\]"):
        tiny_study(training=shared, trainer=TrainerSpec(command="train.py {result_path}"), data=None, loss=None)
    with pytest.raises(StudyError, match=r"share_trunk = true with \[adaptive\]"):
        tiny_study(training=shared, adaptive=AdaptiveOptions(target_budget=1e9, total_compute=1e8))
