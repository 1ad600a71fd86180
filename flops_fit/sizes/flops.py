"""Parameters and FLOPs of a model: what N counts, and what a token costs forward and backward.

FLOPs are those of matrix products and convolutions, 2 per multiply-add; elementwise work is left out, as it is in 6·N.
They are counted on the operations the model really dispatches, so nothing about its architecture is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from flops_fit.data.nested import batch_examples
from flops_fit.errors import ModelContractError
from flops_fit.loss import batch_loss
from flops_fit.sizes.active import UsedWeights
from flops_fit.sizes.attention import CausalAttention, context_of
from flops_fit.sizes.known_values import KnownValues
from flops_fit.sizes.operations import formula_of, may_multiply, most_flops, parts_of


@dataclass(frozen=True, kw_only=True)
class ParamCounts:
    """Parameters of a model, each storage counted once.

    Attributes:
        total: all of them.
        trainable: those that require a gradient.
        non_embedding: all but the weights of `nn.Embedding` and `nn.EmbeddingBag`; those that another module has too,
            such as a tied head, multiply and count.
    """

    total: int
    trainable: int
    non_embedding: int


class ShapesUnknown(ModelContractError):
    """A model with lazy parameters, whose shapes are not known before the first batch."""


class TooLong(Exception):
    """A step of more operations than are to be looked at."""


def is_module(model: Any) -> bool:
    """Whether PyTorch can tell its parameters."""
    return isinstance(model, nn.Module)


def count_params(model: nn.Module) -> ParamCounts:
    """Count parameters; one that shares its storage with another (tied weights) counts once.

    Raises `ShapesUnknown` for lazy parameters.
    """
    counts: dict[tuple[int, int, int], tuple[int, bool]] = {}
    for name, parameter in model.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ShapesUnknown(
                f"parameter {name!r} of {type(model).__name__} is lazy: its shape is known only after a batch; "
                "give sample_batch so that it can be found out"
            )
        key = _storage_key(parameter)
        trainable = parameter.requires_grad or (key in counts and counts[key][1])
        counts[key] = (parameter.numel(), trainable)
    tables, multiplied = set[tuple[int, int, int]](), set[tuple[int, int, int]]()
    for module in model.modules():
        into = tables if isinstance(module, nn.Embedding | nn.EmbeddingBag) else multiplied
        into.update(_storage_key(parameter) for parameter in module.parameters(recurse=False))
    embeddings = tables - multiplied
    return ParamCounts(
        total=sum(number for number, _ in counts.values()),
        trainable=sum(number for number, trainable in counts.values() if trainable),
        non_embedding=sum(number for key, (number, _) in counts.items() if key not in embeddings),
    )


def has_lazy_params(model: nn.Module) -> bool:
    """Whether some parameter gets its shape only from the first batch."""
    return any(nn.parameter.is_lazy(parameter) for parameter in model.parameters())


def _storage_key(tensor: torch.Tensor) -> tuple[int, int, int]:
    """Equal for tensors over the same memory, on the meta device too; parts of one flat buffer differ in offset."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset()), tensor.numel()


@dataclass(frozen=True, kw_only=True)
class PassFlops:
    """FLOPs of one training step on one batch.

    Attributes:
        forward, backward: of the model itself.
        recompute: done again by activation checkpointing; not part of the other two.
        examples: leading dimension of the batch.
        activation_bytes: memory that the forward pass keeps for the backward pass, parameters not included.
        operations: how many were dispatched.
        uncounted: operations that may multiply matrices and are in none of these, their FLOPs at most where known.
        idle: parameters that a token does not meet (`flops_fit.sizes.active`).
        ahead: FLOPs of attention to tokens ahead, which are in none of these where it is taken for causal.
    """

    forward: int
    backward: int
    recompute: int
    examples: int
    activation_bytes: int
    operations: int
    uncounted: Mapping[str, int | None] = field(default_factory=dict)
    idle: float = 0.0
    ahead: int = 0


