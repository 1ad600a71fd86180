"""Several trainings at once: each as if alone but for rounding, and no trouble of one another's."""

import dataclasses
import functools
import json
import math
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from stacks_of_models import (
    Batchnormed,
    Conditional,
    Counting,
    Deadly,
    Exact,
    ExactCNN,
    Late,
    Normalised,
    OwnLoss,
    Reading,
    Remembering,
    Tied,
    Unsaved,
    Unused,
    noisy_examples,
    of_two_lengths,
    with_text,
)
from tiny_study import TinyMLP, experiment, held_out, tiny_study, train
from torch.utils.data import DataLoader, TensorDataset

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Recipe
from flops_fit.examples import tiny_gpt
from flops_fit.loss import cross_entropy, model_loss
from flops_fit.training.checkpoint import said_by_state
from flops_fit.training.loop import Job
from flops_fit.training.run_log import LOG_FILE
from flops_fit.training.side_by_side import train_all
from flops_fit.training.stacked.advance import advance
from flops_fit.training.stacked.decision import Decision, in_words
from flops_fit.training.stacked.groups import grouped_in_words, stacks_of
from flops_fit.training.stacked.trial import decide
from flops_fit.training.training_run import run_experiment

RECIPE = {"learning_rate": 0.02, "batch_tokens": 32, "weight_decay": 0.1}
CHECKPOINT = "checkpoint.safetensors"


def study_of(model=TinyMLP, at_once=8, kwargs=None, train=train, loss=torch.nn.functional.cross_entropy, **recipe):
    return tiny_study(
        model=ModelSpec(factory=model, size_param="width", kwargs=kwargs or {}, max_size=64),
        data=DataSpec(train=train, eval=held_out),
        loss=LossSpec(fn=loss),
        training=Recipe(**RECIPE | recipe),
        hardware=Hardware(device="cpu", workers=1, trainings_per_device=at_once),
    )


def collated(function):
    """A study whose batches `function` makes, with a model that takes them whole."""
    study = study_of(OwnLoss, loss=model_loss)
    loader = functools.partial(DataLoader, batch_size=8, collate_fn=function)
    data = DataSpec(train=lambda: loader(train()), eval=lambda: loader(held_out()))
    return dataclasses.replace(study, data=data)


def some(count=3, tokens=500, width=8, **changes):
    name = f"c1e+06-width{width}-{tokens}"
    made = [experiment(num_tokens=tokens, width=width, seed=at, name=f"{name}-s{at}") for at in range(count)]
    return [dataclasses.replace(item, **changes) for item in made]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(study, experiments, folder, at_once=True):
    """Their results, and what was decided about training them at once."""
    decided = advance(study, experiments, output_dir=folder) if at_once else None
    return [run_experiment(study, item, output_dir=folder) for item in experiments], decided


def assert_same(study, experiments, tmp_path, rel=1e-5):
    """At once as alone, whatever of it is told."""
    together, decided = trained(study, experiments, tmp_path / "together")
    alone, _ = trained(study, experiments, tmp_path / "alone", at_once=False)
    assert decided is not None
    assert decided.at_once == len(experiments), decided.why
    for one, other in zip(together, alone, strict=True):
        assert one.status == other.status == "completed", one.reason
        assert (one.stacked, other.stacked) == (len(experiments), 0)
        assert one.loss == pytest.approx(other.loss, rel=rel)
        assert one.train_loss == pytest.approx(other.train_loss, rel=rel)
        same = ("experiment_id", "steps", "num_tokens", "flops", "learning_rate", "batch_examples", "epochs", "seed")
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
    return together, alone


def log_of(folder, item):
    return [json.loads(line) for line in (Path(folder) / item.experiment_id / LOG_FILE).read_text().splitlines()]


