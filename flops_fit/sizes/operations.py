"""FLOPs of one dispatched operation: what has a formula, what is counted by its parts, and what is left out.

Which operations multiply matrices is told by what they are and do, not by a list: an operation without a formula is
taken apart where torch knows its parts; what cannot be taken apart and does more than move data is named as uncounted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isqrt, prod
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
_MOST_TRIED = 1 << 24  # elements of an operation that is tried out for real


def formula_of(func: Any) -> Callable[..., int] | None:
    """FLOPs of an operation's arguments and `out_val`: ours, or one registered with `torch.utils.flop_counter`."""
    packet = getattr(func, "_overloadpacket", func)
    return _grouped_product if is_grouped_product(func) else _OURS.get(packet) or flop_registry.get(packet)


def parts_of(func: Any) -> Callable[..., Any] | None:
    """The operation written in others, as torch knows it."""
    return decomposition_table.get(func)


def may_multiply(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation that nothing is known of may multiply matrices.

    It does not where it is elementwise or a view, has fewer than two floating tensors to multiply (a matrix's own
    inverse, factors or eigenvalues aside), or only moves and adds up what it is given: twice the input gives twice
    the output, which is tried.
    """
    if func.namespace == "aten" and func._opname.startswith(("linalg_", "_linalg_", "cholesky", "matrix_exp")):
        return True
    if func.namespace == "prims" or torch.Tag.pointwise in func.tags or len(_factors(args, kwargs)) < 2:
        return False
    return not _moves_data(func, args, kwargs)


def most_flops(args: Any, kwargs: Any, result: Any) -> int | None:
    """An upper bound where two tensors are multiplied into one; None where there are others.

    A sum over products a[i,k]·b[k,j] → c[i,j], batched or grouped, has at most sqrt(|a|·|b|·|c|) terms (Loomis and
    Whitney 1949); 2 FLOPs each.
    """
    factors = _factors(args, kwargs)
    products = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    if len(factors) != 2 or len(products) != 1:
        return None
    return 2 * isqrt(prod(tensor.numel() for tensor in (*factors, *products)))


def is_grouped_product(func: Any) -> bool:
    """Whether it multiplies groups of rows by a matrix each, as the experts of a mixture do, in torch or elsewhere."""
    return "grouped_mm" in _name(func)


def grouped_product_shape(first: torch.Tensor, second: torch.Tensor, rest: Any, kwargs: Any) -> tuple[int, ...]:
    """Shape of a grouped product: (rows, k) by (groups, k, n) → (rows, n); (groups, m, k) by (k, columns) → (m,
    columns); (m, shared) by (shared, n), the groups along what is shared → (groups, m, n)."""
    rows, columns = int(first.shape[-2]), int(second.shape[-1])
    if first.ndim == second.ndim == 2:
        offsets = next(leaf for leaf in (*rest, *kwargs.values()) if isinstance(leaf, torch.Tensor) and leaf.ndim == 1)
        return len(offsets), rows, columns
    return (int(first.shape[0]), rows, columns) if first.ndim == second.ndim else (rows, columns)


@cache
def _name(func: Any) -> str:
    name = getattr(func, "name", str)
    return str(name() if callable(name) and not isinstance(name, type) else name)


def _factors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    return [
        leaf
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, torch.Tensor) and leaf.ndim >= 2 and (leaf.is_floating_point() or leaf.is_complex())
    ]


def _moves_data(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether twice the input gives twice the output, found by trying; not where it cannot be tried."""
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if sum(leaf.numel() for leaf in leaves) > _MOST_TRIED:
        return False
    generator = torch.Generator().manual_seed(0)

    def drawn(scale: float) -> Any:
        def draw(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            if not leaf.is_floating_point():
                return torch.zeros(leaf.shape, dtype=leaf.dtype)
            return scale * torch.rand(leaf.shape, generator=generator).to(leaf.dtype)

        generator.manual_seed(0)
        given, named = tree_map(draw, (args, {name: value for name, value in kwargs.items() if name != "device"}))
        return [leaf for leaf in tree_leaves(func(*given, **named)) if isinstance(leaf, torch.Tensor)]

    try:
        with _disable_current_modes(), torch.device("cpu"):
            pairs = [pair for pair in zip(drawn(1.0), drawn(2.0), strict=True) if pair[0].is_floating_point()]
            return all(torch.allclose(2 * small, large, rtol=1e-3, atol=1e-6) for small, large in pairs)
    except Exception:  # whatever an operation that nobody knows may raise of such input: then it is named
        return False


def _grouped_product(first: Any, second: Any, *rest: Any, out_val: Any = None, **_: Any) -> int:
    """Every row of a group by the group's matrix; where groups lie along the columns, each column is one group's."""
    rows = int(first.numel()) // (int(first.shape[0]) if first.ndim == 3 and second.ndim == 2 else 1)
    return 2 * rows * int(second.shape[-1])


def _convolution(  # every argument of the operation, of which the shapes and the direction count
    inputs: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *rest: Any,
    out_val: Any = None, **_: Any,
) -> int:  # fmt: skip
    """2 per multiply-add: each filter weight acts once per output position (per input position if transposed)."""
    positions = (inputs if transposed else out_val).shape[2:]
    return 2 * int(inputs.shape[0]) * prod(positions) * prod(weight.shape)


def _convolution_backward(
    gradient: Any, inputs: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, output_mask: Any, out_val: Any = None, **_: Any,
) -> int:  # fmt: skip
    """As much as forward for the inputs' gradient, and again for the weights'; right for any number of groups."""
    forward = _convolution(inputs, weight, bias, stride, padding, dilation, transposed, out_val=gradient)
    return forward * (int(output_mask[0]) + int(output_mask[1]))


def _matrix_vector(matrix: Any, vector: Any, *rest: Any, **_: Any) -> int:
    return 2 * int(matrix.numel())


def _sum_of_products(added: Any, first: Any, second: Any, *rest: Any, **_: Any) -> int:
    return 2 * int(first.numel()) * int(second.shape[-1])


def _attention(query: Any, key: Any, value: Any, *rest: Any, **_: Any) -> int:
    """Scores and mixing, of every query with every key, whatever a mask hides.

    Shapes: (B, H, S, E), (B, G, T, E), (B, G, T, V).
    """
    queries, keys = prod(query.shape[:-1]), int(key.shape[-2])
    return 2 * queries * keys * (int(query.shape[-1]) + int(value.shape[-1]))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *rest: Any, **_: Any) -> int:
    """Twice the forward pass; that fused kernels work the scores out again is their own affair."""
    return 2 * _attention(query, key, value)


_ATTENTIONS = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
_CONVOLUTIONS = ("convolution", "_convolution", "cudnn_convolution", "convolution_overrideable", "_slow_conv2d_forward")
_OURS: dict[Any, Callable[..., int]] = {
    **{getattr(_aten, name): _convolution for name in _CONVOLUTIONS},
    _aten.convolution_backward: _convolution_backward,
    _aten.mv: _matrix_vector,
    _aten.addbmm: _sum_of_products,
    **{getattr(_aten, f"_scaled_dot_product_{name}"): _attention for name in _ATTENTIONS},
    **{getattr(_aten, f"_scaled_dot_product_{name}_backward"): _attention_backward for name in _ATTENTIONS},
}
