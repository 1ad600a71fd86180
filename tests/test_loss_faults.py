"""What people give first and torch refuses in words of its own, or does not refuse: the cause, and what to write."""

import functools
from contextlib import nullcontext

import pytest
import torch
from tiny_study import TinyMLP, experiment, tiny_study
from torch import nn
from torch.nn import functional
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from flops_fit import DataSpec, LossSpec, ModelSpec
from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.errors import DataError, LossError
from flops_fit.loss import batch_loss, cross_entropy, model_loss, validate_loss_fn
from flops_fit.preflight.first_steps import try_experiment
from flops_fit.training import evaluation
from flops_fit.training.evaluation import held_out_loss, refuse_endless
from flops_fit.training.mean_loss import doubt_of_mean

CLASSES, LENGTH, BATCH = 4, 5, 8
ROWS = torch.arange(BATCH * 6).view(BATCH, 6).float() / 50
IDS = torch.arange(BATCH * LENGTH).view(BATCH, LENGTH) % CLASSES


class Logits(nn.Module):
    """Tokens (B, T) → logits (B, T, classes), or those of the last place."""

    def __init__(self, last=False):
        super().__init__()
        self.table, self.last = nn.Embedding(CLASSES, CLASSES), last

    def forward(self, tokens):
        logits = self.table(tokens)
        return logits[:, -1] if self.last else logits


class Lightning(nn.Module):
    def training_step(self, batch, batch_idx):
        raise AssertionError("not with a loss_fn of its own")

    def configure_optimizers(self):
        return None


class TwoInputs(nn.Linear):
    def forward(self, x, y):
        return functional.cross_entropy(super().forward(x), y)


LINE = nn.Linear(6, 1)
MLP = TinyMLP(8)
HALF = nn.Linear(6, 1).to(torch.bfloat16)
NORMED = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize(
    ("model", "batch", "loss_fn", "message"),
    [
        (MLP, (ROWS.double(), IDS[:, 0]), cross_entropy, r"data holds float64, which NumPy makes, .*tensor.float\(\)"),
        (LINE, (ROWS, ROWS[:, :1].double()), nn.MSELoss(), None),  # torch promotes it
        (MLP, (ROWS, IDS[:, 0].int()), cross_entropy, r"targets are int32, and classes are int64.*targets.long\(\)"),
        (MLP, (ROWS, IDS[:, 0] + 3), cross_entropy, r"a target is \d, and classes are counted from 0"),
        (Logits(), (IDS, IDS), nn.CrossEntropyLoss(), r"classes in the second place.*flops_fit.loss:cross_entropy"),
        (Logits(last=True), (IDS, IDS), cross_entropy, r"\(8, 4\) for targets of \(8, 5\): one prediction an example"),
        (LINE, (ROWS, ROWS[:, 0]), nn.MSELoss(), r"\(8, 1\) and targets of \(8,\) would be broadcast.*squeeze\(-1\)"),
        (LINE, (ROWS, ROWS[:, 0]), functools.partial(functional.huber_loss, delta=0.5), "would be broadcast"),
        (MLP, (ROWS, ROWS[:, 0]), nn.MSELoss(), r"return \(8,\), or give targets of \(8, \d\)$"),
        (LINE, (ROWS, ROWS[None, :, :1]), nn.L1Loss(), r"agree: targets.reshape\(outputs.shape\)$"),
        (MLP, (ROWS, torch.ones(BATCH, CLASSES).long()), nn.BCEWithLogitsLoss(), r"int64, .*give targets.float\(\)"),
        (MLP, (ROWS, IDS[:, 0]), lambda logits, targets: cross_entropy(logits, targets).item(), r"without \.item\(\)"),
        (MLP, (ROWS, ROWS), cross_entropy, None),
        (MLP, (ROWS.byte(), IDS[:, 0]), cross_entropy, r"data holds uint8, .*images.float\(\) / 255"),
        (MLP, (ROWS, IDS[:, :1]), nn.CrossEntropyLoss(), r"one class an example; give targets.squeeze\(-1\)"),
        (MLP, (ROWS, IDS[:, 0].float()), cross_entropy, r"targets are float32, and classes are int64"),
        (MLP, (ROWS, ("cat",) * BATCH), nn.CrossEntropyLoss(), "targets are text, such as 'cat'; give each class"),
        (HALF, (ROWS, ROWS[:, :1]), nn.MSELoss(), r'are bfloat16, .*float32: precision = "bfloat16" in \[training'),
        (Lightning(), (ROWS, IDS[:, 0]), cross_entropy, "Lightning has a training_step and no forward: .*model_loss"),
        (TwoInputs(6, 1), (ROWS, IDS[:, 0]), cross_entropy, "TwoInputs wants y besides the inputs; if .*model_loss"),
        (NORMED, (ROWS[:1], IDS[:1, 0]), cross_entropy, "batch normalisation needs two examples in a step"),
    ],
)  # fmt: skip
def test_what_a_loss_cannot_take_is_told_with_what_to_write(model, batch, loss_fn, message):
    if message is None:
        try:
            batch_loss(model, batch, loss_fn)
        except LossError as error:
            pytest.fail(f"nothing is known of it, yet it says: {error}")
        except (RuntimeError, ValueError, IndexError):
            return
        return
    with pytest.raises(LossError, match=message):
        batch_loss(model, batch, loss_fn)