def test_seeds_at_once_are_as_alone(tmp_path):
    experiments = some(4)
    together, _ = assert_same(study_of(), experiments, tmp_path)
    assert len({result.loss for result in together}) == 4, "each from its own weights and order"
    for item in experiments:
        mine, its = (log_of(tmp_path / kind, item) for kind in ("together", "alone"))
        assert [line["step"] for line in mine] == [line["step"] for line in its]
        assert [line["loss"] for line in mine] == pytest.approx([line["loss"] for line in its], rel=1e-4)
        assert [line["learning_rate"] for line in mine] == [line["learning_rate"] for line in its]
        assert not (tmp_path / "together" / item.experiment_id / CHECKPOINT).exists(), "as after any training"


def test_rates_weight_decays_and_schedules_of_one_seed_at_once_are_as_alone(tmp_path):
    study = study_of(learning_rate="tune", weight_decay="tune", warmup_fraction="tune", final_fraction="tune")
    values = [(0.001, 0.0, 0.1, 0.0), (0.02, 0.3, 0.1, 0.0), (0.02, 0.3, 0.3, 0.2), (0.05, 0.3, 0.1, 0.1)]
    names = ("learning_rate", "weight_decay", "warmup_fraction", "final_fraction")
    experiments = [
        dataclasses.replace(item, seed=0, tuned=tuple(zip(names, own, strict=True)))
        for item, own in zip(some(4), values, strict=True)
    ]
    assert [len(stack) for stack in stacks_of(study, experiments)] == [4]
    together, _ = assert_same(study, experiments, tmp_path)
    assert len({result.loss for result in together}) == 4


@pytest.mark.parametrize("clip", [0.01, None])
def test_each_gradient_is_clipped_by_its_own_norm(tmp_path, clip):
    assert_same(study_of(gradient_clip=clip), some(3, tokens=600), tmp_path)


def test_several_epochs_with_batches_across_their_ends(tmp_path):
    few = functools.partial(noisy_examples, 100, 0.0)
    study = dataclasses.replace(study_of(train=few), sweep=dataclasses.replace(study_of().sweep, max_epochs=8.0))
    together, _ = assert_same(study, some(3, tokens=700), tmp_path)
    assert [result.epochs for result in together] == [7.0] * 3