def measure_flops(
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[[Any, Any], Any],
    *,
    known: KnownValues | None = None,
    causal: bool = False,
    most_operations: float = math.inf,
) -> PassFlops:
    """Count the FLOPs (and kept memory) of one forward and backward pass over `batch`, a pair (inputs, targets).

    With `causal` a token attends to those before it and itself alone (`flops_fit.sizes.attention`).

    On the meta device no arithmetic is done, whatever the size; `known` then answers what the model asks of its data.
    Recomputation is told from the rest by gradient recording, which is on in a backward pass only while checkpointed
    activations are made again.

    Errors of the model on the batch pass through; `ModelContractError` where the loss has no gradient; `TooLong` after
    `most_operations`.
    """
    examples = batch_examples(batch)
    weights, kept = UsedWeights(model), _KeptMemory(model)
    attention = CausalAttention(context_of(batch), weights.owner) if causal else None
    forward, backward = FlopCounter(most_operations, weights, attention), FlopCounter(most_operations)
    with torch.compiler.set_stance("force_eager"), known or nullcontext():
        with torch.enable_grad():
            with forward, kept:
                loss = batch_loss(model, batch, loss_fn)
            if not loss.requires_grad:
                raise ModelContractError(
                    f"the loss of {type(model).__name__} does not depend on any trainable parameter, so nothing can be "
                    "trained; let some parameters require gradients"
                )
        with torch.no_grad(), backward:
            loss.backward()
    model.zero_grad(set_to_none=True)
    ahead, ahead_backward = (attention.ahead, attention.ahead_backward) if attention else (0, 0)
    return PassFlops(
        forward=forward.recorded + forward.unrecorded - ahead,
        backward=backward.unrecorded - ahead_backward,
        recompute=backward.recorded,
        examples=examples,
        activation_bytes=sum(kept.storages.values()),
        operations=forward.operations + backward.operations,
        uncounted=add_bounds(forward.uncounted, backward.uncounted),
        idle=weights.idle(),
        ahead=ahead + ahead_backward,
    )


class _KeptMemory(torch.autograd.graph.saved_tensors_hooks):
    """Sizes of the storages that autograd keeps for the backward pass, each once, those of parameters left out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(self._keep, lambda tensor: tensor)
        self.storages: dict[int, int] = {}
        self._parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._parameters:
            self.storages[storage._cdata] = storage.nbytes()
        return tensor


class FlopCounter(TorchDispatchMode):
    """Adds up FLOPs of dispatched operations, apart for those dispatched while gradients are recorded.

    Attributes:
        operations: how many were dispatched.
        uncounted: operations without a formula that may multiply matrices: how many FLOPs at most, by name; None where
            no bound is known.
    """

    def __init__(
        self,
        most_operations: float = math.inf,
        weights: UsedWeights | None = None,
        attention: CausalAttention | None = None,
    ) -> None:
        super().__init__()
        self._attention = attention
        self._most_operations = most_operations
        self._weights = weights
        self.recorded = 0
        self.unrecorded = 0
        self.operations = 0
        self.uncounted: dict[str, int | None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        if self.operations > self._most_operations:
            raise TooLong(f"a step takes more than {self._most_operations:,} operations of torch")
        kwargs = kwargs or {}
        formula = formula_of(func)
        if formula is None and _is_composite(func):
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        result = func(*args, **kwargs)
        if formula is not None:
            flops = formula(*args, **kwargs, out_val=result)
            self._add(flops)
            if self._weights is not None:
                self._weights.product(args, flops)
            if self._attention is not None:
                self._attention.product(func, args, flops)
            return result
        if self._weights is not None:
            self._weights.other(func, args, result)
        if _kind_of(func, args) not in _WITHOUT_PRODUCTS:
            self._count_parts(func, args, kwargs, result)
        return result

    def _add(self, flops: int) -> None:
        if torch.is_grad_enabled():
            self.recorded += flops
        else:
            self.unrecorded += flops

    def _count_parts(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Of an operation without a formula: what its parts cost, or else what it may cost at most."""
        parts = FlopCounter()
        if not _counted_apart(func, args, kwargs, parts) and may_multiply(func, args, kwargs):
            parts.uncounted[func.name()] = most_flops(args, kwargs, result)
        flops = parts.recorded + parts.unrecorded
        self._add(flops)
        self.uncounted = add_bounds(self.uncounted, parts.uncounted)
        if not flops and not parts.uncounted:
            _WITHOUT_PRODUCTS.add(_kind_of(func, args))


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


_WITHOUT_PRODUCTS: set[Any] = set()  # operations found to multiply no matrices, in this process, by `_kind_of`


def _kind_of(func: Any, args: Any) -> Any:
    """The operation and what its tensors are: one that scales vectors may multiply matrices all the same."""
    return func, tuple((arg.ndim, arg.dtype) if isinstance(arg, torch.Tensor) else type(arg) for arg in args)


def _counted_apart(func: Any, args: Any, kwargs: Any, parts: FlopCounter) -> bool:
    """Let `parts` see what torch says the operation is made of; false where it does not say, or not of such tensors."""
    made_of = parts_of(func)
    if made_of is None:
        return False
    args, kwargs = tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, torch.Tensor) else leaf, (args, kwargs))
    try:
        with _disable_current_modes(), parts:
            made_of(*args, **kwargs)
    except Exception:  # of tensors without data, or of a decomposition made for compilers alone: then it is tried out
        return False
    return True


def add_bounds(first: Mapping[str, int | None], second: Mapping[str, int | None]) -> dict[str, int | None]:
    """What is not counted of two, by name; unknown where one of them is."""
    together = dict(first)
    for name, bound in second.items():
        before = together.get(name, 0)
        together[name] = None if bound is None or before is None else before + bound
    return together
