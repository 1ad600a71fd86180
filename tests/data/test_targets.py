"""Tokens are the targets that enter the loss: counted where examples differ in length, and weighed alike everywhere."""

import functools

import pytest
import torch
from tiny_study import experiment, tiny_study
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from flops_fit import DataSpec, LossSpec, ModelSpec, Recipe, run_experiment
from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.data.targets import count_targets, count_tokens, ignored_target
from flops_fit.errors import DataError, FlopsFitWarning
from flops_fit.loss import cross_entropy, model_loss
from flops_fit.stages import study_plan, study_size_map
from flops_fit.training.evaluation import held_out_loss

VOCABULARY = 11
LENGTHS = [4 + 20 * (index % 4) for index in range(200)]  # 4, 24, 44, 64: 34 on average


def texts(lengths=tuple(LENGTHS)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in lengths]


def padded(examples, target=-100):
    """Inputs padded with 0 and targets with `target`, to the longest of the batch."""
    rows = [functional.pad(text, (0, max(map(len, examples)) - len(text)), value=-1) for text in examples]
    batch = torch.stack(rows)
    return batch.clamp(min=0), torch.where(batch < 0, target, batch)


def loader(examples=None, collate=padded):
    return DataLoader(examples or texts(), collate_fn=collate)


class PerToken(torch.nn.Module):
    """token → width → tokens, each position for itself."""

    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Embedding(VOCABULARY, width), torch.nn.Linear(width, VOCABULARY))

    def forward(self, inputs):
        return self.layers(inputs)


def ragged_study(train=None, held_out=None, **sections):
    return tiny_study(
        model=ModelSpec(factory=PerToken, size_param="width", max_size=64),
        data=DataSpec(train=train or loader(), eval=held_out or loader(texts(LENGTHS[:50])), version="ragged"),
        loss=LossSpec(fn=cross_entropy),
        **sections,
    )


# -- how many there are ---------------------------------------------------------------------------------------------


def test_examples_of_different_lengths_count_their_mean_and_not_the_first():
    tokens = count_tokens(open_examples(loader()))
    assert tokens.per_example == 34
    assert tokens.varies
    assert prepare_data(loader(), loader()).num_tokens == sum(LENGTHS) == 6800
    assert "34 an example on average; of the positions in a batch these are 53%" in tokens.note  # 34 of 64


def test_a_sample_stands_for_more_examples_than_are_read():
    lengths = [10] * 5000 + [30] * 5000
    assert count_tokens(open_examples(loader(texts(lengths)))).per_example == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("length", [1, 16])
def test_examples_of_one_length_count_as_they_are(length):
    whole = TensorDataset(torch.zeros(9, length, dtype=torch.int64), torch.zeros(9, length, dtype=torch.int64))
    tokens = count_tokens(open_examples(whole))
    assert (tokens.per_example, tokens.note) == (length, None)


def test_masked_language_data_counts_what_is_predicted():
    targets = torch.full((40, 20), -100)
    targets[:, [2, 11, 17]] = 5
    tokens = count_tokens(open_examples(TensorDataset(torch.zeros(40, 20, dtype=torch.int64), targets)))
    assert tokens.per_example == 3
    assert "3 an example; of the positions in a batch these are 15%" in tokens.note


def test_the_loss_says_what_it_leaves_out():
    assert ignored_target(functional.cross_entropy) == -100
    assert ignored_target(torch.nn.CrossEntropyLoss(ignore_index=0)) == 0
    assert ignored_target(functools.partial(functional.cross_entropy, ignore_index=7)) == 7
    assert ignored_target(torch.nn.CrossEntropyLoss, {"ignore_index": 3}) == 3
    study = tiny_study(
        data=DataSpec(train=loader(collate=functools.partial(padded, target=0)), eval=loader(), version="zero"),
        loss=LossSpec(fn=torch.nn.CrossEntropyLoss, kwargs={"ignore_index": 0}),
    )
    text = torch.cat(texts())
    assert study.prepared_data.tokens_per_example == pytest.approx((text != 0).sum() / 200)


def test_padding_that_enters_the_loss_is_warned_of():
    with pytest.warns(FlopsFitWarning, match="pads targets with values that enter the loss.*pad targets with -100"):
        prepare_data(loader(collate=functools.partial(padded, target=0)), loader())


def test_the_plan_counts_them_and_says_so():
    study = ragged_study(loader(texts(LENGTHS * 10)))
    size_map = study_size_map(study)
    plan = study_plan(study, size_map)
    assert any("34 an example on average" in note for note in plan.notes)
    for item in plan.experiments:
        examples = item.num_tokens / 34
        assert examples == round(examples)
        by_hand = 6 * VOCABULARY * item.size_param_value * 64 / 34  # each of a batch is padded to 64
        assert item.measured_flops_per_token == pytest.approx(by_hand)


def test_examples_without_any_target_are_refused():
    nothing = TensorDataset(torch.zeros(9, 4, dtype=torch.int64), torch.full((9, 4), -100))
    with pytest.raises(DataError, match="none of 9 examples has a target: all are -100"):
        prepare_data(nothing, loader())


