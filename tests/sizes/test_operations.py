"""What of a step is counted, by formula or by its parts, and what is named as not counted."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import flop_registry, register_flop_formula
from uncommon_models import Experts, LoopsOverExperts, experts_flops

from flops_fit.sizes.flops import measure_flops
from flops_fit.sizes.known_values import KnownValues

TOKENS, WIDTH = 24, 16


def mean_loss(outputs, targets):
    return outputs.float().mean()


def step(make, inputs, *, device="meta"):
    """A step without data, or with real weights."""
    known = KnownValues()
    if device == "cpu":
        torch.manual_seed(0)
        return measure_flops(make(), (inputs, torch.zeros(1)), mean_loss)
    with torch.device("meta"), known:
        model = make()
    return measure_flops(model, (known.meta(inputs), torch.zeros(1)), mean_loss, known=known)


class Calls(nn.Module):
    """One trained projection width → width, then `operation` of it and of a weight of the same width."""

    def __init__(self, operation, columns=WIDTH):
        super().__init__()
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)
        self.weight = nn.Parameter(torch.randn(WIDTH, columns))
        self.operation = operation

    def forward(self, x):
        return self.operation(self.project(x), self.weight)


@torch.library.custom_op("flops_fit_tests::fused", mutates_args=())
def fused(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A matrix product that no dispatched operation shows."""
    return torch.from_numpy(x.detach().numpy() @ weight.detach().numpy())


@fused.register_fake
def _(x, weight):
    return x.new_empty(len(x), weight.shape[1])


fused.register_autograd(lambda context, gradient: (gradient[:, :1].expand(-1, WIDTH), None))


@torch.library.custom_op("flops_fit_tests::product", mutates_args=())
def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of a matrix and a matrix, or elementwise of two vectors."""
    product = (
        x.detach() * weight.detach() if weight.ndim == 1 else torch.from_numpy(x.numpy() @ weight.detach().numpy())
    )
    return product.clone()


@product.register_fake
def _(x, weight):
    return x.new_empty(x.shape if weight.ndim == 1 else (len(x), weight.shape[1]))


product.register_autograd(lambda context, gradient: (gradient.clone(), None))


@torch.library.custom_op("flops_fit_tests::side_by_side", mutates_args=())
def side_by_side(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Moves data, and multiplies nothing."""
    return torch.cat([x, weight[:1].expand(len(x), -1)], dim=-1).clone()


@side_by_side.register_fake
def _(x, weight):
    return x.new_empty(len(x), x.shape[1] + weight.shape[1])


side_by_side.register_autograd(lambda context, gradient: (gradient[:, :WIDTH].clone(), None))


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(("experts", "top"), [(8, 1), (8, 2), (16, 1), (16, 2), (4, 4)])
def test_experts_are_counted_as_often_as_a_token_meets_them(experts, top, device):
    """6 FLOPs per weight that a token meets, all but the inputs' gradient, which data need none of."""
    inputs = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    flops = step(lambda: Experts(WIDTH, 32, experts, top), inputs, device=device)
    no_gradient = 2 * (WIDTH * experts + top * WIDTH * 32)
    assert flops.forward + flops.backward == TOKENS * (experts_flops(WIDTH, 32, experts, top) - no_gradient)
    assert not flops.uncounted


def test_a_loop_over_experts_is_counted_for_real():
    flops = step(lambda: LoopsOverExperts(WIDTH), torch.randn(TOKENS, 2), device="cpu")
    forward = 2 * (2 * WIDTH + 4 * WIDTH + 2 * WIDTH * WIDTH + WIDTH)
    assert flops.forward == TOKENS * forward
    with pytest.raises(RuntimeError, match="aten::nonzero asks for a value that depends on the weights"):
        step(lambda: LoopsOverExperts(WIDTH), torch.randn(TOKENS, 2))


def test_an_operation_without_a_formula_that_multiplies_is_named_with_what_it_costs_at_most():
    """One product of (24, 16) by (16, 40): the bound is exact."""
    for device in ("meta", "cpu"):
        flops = step(lambda: Calls(fused, 40), torch.randn(TOKENS, WIDTH), device=device)
        assert flops.uncounted == {"flops_fit_tests::fused": 2 * TOKENS * WIDTH * 40}
        assert flops.forward == 2 * TOKENS * WIDTH * WIDTH


def test_what_only_moves_data_is_not_named():
    flops = step(lambda: Calls(side_by_side), torch.randn(TOKENS, WIDTH))
    assert flops.uncounted == {}


def test_a_formula_that_is_registered_with_torch_counts():
    packet = torch.ops.flops_fit_tests.fused

    @register_flop_formula(packet)
    def fused_flops(x_shape, weight_shape, out_shape=None, **_):
        return 2 * x_shape[0] * x_shape[1] * weight_shape[1]

    try:
        flops = step(lambda: Calls(fused, 40), torch.randn(TOKENS, WIDTH))
    finally:
        del flop_registry[packet]
    assert flops.uncounted == {}
    assert flops.forward == 2 * TOKENS * WIDTH * (WIDTH + 40)


@pytest.mark.parametrize(
    ("operation", "forward"),
    [
        (lambda x, w: torch.addmv(x.sum(-1), x, w[:, 0]), 2 * TOKENS * WIDTH),
        (lambda x, w: torch.addbmm(w, x.view(3, 8, WIDTH).mT, x.view(3, 8, WIDTH)), 2 * TOKENS * WIDTH * WIDTH),
        (lambda x, w: torch.einsum("ti,ij,tj->t", x, w, x), 2 * TOKENS * WIDTH * WIDTH + 2 * TOKENS * WIDTH),
    ],
    ids=["addmv", "addbmm", "einsum"],
)
def test_products_without_a_formula_in_torch_are_counted(operation, forward):
    flops = step(lambda: Calls(operation), torch.randn(TOKENS, WIDTH))
    assert flops.forward - 2 * TOKENS * WIDTH * WIDTH == forward
    assert flops.uncounted == {}


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_costs_the_same_whichever_kernel(groups):
    """Of 4 heads of queries and `groups` of keys over 24 positions: 2·2·24·24·4·4 forward, twice that backward."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.rest = nn.Linear(WIDTH, 16, bias=False), nn.Linear(WIDTH, 8 * groups, bias=False)

        def forward(self, x):
            query = self.query(x).view(1, TOKENS, 4, 4).transpose(1, 2)
            key, value = self.rest(x).view(1, TOKENS, 2, groups, 4).permute(2, 0, 3, 1, 4)
            return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    products, attention = 2 * TOKENS * WIDTH * (16 + 8 * groups), 2 * 2 * TOKENS * TOKENS * 16
    inputs = torch.randn(TOKENS, WIDTH)
    on_meta = step(Attends, inputs)
    assert (on_meta.forward, on_meta.backward) == (products + attention, products + 2 * attention)
    for kernel in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION) if groups == 4 else (SDPBackend.MATH,):
        with sdpa_kernel(kernel):
            real = step(Attends, inputs, device="cpu")
        assert (real.forward, real.backward, real.uncounted) == (on_meta.forward, on_meta.backward, {})


def test_an_operation_that_multiplied_no_matrices_once_is_looked_at_again_with_others():
    vectors = step(lambda: Calls(lambda x, weight: product(x[0], weight[0])), torch.rand(TOKENS, WIDTH))
    assert vectors.uncounted == {}
    matrices = step(lambda: Calls(product), torch.rand(TOKENS, WIDTH))
    assert list(matrices.uncounted) == ["flops_fit_tests::product"]
