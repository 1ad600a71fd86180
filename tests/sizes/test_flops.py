"""Measured FLOPs against formulas worked out by hand; 2 FLOPs per multiply-add."""

import pytest
import torch
from planning_models import GPT, CharMLP, ConvNet, Frozen, Recurrent, TiedByParameter, gpt_matmul_params
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from flops_fit.data.nested import to_meta
from flops_fit.sizes.flops import count_params, measure_flops


def mean_loss(outputs, targets):
    return outputs.float().mean()


def measured(make, inputs, targets=None, loss=mean_loss):
    with torch.device("meta"):
        model = make()
    batch = (to_meta(inputs), to_meta(targets if targets is not None else torch.zeros(1)))
    return measure_flops(model, batch, loss)


def token_loss(outputs, targets):
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def test_an_mlp_costs_two_flops_forward_and_four_backward_per_weight():
    flops = measured(lambda: CharMLP(64), torch.zeros(4, 8, dtype=torch.long))
    weights = 128 * 64 + 64 * 64 + 64 * 128
    assert (flops.forward, flops.backward, flops.recompute) == (4 * 2 * weights, 4 * 4 * weights, 0)
    assert flops.examples == 4


def test_a_first_layer_on_data_needs_no_gradient_of_its_input():
    flops = measured(lambda: nn.Linear(8, 16), torch.zeros(4, 8))
    assert (flops.forward, flops.backward) == (4 * 2 * 8 * 16, 4 * 2 * 8 * 16)


@pytest.mark.parametrize(
    ("width", "context"),
    [(128, 256), (512, 1024), (2048, 2048), pytest.param(8192, 4096), pytest.param(512, 16384)],
)
def test_a_transformer_costs_6n_and_attention(width, context):
    """6·N_matmul + 12·layers·width·context per token (Chowdhery et al. 2022, appendix B)."""
    tokens = torch.zeros(1, context, dtype=torch.long)
    flops = measured(lambda: GPT(width, context=context), tokens, tokens, token_loss)
    by_hand = 6 * gpt_matmul_params(width) + 12 * 4 * width * context
    assert (flops.forward + flops.backward) / context == pytest.approx(by_hand, rel=2e-3)


def test_memory_kept_for_the_backward_pass():
    """Of Linear → tanh → Linear: the input, tanh's output; not the weights (4 bytes each, 4 examples)."""
    flops = measured(lambda: nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2)), torch.zeros(4, 8))
    assert flops.activation_bytes == 4 * 4 * (8 + 16)


def test_tied_weights_are_multiplied_all_the_same():
    tokens = torch.zeros(2, 64, dtype=torch.long)
    tied = measured(lambda: GPT(128, tied=True), tokens, tokens, token_loss)
    assert tied == measured(lambda: GPT(128), tokens, tokens, token_loss)


def test_recomputation_is_told_apart():
    tokens = torch.zeros(2, 64, dtype=torch.long)
    plain = measured(lambda: GPT(128), tokens, tokens, token_loss)
    again = measured(lambda: GPT(128, recompute=True), tokens, tokens, token_loss)
    assert (again.forward, again.backward) == (plain.forward, plain.backward)
    head = 2 * 2 * 64 * 128 * 50257
    down = 2 * 2 * 64 * 4 * 4 * 128 * 128  # stops once the last saved activation is there: not the last product
    assert plain.forward - head - down <= again.recompute <= plain.forward - head


def test_reentrant_recomputation_too():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)

        def forward(self, x):
            return checkpoint(lambda hidden: torch.tanh(self.again(hidden)), self.first(x), use_reentrant=True)

    flops = measured(Checkpointed, torch.zeros(4, 8))
    product = 2 * 4 * 8 * 8
    assert (flops.forward, flops.backward, flops.recompute) == (2 * product, 3 * product, product)


def test_lstm():
    """Per step 4 gates of width × (features + width); the input's and the first state's gradients are not needed."""
    batch, steps, width = 4, 6, 16
    flops = measured(lambda: Recurrent(width), torch.zeros(batch, steps, 8))
    inputs, hidden = 2 * batch * steps * 4 * width * 8, 2 * batch * 4 * width * width
    assert flops.forward == inputs + steps * hidden
    assert flops.backward == inputs + steps * hidden + (steps - 1) * hidden


def test_gru():
    class GRU(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(8, 16, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0]

    flops = measured(GRU, torch.zeros(4, 6, 8))
    inputs, hidden = 2 * 4 * 6 * 3 * 16 * 8, 2 * 4 * 3 * 16 * 16
    assert flops.forward == inputs + 6 * hidden
    assert flops.backward == inputs + 6 * hidden + 5 * hidden


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_convolutions_grouped_and_depthwise(groups):
    flops = measured(
        lambda: nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 3, groups=groups)), torch.zeros(2, 8, 9, 9)
    )
    first, second = 2 * 2 * 81 * 8 * 8, 2 * 2 * 49 * 16 * (8 // groups) * 9
    assert flops.forward == first + second
    assert flops.backward == first + 2 * second


def test_a_transposed_convolution():
    flops = measured(lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2), torch.zeros(2, 8, 9, 9))
    assert (flops.forward, flops.backward) == (2 * 2 * 81 * 8 * 2 * 9, 2 * 2 * 81 * 8 * 2 * 9)


def test_a_strided_one_dimensional_convolution():
    flops = measured(lambda: nn.Conv1d(3, 5, 4, stride=2), torch.zeros(2, 3, 20))
    assert flops.forward == 2 * 2 * 9 * 5 * 3 * 4


def test_multi_head_attention_and_an_encoder_layer():
    def make():
        return nn.TransformerEncoderLayer(32, 4, 128, batch_first=True)

    flops = measured(lambda: nn.Sequential(nn.Linear(8, 32), make()), torch.zeros(2, 16, 8))
    products, attention = 2 * 32 * 12 * 32 * 32, 2 * (2 * 2 * 16 * 16 * 32)
    first = 2 * 32 * 8 * 32
    assert flops.forward == first + products + attention
    assert flops.backward == first + 2 * (products + attention)


def test_the_three_counts():
    counts = count_params(Frozen(5))
    assert (counts.total, counts.trainable) == (20, 10)
    tied = TiedByParameter(4)
    assert count_params(tied).non_embedding == tied.head.weight.numel()  # a tied head multiplies
    assert count_params(CharMLP(3)).non_embedding == 9 + 258 * 3 + 128
    assert count_params(ConvNet(4)).total == 3 * 4 * 9 + 4 + 2 * 4 + 4 * 4 * 9 + 4


def test_a_loss_without_trainable_parameters_is_refused():
    def frozen():
        return nn.Linear(2, 2).requires_grad_(False)

    with pytest.raises(TypeError, match="does not depend on any trainable parameter"):
        measured(frozen, torch.zeros(4, 2))


def test_nested_batches_and_loss_modules_move_to_meta():
    weighted = nn.CrossEntropyLoss(weight=torch.ones(3))
    moved = to_meta(({"a": torch.zeros(2), "b": [torch.zeros(1), 5]}, weighted))
    assert moved[0]["a"].device.type == "meta"
    assert moved[0]["b"][1] == 5
    assert moved[1].weight.device.type == "meta"
    assert weighted.weight.device.type == "cpu"
