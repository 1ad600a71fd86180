"""What may be given as a loss, and how a batch becomes one."""

import math

import pytest
import torch

from flops_fit import validate_loss_fn
from flops_fit.errors import LossError
from flops_fit.loss import batch_loss, cross_entropy


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
