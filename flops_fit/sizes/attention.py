"""What attention costs where a token looks at those before it and itself alone: (S + 1)/2 of the S tokens of a context.

Which products are attention is told by their shapes: a batch of products of two tensors of which neither is a weight,
with two of the three lengths the context's (queries by keys, or these weights by values). Masks are not looked at, so a
model whose tokens see each other in both directions is counted too low; and of a window, what lies before it is counted
in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from flops_fit.data.nested import tensors_in
from flops_fit.errors import ModelContractError
from flops_fit.loss import inputs_of

_PRODUCTS = {"bmm": 0, "baddbmm": 1}  # where the first factor stands
_FUSED = "_scaled_dot_product_"


class CausalAttention:
    """FLOPs of a step spent on tokens ahead, as operations of the forward pass are told to it.

    Attributes:
        ahead, ahead_backward: of the forward and of the backward pass, which multiplies again for the gradient of each
            factor that has one.
    """

    def __init__(self, context: int, owner: Callable[[Any], str | None]) -> None:
        self._context = context
        self._owner = owner  # the parameter that a tensor is, if it is one
        self.ahead = 0
        self.ahead_backward = 0

    def product(self, func: Any, args: Any, flops: int) -> None:
        """An operation that multiplied `args` by each other with so many FLOPs."""
        factors = self._of_attention(func, args)
        if not factors:
            return
        ahead = flops * (self._context - 1) // (2 * self._context)
        self.ahead += ahead
        if func._opname.startswith(_FUSED):
            self.ahead_backward += 2 * ahead
        elif torch.is_grad_enabled():
            self.ahead_backward += ahead * sum(factor.requires_grad for factor in factors)
        else:  # made again with gradients before the backward pass
            self.ahead_backward += 2 * ahead

    def _of_attention(self, func: Any, args: Any) -> list[torch.Tensor]:
        """The factors, where they are those of attention over the context."""
        name = func._opname
        if name.startswith(_FUSED):
            query, key = args[:2]
            return [query, key] if query.shape[-2] == key.shape[-2] == self._context else []
        if name not in _PRODUCTS:
            return []
        first, second = args[_PRODUCTS[name] :][:2]
        lengths = (first.shape[-2], first.shape[-1], second.shape[-1])
        is_square = sum(length == self._context for length in lengths) >= 2
        return [first, second] if is_square and not (self._owner(first) or self._owner(second)) else []


def context_of(batch: Any) -> int:
    """Tokens of an example: the second length of the batch's token ids.

    Raises `ModelContractError` for a batch without any.
    """
    for tensor in tensors_in(inputs_of(batch)):
        if tensor.ndim >= 2 and not tensor.is_floating_point():
            return int(tensor.shape[1])
    raise ModelContractError(
        'attention_flops = "causal" needs sequences of token ids, and the batch holds none; leave it out, or give '
        "flops as a function of the model"
    )
