"""Building one model of a given size, counting it and freeing it: on the meta device, or for real."""

from __future__ import annotations

import copy
import gc
import inspect
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flops_fit.basics.arguments import did_you_mean, need, number
from flops_fit.data.nested import to_meta
from flops_fit.errors import ModelContractError
from flops_fit.loss import batch_loss
from flops_fit.processes.process_state import process_state_kept
from flops_fit.sizes.flops import count_params, has_lazy_params, measure_flops
from flops_fit.sizes.model_factory import check_callable, create_model, own_num_params, uncountable
from flops_fit.sizes.options import ProbeRequest, SizeOptions
from flops_fit.sizes.sandbox import NoGpu, without_initialisers

MEASURING = 5  # times as long as a call while a model is built takes an operation whose FLOPs are counted


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One valid size, counted.

    `counts` has those of "own", "total", "trainable", "non_embedding", "measured", "recompute" (FLOPs of a batch),
    "activation_bytes" (of a batch) and "function" that are known. `work` is what that took: calls of torch while it was
    built, and `MEASURING` for each operation of the step that was measured.
    """

    size: int
    counts: Mapping[str, float]
    source: str
    work: int = 0


class CannotMeasure(Exception):
    """The model was built, but one training step on the sample batch failed."""


def params_of(counts: Mapping[str, float], param_count: str) -> int:
    """N by convention; the total is what the model's own `num_params()` says, where it has one.

    Raises `ModelContractError` where the convention needs an `nn.Module` and the model is none, or counts nothing.
    """
    if param_count == "total":
        return int(counts.get("own", counts.get("total", 0)))
    if param_count not in counts:
        raise ModelContractError(
            f'param_count = "{param_count}" needs a torch.nn.Module to count in; give "total" to use num_params()'
        )
    if counts[param_count] < 1:
        raise ModelContractError(f'the model has no parameters that count as "{param_count}"; give another param_count')
    return int(counts[param_count])


def check_signature(request: ProbeRequest) -> str:
    """Refuse arguments that the model cannot take; returns a hint for a size parameter that `**kwargs` may swallow."""
    check_callable(request.model_cls)
    try:
        signature = inspect.signature(request.model_cls)
    except (TypeError, ValueError):  # some built-in callables have no signature: the first build will tell
        return ""
    size_param, parameters = request.size_param, signature.parameters
    hint = did_you_mean(size_param, parameters, f"it takes {', '.join(parameters) or 'nothing'}")
    swallows = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if size_param not in parameters and not swallows:
        raise ModelContractError(f"{request.name} takes no argument {size_param!r}; {hint}")
    try:
        signature.bind(**dict(request.model_kwargs) | {size_param: 1})
    except TypeError as error:
        raise ModelContractError(
            f"{request.name} cannot be called with {', '.join([*request.model_kwargs, size_param])}: {error}; correct "
            "model_kwargs"
        ) from error
    return "" if size_param in parameters else hint


@process_state_kept()  # what one size changes in the process must not reach the next
def build_and_count(request: ProbeRequest, size: int, *, device: str) -> Probe:
    """Build one model on "meta" or "cpu", count it and free it; errors of its constructor pass through."""
    with ExitStack() as stack:
        watched = stack.enter_context(NoGpu())
        stack.enter_context(torch.device("meta") if device == "meta" else without_initialisers())
        model = create_model(request.model_cls, request.size_param, size, request.model_kwargs)
    alive = weakref.ref(model) if isinstance(model, nn.Module) else None
    counts = _counts(model, request, device)
    work = watched.calls + MEASURING * counts.pop("operations", 0)
    del model
    for generation in range(3):
        if alive is not None and alive() is not None:  # it is part of a reference cycle
            gc.collect(generation)
    return Probe(size=size, counts=counts, source="meta" if device == "meta" else "real", work=int(work))


def _counts(model: Any, request: ProbeRequest, device: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    options = request.options
    if isinstance(model, nn.Module):
        if has_lazy_params(model):
            _materialize(model, options, device)
        counts |= vars(count_params(model))
        if options.measures:
            counts |= _measured_if_possible(model, options, device)
    elif options.flops == "measured":
        raise ModelContractError(
            f'flops = "measured" needs a torch.nn.Module, and {type(model).__name__} is none; give "6nd" or a function'
        )
    own = own_num_params(model)
    if own is not None:
        counts["own"] = own
    elif not isinstance(model, nn.Module):
        raise uncountable(model)
    elif counts["total"] == 0:  # perhaps of this size alone
        raise ValueError(f"{type(model).__name__} has no parameters; a model to scale needs some")
    if callable(options.flops):
        name = getattr(options.flops, "__name__", repr(options.flops))
        counts["function"] = float(options.flops(model))
        need(f"FLOPs per token by {name}(model)", counts["function"], number(above=0))
    return counts


def _measured_if_possible(model: nn.Module, options: SizeOptions, device: str) -> dict[str, float]:
    """Nothing where measuring fails and the plan does not rest on it."""
    try:
        return _measured(model, options, device)
    except (Exception, SystemExit) as error:
        if options.flops == "measured":
            raise CannotMeasure(f"{type(error).__name__}: {error}") from error
        return {}


def _measured(model: nn.Module, options: SizeOptions, device: str) -> dict[str, float]:
    """FLOPs of one training step on the sample batch: on the meta device, or else with real weights if there are any.

    Real tensors need plain kernels: of fused attention and fused LSTMs no FLOPs can be counted.
    """
    assert options.loss_fn is not None
    try:
        twin = model.to("meta") if device == "meta" else meta_twin(model)
        flops = measure_flops(twin, to_meta(options.sample_batch), to_meta(options.loss_fn))
    except (Exception, SystemExit):
        if device == "meta":
            raise
        with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
            flops = measure_flops(model, options.sample_batch, options.loss_fn)
    return {
        "measured": flops.forward + flops.backward,
        "recompute": flops.recompute,
        "activation_bytes": flops.activation_bytes,
        "operations": flops.operations,
    }


def meta_twin(model: nn.Module) -> nn.Module:
    """A copy without data, with the same parameters tied, of a model whose memory may never have been touched."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
    }
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


def _materialize(model: nn.Module, options: SizeOptions, device: str) -> None:
    """Let lazy parameters take their shapes from the sample batch, if there is one."""
    if options.sample_batch is None:
        return
    batch = to_meta(options.sample_batch) if device == "meta" else options.sample_batch
    with torch.no_grad():
        batch_loss(model, batch, lambda outputs, targets: torch.zeros(()))
