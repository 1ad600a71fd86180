"""`pad`: examples of different lengths as one batch, counted and weighed as if each stood alone."""

import copy

import numpy as np
import pytest
import torch
from tiny_study import tiny_study
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, default_collate

from flops_fit import DataSpec, Experiment, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions, run_experiment
from flops_fit.basics.devices import autocast
from flops_fit.data.padding import Padding
from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.errors import DataError, FlopsFitWarning, StudyError
from flops_fit.loss import cross_entropy, model_loss
from flops_fit.training.evaluation import held_out_loss

VOCABULARY = 12


class Sentences(Dataset):
    """Rows of 2 to 9 tokens, each one more than the one before."""

    def __init__(self, count=200, *, form="pairs"):
        self.count, self.form = count, form

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        tokens = 1 + (index + torch.arange(self.length(index) + 1)) % (VOCABULARY - 1)
        if self.form == "pairs":
            return tokens[:-1], tokens[1:]
        return {"input_ids": tokens[:-1], "attention_mask": torch.ones_like(tokens[:-1]), "labels": tokens[1:]}

    @staticmethod
    def length(index):
        return 2 + index % 8


class Logits(nn.Module):
    """Logits of the next token from this one."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.logits = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY)

    def forward(self, input_ids, attention_mask=None):
        return self.logits(self.embed(input_ids))


def test_rows_get_as_long_as_the_longest_and_no_target_is_added():
    padding = Padding(token=11)
    inputs, targets = padding([Sentences()[index] for index in (0, 2)])
    assert inputs.tolist() == [[1, 2, 11, 11], [3, 4, 5, 6]]
    assert targets.tolist() == [[2, 3, -100, -100], [4, 5, 6, 7]]
    batch = padding([Sentences(form="labels")[index] for index in (0, 2)])
    assert batch["input_ids"].tolist() == inputs.tolist()
    assert batch["labels"].tolist() == targets.tolist()
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_rows_of_numpy_and_lists_are_filled_up_as_tensors_are():
    rows = [([1, 2], [2, 3]), ([3, 4, 5, 6], [4, 5, 6, 7])]
    expected = [tensor.tolist() for tensor in Padding(token=11)([tuple(map(torch.tensor, row)) for row in rows])]
    for made in (list, np.array):
        batch = Padding(token=11)([tuple(map(made, row)) for row in rows])
        assert [tensor.tolist() for tensor in batch] == expected


def test_what_has_one_shape_is_stacked_as_without_it():
    items = [(torch.arange(3), torch.tensor(number)) for number in range(4)]
    for one, other in zip(Padding(token=0)(items), default_collate(items), strict=True):
        assert torch.equal(one, other)
    labelled = Padding(token=0)([(torch.arange(2), torch.tensor(1)), (torch.arange(3), torch.tensor(0))])
    assert labelled[0].tolist() == [[0, 1, 0], [0, 1, 2]]
    assert labelled[1].tolist() == [1, 0]


def test_tokens_are_those_of_the_examples():
    data = prepare_data(Sentences(), Sentences(16), pad=0)
    assert data.tokens_per_example == sum(2 + index % 8 for index in range(200)) / 200
    assert data.tokens.varies
    assert not data.tokens.counts_padding


def test_held_out_loss_is_the_mean_over_all_targets_whatever_the_batch():
    torch.manual_seed(0)
    model, dataset = Logits(4), [Sentences()[index] for index in range(23)]
    alone = [functional.cross_entropy(model(inputs[None])[0], targets, reduction="sum") for inputs, targets in dataset]
    wanted = sum(alone).item() / sum(len(targets) for _, targets in dataset)
    examples = open_examples(dataset, padding=Padding(token=0))
    device = torch.device("cpu")
    for batch in (1, 5, 23):
        found = held_out_loss(model, examples, cross_entropy, batch, device, autocast("float32", device))
        assert found == pytest.approx(wanted, abs=1e-6)


def test_the_padding_token_changes_no_loss_of_a_model_that_looks_back_alone():
    model = Logits(4)
    items = [Sentences()[index] for index in range(9)]
    batches = [Padding(token=token)(items) for token in (0, 9)]
    losses = [cross_entropy(model(inputs), targets) for inputs, targets in batches]
    assert losses[0].item() == losses[1].item()


def test_reading_on_gives_the_same_batches():
    examples = open_examples(Sentences(), padding=Padding(token=0))
    reader, later = examples.reader(seed=3), examples.reader(seed=3, start=70)
    _, wanted = reader.read(70), reader.read(30)
    assert torch.equal(wanted[1], later.read(30)[1])


def test_a_study_trains_on_them_and_is_known_by_how_it_pads(tmp_path):
    def made(**data):
        return Study(
            name="padded",
            model=ModelSpec(factory=Logits, size_param="width", size_values=(4, 8)),
            data=DataSpec(train=Sentences(2000), eval=Sentences(40), **data),
            loss=LossSpec(fn=cross_entropy),
            sweep=SweepOptions(compute_budgets=(1e6,)),
            training=Recipe(learning_rate=0.05, batch_tokens=64),
            hardware=Hardware(device="cpu"),
        )

    experiment = Experiment(
        experiment_id="one", compute_budget=1e6, size_param="width", size_param_value=8, num_params=200,
        num_tokens=8000, flops_per_token=1200.0,
    )  # fmt: skip
    result = run_experiment(made(pad=0), experiment, output_dir=tmp_path)
    assert result.status == "completed", result.reason
    assert result.loss < 0.5
    assert made(pad=0).outcome_fingerprint() != made(pad=1).outcome_fingerprint()
    with pytest.raises(DataError, match=r"differ in shape.*\(pad = 0, in \[data\]\), a DataLoader with a collate_fn"):
        _ = made().prepared_data


def test_the_class_may_be_edited_and_ids_stay(monkeypatch):
    """It is known by its version and its values, not by its source."""
    data = prepare_data(Sentences(), Sentences(16), pad=3)
    assert data.code.training.endswith("Padding/1 Padding(token=3, ignored=-100)")
    again = copy.deepcopy(data.train.collate)
    assert again == Padding(token=3)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (DataLoader(Sentences(), collate_fn=list), "pad = 0 with a DataLoader whose"),
        ([(torch.ones(2, 3), torch.tensor(1)), (torch.ones(4, 3), torch.tensor(1))] * 9, r"\(2, 3\) and \(4, 3\)"),
        ([(torch.ones(2), torch.tensor(1)), (torch.ones(4), torch.tensor(1))] * 9, "pad fills rows of whole"),
    ],
)  # fmt: skip
def test_what_cannot_be_padded_is_refused_with_a_remedy(dataset, message):
    with pytest.raises(DataError, match=message):
        _ = prepare_data(dataset, dataset[:2] if isinstance(dataset, list) else dataset, pad=0).train.first(2)


def test_pad_is_a_token_and_nothing_for_files():
    with pytest.raises(StudyError, match=r"data\.pad = -1 must be a whole number of at least 0"):
        DataSpec(train=Sentences(), pad=-1)
    with pytest.raises(
        StudyError, match=r"data\.pad = 0 is for examples of different lengths, and files have one context"
    ):
        DataSpec(train="a.bin", context=8, pad=0)
    assert tiny_study().data.pad is None


def test_targets_that_the_model_gets_are_padded_with_what_its_loss_leaves_out():
    """As `ignore_index` of the loss says; a model that computes its own is given -100."""
    loss = nn.CrossEntropyLoss(ignore_index=0)
    study = tiny_study(data=DataSpec(train=Sentences(), eval=Sentences(9), pad=5), loss=LossSpec(fn=loss))
    assert study.prepared_data.train.first(2)[1].tolist() == [[2, 3, 0], [3, 4, 5]]
    study = tiny_study(data=DataSpec(train=Sentences(), eval=Sentences(9), pad=5), loss=LossSpec(fn=model_loss))
    assert study.prepared_data.train.first(2)[1].tolist() == [[2, 3, -100], [3, 4, 5]]


@pytest.mark.parametrize("made", [torch.tensor, np.array, list])
@pytest.mark.parametrize("form", ["pairs", "mappings", "alone"])
def test_examples_of_different_lengths_without_pad_are_told_of_it(form, made):
    rows = [made(list(range(length))) for length in (3, 5, 4)] * 9
    shaped = {
        "pairs": [(row, row) for row in rows],
        "mappings": [{"input_ids": row, "labels": row} for row in rows],
        "alone": rows,
    }[form]
    with pytest.raises(DataError, match=r"differ in shape, such as \(3,\) and \(5,\), .*\(pad = 0, in \[data\]\)"):
        open_examples(shaped).batch_of(shaped[:2])


@pytest.mark.parametrize("form", ["pairs", "mappings"])
def test_rows_that_are_lists_are_no_tokens_of_their_own(form):
    row = list(range(16))
    dataset = [(row, row) if form == "pairs" else {"input_ids": row, "labels": row}] * 50
    with pytest.raises(
        DataError, match=r"lists, such as \[0, 1, 2, \.\.\.\] of 16 numbers, .*; make them tensors: torch"
    ):
        prepare_data(dataset)
    assert prepare_data(dataset, pad=0).tokens.per_example == 16


def test_rows_in_which_the_model_finds_its_targets_are_said_to_be_filled_up_with_targets():
    rows = [torch.arange(1, 3 + number % 4) for number in range(40)]
    with pytest.warns(
        FlopsFitWarning, match=r"single rows.*where pad = 0 fills them up these enter.*mappings with labels"
    ):
        data = prepare_data(rows, pad=0)
    assert data.tokens_per_example == pytest.approx(sum(map(len, rows)) / len(rows), rel=0.05)
    padded = DataLoader(rows, collate_fn=lambda items: torch.nn.utils.rnn.pad_sequence(items, batch_first=True))
    with pytest.warns(FlopsFitWarning, match="the collate_fn pads targets with values that enter the loss"):
        prepare_data(padded)


def test_frames_of_different_lengths_are_not_told_to_take_a_token():
    """Numbers with fractions are filled up by nobody but the user's own collate_fn."""

    class Frames(Dataset):
        def __len__(self):
            return 64

        def __getitem__(self, index):
            return torch.randn(3 + index % 4, 2), torch.tensor(index % 3)

    with pytest.raises(DataError, match=r"differ in shape, such as \(3, 2\) and \(4, 2\).*give a DataLoader with"):
        open_examples(Frames()).batch_of([Frames()[0], Frames()[1]])