def test_inputs_of_two_types_are_told_of_models_with_a_loss_of_their_own_too():
    class Own(TinyMLP):
        def forward(self, inputs, labels):
            return functional.cross_entropy(super().forward(inputs), labels)

    with pytest.raises(LossError, match="data holds float64"):
        batch_loss(Own(8), (ROWS.double(), IDS[:, 0]), model_loss)


@pytest.mark.parametrize(
    "loss_fn",
    [nn.CrossEntropyLoss(reduction="sum"), functools.partial(functional.cross_entropy, reduction="sum")],
)
def test_a_loss_that_adds_up_is_refused(loss_fn):
    with pytest.raises(LossError, match='has reduction = "sum", so that it grows with the batch'):
        validate_loss_fn(loss_fn)
    validate_loss_fn(functools.partial(functional.cross_entropy, label_smoothing=0.1))


# -- a loss that is no mean ----------------------------------------------------------------------------------------


def added_up(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="sum")


def all_with_all(outputs, targets):
    return ((outputs - targets) ** 2).mean()


def test_a_loss_that_is_no_mean_over_its_targets_is_doubted():
    targets = IDS[:, 0]
    assert doubt_of_mean(MLP, (ROWS, targets), cross_entropy) is None
    assert "the loss of 8 examples together is" in doubt_of_mean(MLP, (ROWS, targets), added_up)
    far = ROWS[:, 0] * 10
    line = nn.Linear(6, 1)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[10.0, 0, 0, 0, 0, 0]]))
    assert "broadcast" in doubt_of_mean(line, (ROWS, far), all_with_all)
    assert doubt_of_mean(line, (ROWS, far[:, None]), all_with_all) is None


@pytest.mark.parametrize("ignored", [0, 3, 7])
def test_targets_that_are_not_counted_make_no_doubt(ignored):
    targets = IDS.clone()
    targets[:ignored] = -100
    targets[ignored, 2:] = -100
    assert doubt_of_mean(Logits(), (IDS, targets), cross_entropy) is None


def test_what_draws_at_random_or_fails_on_one_example_is_not_doubted():
    class Noisy(TinyMLP):
        def forward(self, inputs):
            return super().forward(inputs + torch.randn_like(inputs))

    assert doubt_of_mean(Noisy(8), (ROWS, IDS[:, 0]), added_up) is None
    squeezed = lambda outputs, targets: functional.cross_entropy(outputs.squeeze(0), targets)  # noqa: E731
    assert doubt_of_mean(MLP, (ROWS, IDS[:, 0]), squeezed) is None
    model = TinyMLP(8, dropout=0.5).train()
    assert doubt_of_mean(model, (ROWS, IDS[:, 0]), cross_entropy) is None
    assert model.training