def test_batches_of_other_kinds_count_by_example():
    assert count_targets((torch.zeros(6, 3), torch.zeros(6))) == 6
    assert count_targets({"pixels": torch.zeros(6, 3)}) == 6
    assert count_targets((torch.zeros(6, 3), {"boxes": torch.zeros(6, 4), "labels": torch.zeros(6)})) == 6
    assert count_targets((torch.zeros(2, 3), torch.tensor([[156, 3], [1, 2]], dtype=torch.uint8))) == 4


# -- all weigh alike -----------------------------------------------------------------------------------------------


def mean_over_all_targets(model, examples):
    """Of every target by itself, in double precision."""
    model = model.double()
    losses = torch.cat([functional.cross_entropy(model(text), text, reduction="none") for text in examples])
    return losses.mean().item()


@pytest.mark.parametrize("batch_examples", [1, 7, 64, 1000])
def test_held_out_loss_is_the_mean_over_all_targets(batch_examples):
    torch.manual_seed(0)
    model = PerToken(8)
    found = held_out_loss(
        model, open_examples(loader()), cross_entropy, batch_examples, torch.device("cpu"), torch.inference_mode(False)
    )
    assert found == pytest.approx(mean_over_all_targets(model, texts()), rel=1e-6)


class Causal(PerToken):
    """As Hugging Face's causal models: shifts the labels itself."""

    loss_type = "ForCausalLM"

    def forward(self, input_ids, labels):
        logits = self.layers(input_ids)
        return {"loss": functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}


def test_a_model_that_shifts_its_labels_has_one_target_less_an_example():
    torch.manual_seed(0)
    model = Causal(8)
    data = loader(collate=lambda examples: dict(zip(("input_ids", "labels"), padded(examples), strict=True)))
    found = [
        held_out_loss(model, open_examples(data), model_loss, size, torch.device("cpu"), torch.inference_mode(False))
        for size in (1, 7, 200)
    ]
    logits = [model.layers(text[:-1]) for text in texts()]
    losses = [
        functional.cross_entropy(one, text[1:], reduction="none") for one, text in zip(logits, texts(), strict=True)
    ]
    assert found == pytest.approx([torch.cat(losses).mean().item()] * 3, rel=1e-6)


class LittleRoom(PerToken):
    """Has memory for three examples at a time."""

    def forward(self, inputs):
        if self.training and len(inputs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


def test_a_batch_in_parts_trains_as_the_whole_batch(tmp_path):
    recipe = Recipe(learning_rate=0.02, batch_tokens=340, gradient_clip=None)
    found = []
    for factory in (PerToken, LittleRoom):
        study = ragged_study(training=recipe)
        study = tiny_study(
            model=ModelSpec(factory=factory, size_param="width", max_size=64), data=study.data, loss=study.loss,
            training=recipe,
        )  # fmt: skip
        result = run_experiment(study, experiment(34 * 150), output_dir=tmp_path / factory.__name__)
        found.append((result.loss, result.train_loss, result.steps))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_batch_without_any_target_is_skipped(tmp_path):
    targets = torch.randint(0, VOCABULARY, (400, 6), generator=torch.Generator().manual_seed(0))
    inputs = targets.clone()
    targets[::2] = -100  # half of the examples, so that batches of one often have none
    data = TensorDataset(inputs, targets)
    study = ragged_study(
        train=data, held_out=TensorDataset(*data[:50]), training=Recipe(learning_rate=0.05, batch_tokens=3)
    )
    assert study.prepared_data.tokens_per_example == pytest.approx(3, rel=0.05)
    result = run_experiment(study, experiment(900), output_dir=tmp_path)
    assert (result.status, result.steps) == ("completed", 300)
    assert 0 < result.loss < 0.1  # from log(11) down: the target is the input
    assert 0 < result.train_loss < 0.1


class Noisy(PerToken):
    """Draws noise whenever it is called, as models of diffusion do; how much depends on its width."""

    def forward(self, inputs):
        hidden = self.layers[0](inputs)
        return self.layers[1](hidden + torch.randn_like(hidden)) * torch.rand(())


def test_what_is_drawn_in_the_held_out_loss_is_the_same_every_time():
    model, data = Noisy(8), open_examples(loader())
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        evaluate = functools.partial(held_out_loss, model, data, cross_entropy, 64, torch.device("cpu"))
        found.append(evaluate(torch.inference_mode(False)))
        after = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(after, torch.rand(1)), "the training's own draws go on as if nothing had been drawn"
    assert found[0] == found[1]


# -- what cannot be made a batch of ---------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [[(text, text) for text in texts()], texts()])
def test_examples_of_different_lengths_without_a_collate_fn_are_told_what_to_do(items):
    with pytest.raises(
        DataError, match=r"differ in shape, such as \(\d+,\) and \(\d+,\).*a DataLoader with a collate_fn"
    ):
        open_examples(items).reader(seed=0).read(8)
