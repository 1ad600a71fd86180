"""Parameters and FLOPs of a model: what N counts, and what a token costs forward and backward.

FLOPs are those of matrix products and convolutions, 2 per multiply-add; elementwise work is left out, as it is in 6·N.
They are counted on the operations the model really dispatches, so nothing about its architecture is assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from flops_fit.data.nested import batch_examples
from flops_fit.errors import ModelContractError
from flops_fit.loss import batch_loss


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
    """

    forward: int
    backward: int
    recompute: int
    examples: int
    activation_bytes: int
    operations: int


def measure_flops(model: nn.Module, batch: Any, loss_fn: Callable[[Any, Any], Any]) -> PassFlops:
    """Count the FLOPs (and kept memory) of one forward and backward pass over `batch`, a pair (inputs, targets).

    On the meta device no arithmetic is done, whatever the size. Recomputation is told from the rest by gradient
    recording, which is on in a backward pass only while checkpointed activations are made again.

    Errors of the model on the batch pass through; `ModelContractError` where the loss has no gradient.
    """
    examples = batch_examples(batch)
    forward, backward, kept = _FlopCounter(), _FlopCounter(), _KeptMemory(model)
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
    return PassFlops(
        forward=forward.recorded + forward.unrecorded,
        backward=backward.unrecorded,
        recompute=backward.recorded,
        examples=examples,
        activation_bytes=sum(kept.storages.values()),
        operations=forward.operations + backward.operations,
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


class _FlopCounter(TorchDispatchMode):
    """Adds up FLOPs of dispatched operations, apart for those dispatched while gradients are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded = 0
        self.unrecorded = 0
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        kwargs = kwargs or {}
        formula = _FORMULAS.get(func._overloadpacket)
        if formula is None and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        result = func(*args, **kwargs)
        if formula is not None:
            flops = formula(*args, **kwargs, out_val=result)
            if torch.is_grad_enabled():
                self.recorded += flops
            else:
                self.unrecorded += flops
        return result


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


_CONVOLUTIONS = ("convolution", "_convolution", "cudnn_convolution", "convolution_overrideable", "_slow_conv2d_forward")
_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    **{getattr(torch.ops.aten, name): _convolution for name in _CONVOLUTIONS},
    torch.ops.aten.convolution_backward: _convolution_backward,
    torch.ops.aten.mv: _matrix_vector,
}
