"""Targets that a loss leaves out by its own code are found by its gradients, and said with what to write."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from flops_fit.loss import model_loss
from flops_fit.preflight.left_out import doubt_of_targets

CLASSES = 5
TARGETS = torch.tensor([[0, 1, 2, 0], [0, 3, 4, 0]])  # half of them 0


class Model(nn.Module):
    def __init__(self, arranged=lambda outputs: outputs):
        super().__init__()
        self.table, self.arranged = nn.Embedding(CLASSES, CLASSES), arranged

    def forward(self, inputs):
        return self.arranged(self.table(inputs))


BATCH = (torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]]), TARGETS)


def without_padding(outputs, targets):
    return functional.cross_entropy(outputs.reshape(-1, CLASSES), targets.reshape(-1), ignore_index=0)


def masked_mean(outputs, targets):
    each = functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")
    return (each * (targets != 0)).sum() / (targets != 0).sum()


def in_the_second_place(outputs, targets):
    return functional.cross_entropy(outputs, targets, ignore_index=0)


def of_all(outputs, targets):
    return functional.cross_entropy(outputs.reshape(-1, CLASSES), targets.reshape(-1))


def says_so(outputs, targets):
    return without_padding(outputs, targets)


says_so.ignore_index = 0


def of_the_first_row(outputs, targets):
    return functional.cross_entropy(outputs[0], targets[0])


def second_place(outputs):
    return outputs.transpose(1, 2)


@pytest.mark.parametrize(
    ("loss_fn", "model"),
    [(without_padding, Model()), (masked_mean, Model()), (in_the_second_place, Model(second_place))],
)
def test_a_value_that_the_loss_leaves_out_is_named_with_its_share(loss_fn, model):
    said = doubt_of_targets(model, BATCH, loss_fn)
    assert said.startswith("targets of 0, 50% of those in a batch, have no part in the loss")
    assert f"{loss_fn.__name__}.ignore_index = 0" in said


@pytest.mark.parametrize(
    ("loss_fn", "batch"),
    [
        (of_all, BATCH),
        (says_so, BATCH),  # what the remedy asks for
        (of_all, (BATCH[0], torch.where(TARGETS == 0, -100, TARGETS))),
        (of_the_first_row, BATCH),  # of several values: another matter
        (nn.MultiMarginLoss(), BATCH),  # fails on these shapes
        (model_loss, BATCH),
        (of_all, (BATCH[0], BATCH[0].float())),
    ],
)
def test_there_is_nothing_to_say_otherwise(loss_fn, batch):
    assert doubt_of_targets(Model(), batch, loss_fn) is None


def test_neither_model_nor_random_state_is_changed():
    model = Model().train()
    before = torch.get_rng_state()
    doubt_of_targets(model, BATCH, without_padding)
    assert model.training
    assert model.table.weight.grad is None
    assert torch.equal(torch.get_rng_state(), before)