def test_it_is_said_before_anything_is_trained():
    trial = try_experiment(tiny_study(loss=LossSpec(fn=added_up)), experiment(), torch.device("cpu"))
    assert not trial.problems
    assert "is the mean over their targets one by one" in trial.doubts[0]
    assert try_experiment(tiny_study(), experiment(), torch.device("cpu")).doubts == ()


# -- data that is not read as it was meant -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [WeightedRandomSampler([1.0] * 50, 50), SubsetRandomSampler(range(10)), RandomSampler(range(50), replacement=True)],
)
def test_a_sampler_that_chooses_examples_is_refused(sampler):
    rows = TensorDataset(torch.randn(50, 6), torch.zeros(50).long())
    with pytest.raises(DataError, match=rf"a {type(sampler).__name__}, which would not be used.*Subset\(dataset"):
        open_examples(DataLoader(rows, sampler=sampler))
    assert open_examples(DataLoader(rows, shuffle=True)).num_examples == 50


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield ROWS[0], IDS[0, 0]


def test_a_held_out_stream_without_an_end_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(evaluation, "_MOST_OF_STREAM", 1000)
    message = "the held-out stream gave 1,000 examples and did not end; give its first ones alone"
    with pytest.raises(DataError, match=message):
        refuse_endless(open_examples(Endless()))
    with pytest.raises(DataError, match=message):
        held_out_loss(
            MLP, open_examples(Endless()), cross_entropy, 64, torch.device("cpu"), torch.inference_mode(False)
        )
    study = tiny_study(data=DataSpec(train=tiny_study().data.train, eval=Endless()))
    (problem,) = try_experiment(study, experiment(), torch.device("cpu")).problems
    assert problem.startswith("reading held-out data: ")
    assert "did not end" in problem


@pytest.mark.parametrize(("most", "is_refused"), [(100, False), (99, True)])
def test_a_held_out_stream_that_ends_is_read_to_its_end(monkeypatch, most, is_refused):
    class Hundred(IterableDataset):
        def __iter__(self):
            return iter([(ROWS[0], IDS[0, 0])] * 100)

    monkeypatch.setattr(evaluation, "_MOST_OF_STREAM", most)
    examples = open_examples(Hundred())
    with pytest.raises(DataError, match="did not end") if is_refused else nullcontext():
        refuse_endless(examples)
    with pytest.raises(DataError, match="did not end") if is_refused else nullcontext():
        held_out_loss(MLP, examples, cross_entropy, 33, torch.device("cpu"), torch.inference_mode(False))


def test_a_study_that_cannot_take_its_loss_says_so_when_it_is_planned():
    from flops_fit.stages import study_size_map

    rows = TensorDataset(torch.randn(50, 6), torch.zeros(50, CLASSES).long())
    study = tiny_study(
        model=ModelSpec(factory=TinyMLP, size_param="width", max_size=16, flops="measured"),
        data=DataSpec(train=rows, version="1"),
        loss=LossSpec(fn=nn.BCEWithLogitsLoss, kwargs={}),
    )
    with pytest.raises(TypeError, match=r"give targets.float\(\)"):
        study_size_map(study)


@pytest.mark.parametrize("what", [None, object(), slice(1)])
def test_examples_of_which_no_batch_can_be_made_are_named(what):
    with pytest.raises(DataError, match=r"examples hold <class '\w+'>, of which torch makes no batch; make tensors"):
        open_examples([(ROWS[0], what)] * 9).first(2)


def test_rows_of_numbers_that_are_lists_are_refused():
    rows = [(row.tolist(), 1) for row in ROWS]
    with pytest.raises(
        DataError, match=r"6 numbers, of which torch makes 6 inputs; make them tensors: torch.tensor\(row\)$"
    ):
        prepare_data(rows)
