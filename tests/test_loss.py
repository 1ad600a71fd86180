"""What may be given as a loss, and how a batch becomes one."""

import math

import pytest
import torch

from flops_fit import validate_loss_fn
from flops_fit.errors import LossError
from flops_fit.loss import batch_loss, cross_entropy, model_loss


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (None, r"None.*CrossEntropyLoss\(\)"),
        (torch.nn.CrossEntropyLoss, r"class CrossEntropyLoss.*give CrossEntropyLoss\(\)"),
        ("mse", "'mse' cannot be called"),
        (lambda outputs: outputs, "two arguments"),
        (lambda a, b, c: a, "two arguments"),
    ],
)
def test_bad_losses_are_refused_with_the_remedy(loss_fn, message):
    with pytest.raises(LossError, match=message):
        validate_loss_fn(loss_fn)
    with pytest.raises(TypeError):
        validate_loss_fn(loss_fn)


@pytest.mark.parametrize(
    "loss_fn", [torch.nn.MSELoss(), torch.nn.functional.cross_entropy, lambda a, b, weight=None: a, max]
)
def test_good_losses_are_returned(loss_fn):
    assert validate_loss_fn(loss_fn) is loss_fn


def test_cross_entropy_flattens_sequences():
    logits, targets = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64)
    assert cross_entropy(logits, targets).item() == pytest.approx(math.log(5))


def test_inputs_are_spread_over_arguments():
    def model(first, second):
        return first + second

    one, two = torch.ones(4), torch.full((4,), 2.0)
    for inputs in ((one, two), {"second": two, "first": one}):
        loss = batch_loss(model, (inputs, torch.zeros(4)), torch.nn.functional.mse_loss)
        assert loss.item() == 9.0


def test_a_loss_per_example_or_a_batch_that_is_no_pair_is_refused():
    with pytest.raises(LossError, match=r"\(4,\).*average"):
        batch_loss(torch.nn.Identity(), (torch.ones(4), torch.ones(4)), lambda a, b: a - b)
    with pytest.raises(LossError, match="list of 3"):
        batch_loss(torch.nn.Identity(), [1, 2, 3], max)


class OwnLoss(torch.nn.Module):
    """Like a Hugging Face causal language model: shifts the labels itself and returns its loss with the logits."""

    def __init__(self, form):
        super().__init__()
        self.form, self.logits = form, torch.nn.Embedding(5, 5)

    def forward(self, input_ids, labels):
        logits = self.logits(input_ids)
        loss = cross_entropy(logits[:, :-1], labels[:, 1:])
        return {"tuple": (logits, loss), "mapping": {"logits": logits, "loss": loss}, "none": {"logits": logits}}[
            self.form
        ]


@pytest.mark.parametrize("form", ["tuple", "mapping"])
def test_a_model_may_compute_its_own_loss(form):
    torch.manual_seed(0)
    model, tokens = OwnLoss(form), torch.tensor([[1, 2, 3], [4, 0, 1]])
    by_hand = cross_entropy(model.logits(tokens)[:, :-1], tokens[:, 1:]).item()
    for batch in ({"input_ids": tokens, "labels": tokens}, (tokens, tokens)):
        assert batch_loss(model, batch, model_loss).item() == pytest.approx(by_hand)


def test_a_model_without_a_loss_is_told_so():
    tokens = torch.tensor([[1, 2, 3]])
    with pytest.raises(LossError, match="without a loss"):
        batch_loss(OwnLoss("none"), {"input_ids": tokens, "labels": tokens}, model_loss)
    with pytest.raises(LossError, match="none of them is labels or targets"):
        batch_loss(OwnLoss("tuple"), {"input_ids": tokens}, max)