@pytest.mark.parametrize("model", [Tied, Batchnormed])
def test_tied_weights_and_running_statistics(tmp_path, model):
    together, alone = assert_same(study_of(model), some(3, tokens=600), tmp_path)
    assert all(one.loss == pytest.approx(other.loss, rel=1e-5) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("model", [Exact, ExactCNN])
def test_in_double_precision_every_step_is_as_alone(tmp_path, model):
    experiments = some(3, tokens=2000)
    assert_same(study_of(model, gradient_clip=0.5), experiments, tmp_path, rel=1e-9)
    for item in experiments:
        mine, its = ([line["loss"] for line in log_of(tmp_path / kind, item)] for kind in ("together", "alone"))
        assert mine == pytest.approx(its, rel=1e-9)


def test_models_that_compute_their_own_loss(tmp_path):
    assert_same(study_of(OwnLoss, loss=model_loss), some(3, tokens=600), tmp_path)


def test_batches_made_by_a_function_of_the_users(tmp_path):
    def collate(items):
        return {"inputs": torch.stack([item[0] for item in items]), "labels": torch.stack([item[1] for item in items])}

    study = collated(collate)
    assert_same(study, some(2, tokens=400), tmp_path)


def test_a_transformer(tmp_path):
    torch.manual_seed(0)
    rows = torch.randint(0, 128, (400, 17))
    data, held = (TensorDataset(part[:, :-1], part[:, 1:]) for part in (rows[:300], rows[300:]))
    study = tiny_study(
        model=ModelSpec(factory=tiny_gpt.TinyGPT, size_param="width", kwargs={"num_layers": 1}),
        data=DataSpec(train=data, eval=held),
        loss=LossSpec(fn=cross_entropy),
        training=Recipe(**RECIPE | {"batch_tokens": 16 * 8, "learning_rate": 0.003}),
        hardware=Hardware(device="cpu", workers=1, trainings_per_device=4),
    )
    assert_same(study, some(2, tokens=16 * 200, width=16), tmp_path, rel=1e-4)


@pytest.mark.parametrize(
    ("study", "why"),
    [
        (lambda: study_of(kwargs={"dropout": 0.5}), "draw at random"),
        (lambda: study_of(train=functools.partial(noisy_examples, 60_000, 0.1)), "draw at random"),
        (lambda: study_of(Conditional), "vmap cannot run it"),
        (lambda: study_of(Unused), "spare.weight gets no gradient"),
        (lambda: study_of(Counting), "the loss is off by"),
        (lambda: study_of(Late), "the model's calls changes from step to step"),
        (lambda: study_of(Unsaved), "the model's seen changes"),
        (lambda: study_of(Remembering), "the model's seen changes"),
        (lambda: study_of(loss=Normalised()), "the loss's mean changes"),
        (lambda: study_of(Reading, train=with_text), "more than tensors"),
    ],
)
def test_what_cannot_be_at_once_is_trained_alone_and_says_why(tmp_path, study, why):
    experiments = some(2, tokens=200)
    results, decided = trained(study(), experiments, tmp_path)
    assert decided.at_once == 1
    assert why in decided.why
    assert [(result.status, result.stacked) for result in results] == [("completed", 0)] * 2


def test_a_trial_leaves_nothing_in_the_loss(tmp_path):
    experiments = some(2, tokens=200)
    tried, decided = trained(study_of(loss=Normalised()), experiments, tmp_path / "tried")
    never, _ = trained(study_of(loss=Normalised()), experiments, tmp_path / "never", at_once=False)
    assert decided.at_once == 1
    assert [(one.loss, one.weights_sha256) for one in tried] == [(one.loss, one.weights_sha256) for one in never]


def test_a_loss_that_cannot_be_copied_is_of_one_training_at_a_time(tmp_path):
    class Locked(torch.nn.CrossEntropyLoss):
        def __deepcopy__(self, memo):
            raise TypeError("cannot be copied")

    _, decided = trained(study_of(loss=Locked()), some(2, tokens=200), tmp_path)
    assert decided.why == "the loss cannot be copied (TypeError: cannot be copied)"


def test_where_batches_fall_out_of_shape_on_the_way_each_goes_on_alone(tmp_path):
    experiments = some(2, tokens=32 * 46)
    every = collated(functools.partial(of_two_lengths, -math.inf)).prepared_data.train
    of_trial = dataclasses.replace(every, indices=torch.arange(4096))  # 17 of its batches at most

    def sums(examples, count):
        readers = [examples.reader(at) for at in (0, 1)]
        return torch.tensor([[float(reader.read(32)["inputs"].sum()) for _ in range(count)] for reader in readers])

    limit = float(min(sums(of_trial, 20).min(), sums(every, 3).min()))
    assert (sums(every, 46) < limit).any(), "on the way"
    study = collated(functools.partial(of_two_lengths, limit - 0.01))
    together, decided = trained(study, experiments, tmp_path / "together")
    alone, _ = trained(study, experiments, tmp_path / "alone", at_once=False)
    assert decided.why == "on the way: batches differ in shape from one training to another"
    assert [result.stacked for result in together] == [2, 2], "until then"
    assert [one.loss for one in together] == pytest.approx([one.loss for one in alone], rel=1e-5)


def test_one_that_diverges_ends_no_other(tmp_path):
    study = study_of(learning_rate="tune", gradient_clip=None, checkpoint_seconds=0.0)
    rates = [0.02, 1e30, 0.01]
    experiments = [
        dataclasses.replace(item, tuned=(("learning_rate", rate),)) for item, rate in zip(some(3), rates, strict=True)
    ]
    together, decided = trained(study, experiments, tmp_path / "together")
    alone, _ = trained(study, experiments, tmp_path / "alone", at_once=False)
    assert decided.at_once == 3
    assert [result.status for result in together] == ["completed", "diverged", "completed"]
    assert together[1].reason.split(";")[0] == alone[1].reason.split(";")[0], "in the words of its own training"
    for one, other in zip(together[::2], alone[::2], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert math.isfinite(one.loss)


class Stopped(BaseException):
    """In place of a kill: nothing of ours catches it."""


def stop_at(step):
    def hook(event):
        if event.get("step", 0) >= step:
            raise Stopped

    return hook


def interrupted(study, experiments, folder, monkeypatch, step=12):
    """Trainings at once that end at about `step`, with a checkpoint after each."""
    monkeypatch.setattr("flops_fit.training.stacked.advance._LOG_SECONDS", 0.0)
    with pytest.raises(Stopped):
        advance(study, experiments, output_dir=folder, on_log=stop_at(step))


def test_what_was_interrupted_goes_on_at_once_or_alone(tmp_path, monkeypatch):
    study, experiments = study_of(checkpoint_seconds=0.0), some(4)
    interrupted(study, experiments, tmp_path / "again", monkeypatch)
    alone_again = run_experiment(study, experiments[0], output_dir=tmp_path / "again")
    rest, decided = trained(study, experiments[1:], tmp_path / "again")
    whole, _ = trained(study, experiments, tmp_path / "whole", at_once=False)
    assert decided.at_once == 3
    assert [item.stacked for item in (alone_again, *rest)] == [4, 4, 4, 4]
    for one, other in zip((alone_again, *rest), whole, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)


def ask_at(step, number):
    """Sends this process that signal at `step`, once."""
    asked = []

    def hook(event):
        if event.get("step") == step and not asked:
            asked.append(number)
            os.kill(os.getpid(), number)

    return hook


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_all_save_where_they_are_and_go_on_to_the_same_bits(tmp_path, monkeypatch, number):
    study, experiments = study_of(checkpoint_seconds=1e9), some(3)
    whole, _ = trained(study, experiments, tmp_path / "whole")
    monkeypatch.setattr("flops_fit.training.stacked.advance._LOG_SECONDS", 0.0)
    passed_on = []
    before = signal.signal(number, lambda *_: passed_on.append(number))
    try:
        decided = advance(study, experiments, output_dir=tmp_path / "again", on_log=ask_at(7, number))
    finally:
        signal.signal(number, before)
    assert passed_on == [number], "once all is saved"
    assert "asked to stop" in decided.why
    for item in experiments:
        assert [line["step"] for line in log_of(tmp_path / "again", item)][-1] == 7
        assert (tmp_path / "again" / item.experiment_id / CHECKPOINT).exists()
    again, _ = trained(study, experiments, tmp_path / "again")
    assert [(one.loss, one.weights_sha256) for one in again] == [(one.loss, one.weights_sha256) for one in whole]
    for item in experiments:
        steps = [[line["step"] for line in log_of(tmp_path / kind, item)] for kind in ("whole", "again")]
        assert steps[0] == steps[1]


@pytest.mark.slow
def test_who_leaves_a_pool_lets_a_stack_save(tmp_path):
    study, experiments = study_of(checkpoint_seconds=1e9, batch_tokens=1), some(3, tokens=59_000)  # about a minute

    def leave(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(study, experiments, output_dir=tmp_path, progress=False, on_log=leave)
    left = [said_by_state(tmp_path / item.experiment_id / CHECKPOINT) for item in experiments]
    (step,) = {json.loads(about["progress"])["step"] for about in left}
    assert 0 < step < 59_000
    assert [json.loads(about["progress"])["stacked"] for about in left] == [3, 3, 3]


def test_what_began_alone_goes_on_at_once(tmp_path):
    study, experiments = study_of(checkpoint_seconds=0.0), some(3)
    with pytest.raises(Stopped):
        run_experiment(study, experiments[0], output_dir=tmp_path / "again", on_log=stop_at(1))
    together, decided = trained(study, experiments, tmp_path / "again")
    whole, _ = trained(study, experiments, tmp_path / "whole", at_once=False)
    assert decided.at_once == 3
    for one, other in zip(together, whole, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_a_damaged_checkpoint_costs_its_own_training_alone(tmp_path, monkeypatch):
    study, experiments = study_of(checkpoint_seconds=0.0), some(3)
    interrupted(study, experiments, tmp_path, monkeypatch)
    damaged = tmp_path / experiments[1].experiment_id / CHECKPOINT
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is torn"):
        together, decided = trained(study, experiments, tmp_path)
    whole, _ = trained(study, experiments, tmp_path / "whole", at_once=False)
    assert decided.at_once == 3
    for one, other in zip(together, whole, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert [log_of(tmp_path, item)[0]["step"] for item in experiments] == [1, 1, 1]


def test_what_is_finished_or_held_by_others_is_left_out(tmp_path):
    study, experiments = study_of(), some(3, tokens=300)
    first = run_experiment(study, experiments[0], output_dir=tmp_path)
    results, decided = trained(study, experiments, tmp_path)
    assert decided.of == 2
    assert results[0] == first
    assert advance(study, experiments, output_dir=tmp_path) is None, "nothing is left"


def test_where_fewer_at_once_are_worth_it_none_is_left_over(tmp_path, monkeypatch):
    four = Decision(at_once=4, of=5, gain=1.3)
    monkeypatch.setattr("flops_fit.training.stacked.advance.decide", lambda *_: four)
    results, _ = trained(study_of(), some(5, tokens=200), tmp_path)
    assert sorted(result.stacked for result in results) == [2, 2, 3, 3, 3]


def test_a_trial_of_long_trainings_reads_few_examples(tmp_path):
    study = study_of(at_once=2)
    jobs = [
        Job(study=study, experiment=item, data=study.prepared_data, loss_fn=study.loss_function, directory=tmp_path,
            resume=True)
        for item in some(2, tokens=59_000)
    ]  # fmt: skip
    assert decide(jobs, torch.device("cpu"), 2).at_once == 2
    assert [*tmp_path.iterdir()] == [], "and writes nothing"


def test_without_resume_all_is_trained_again(tmp_path):
    study, experiments = study_of(), some(2, tokens=300)
    trained(study, experiments, tmp_path, at_once=False)
    assert advance(study, experiments, output_dir=tmp_path, resume=False).of == 2
    assert [run_experiment(study, item, output_dir=tmp_path).stacked for item in experiments] == [2, 2]


def test_who_watches_hears_of_each(tmp_path):
    events, experiments = [], some(2, tokens=300)
    advance(study_of(), experiments, output_dir=tmp_path, on_log=events.append)
    last = {event["experiment_id"]: event for event in events}
    assert sorted(last) == [item.experiment_id for item in experiments]
    assert all(event["step"] == event["steps"] and event["tokens"] == 300 for event in last.values())
    assert last[experiments[0].experiment_id]["loss"] != last[experiments[1].experiment_id]["loss"]


@pytest.mark.slow
def test_a_stack_whose_process_dies_is_tried_again_one_by_one(tmp_path, capfd):
    study, experiments = study_of(Deadly), some(3, tokens=300)
    results = train_all(study, experiments, output_dir=tmp_path)
    assert [(result.status, result.stacked) for result in results] == [("completed", 0)] * 3
    said = capfd.readouterr().err
    assert said.count("tried once more") == 3
    again = train_all(study_of(), some(3, tokens=300), output_dir=tmp_path / "sound")
    assert [result.stacked for result in again] == [3, 3, 3]
    assert "trained at once: 3 experiments" in capfd.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_sent_to_workers_is_trained_alone_and_says_why(tmp_path, capfd):
    class Unsendable(TinyMLP):
        lock = threading.Lock()

    with pytest.warns(UserWarning, match="in this process instead"):
        results = train_all(study_of(Unsendable), some(2, tokens=300), output_dir=tmp_path)
    assert [(result.status, result.stacked) for result in results] == [("completed", 0)] * 2
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("each is trained alone: worker processes cannot get the model, data or loss") == 1
    assert "tried at once" not in said


def test_groups_are_of_one_shape_and_share_the_workers():
    study = study_of(at_once="auto")
    experiments = [*some(20), *some(3, width=16), *some(1, tokens=2000)]
    stacks = stacks_of(study, experiments)
    assert [len(stack) for stack in stacks] == [10, 10, 3, 1]
    assert [item for stack in stacks for item in stack] == experiments
    two = dataclasses.replace(study, hardware=dataclasses.replace(study.hardware, workers=2))
    assert [len(stack) for stack in stacks_of(two, some(6))] == [3, 3], "no worker is idle"
    four = dataclasses.replace(study, hardware=dataclasses.replace(study.hardware, trainings_per_device=4))
    assert [len(stack) for stack in stacks_of(four, some(9))] == [3, 3, 3]
    little = dataclasses.replace(study, hardware=dataclasses.replace(study.hardware, memory_bytes=1e4))
    large = [dataclasses.replace(item, total_params=100) for item in some(8)]
    assert [len(stack) for stack in stacks_of(little, large)] == [2, 3, 3], "1,600 bytes each, doubled"


@pytest.mark.parametrize(
    ("study", "why"),
    [
        (lambda: study_of(optimizer=lambda model, rate, recipe: torch.optim.SGD(model.parameters(), lr=rate)), "AdamW"),
        (lambda: study_of(timeout_seconds=60.0), "timeout_seconds"),
        (lambda: study_of(schedule="wsd", share_trunk=True), "share_trunk"),
        (lambda: study_of(compile=True), "compile"),
    ],
)
def test_studies_whose_trainings_are_never_at_once(study, why):
    study = study()
    stacks = stacks_of(study, some(3))
    assert [len(stack) for stack in stacks] == [1, 1, 1]
    (line,) = grouped_in_words(study, stacks)
    assert line.startswith("each is trained alone: ")
    assert why in line


def test_it_is_said_what_comes_of_it():
    study, experiments = study_of(at_once="auto"), [*some(5), *some(1, tokens=2000)]
    said = ["tried at once: 5 of 6 experiments, in 1 group of up to 5"]
    assert grouped_in_words(study, stacks_of(study, experiments)) == said
    alone = [*some(1), *some(1, tokens=2000)]
    assert grouped_in_words(study, stacks_of(study, alone)) == [
        "each is trained alone: no two have the same size, tokens and batch, as several seeds would"
    ]
    assert grouped_in_words(study_of(at_once=1), [(item,) for item in alone]) == []
    for changes, why in (
        ({"workers": 3}, "there is a worker for each"),
        ({"memory_bytes": 10.0}, "no two of one size, tokens and batch fit into a worker's memory"),
    ):
        other = dataclasses.replace(study, hardware=dataclasses.replace(study.hardware, **changes))
        assert grouped_in_words(other, stacks_of(other, some(3, total_params=100))) == [f"each is trained alone: {why}"]
    decided = [
        Decision(at_once=8, of=16, gain=2.51),
        Decision(at_once=5, of=5, gain=1.5),
        Decision(at_once=1, of=3, why="it is slow"),
        Decision(at_once=1, of=2, why="it is slow"),
    ]
    assert [*in_words(decided)] == [
        "trained at once: 21 experiments, 5 to 8 at a time, a step 1.5 to 2.5 times as fast",
        "not trained at once: 5 experiments, since it is slow",
    ]
    assert [*in_words([])] == []


@pytest.mark.parametrize("value", [0, -1, 1.5, "all", True, None])
def test_a_number_of_trainings_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"hardware.trainings_per_device = .* must be"):
        Hardware(trainings_per_device=value)


def test_ids_do_not_follow_from_how_many_are_trained_at_once():
    assert study_of(at_once=1).outcome_fingerprint() == study_of(at_once="auto").outcome_fingerprint()
