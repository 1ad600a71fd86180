"""Building one model of a given size, counting it and freeing it: on the meta device, or for real."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flops_fit.basics.arguments import need, number
from flops_fit.data.nested import map_leaves, to_meta
from flops_fit.errors import ModelContractError
from flops_fit.loss import batch_loss
from flops_fit.processes.process_state import process_state_kept
from flops_fit.sizes.flops import PassFlops, count_params, has_lazy_params, measure_flops
from flops_fit.sizes.known_values import KnownValues
from flops_fit.sizes.model_factory import own_flops_per_token, own_num_params, uncountable
from flops_fit.sizes.options import ProbeRequest, SizeOptions
from flops_fit.sizes.sandbox import Failure, NoGpu, failure_of, without_initialisers

MOST_ON_META = 30_000  # operations of a step that are looked at: ten seconds on one core
MOST_FOR_REAL = 100_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step on the sample batch, counted.

    `counts` has "measured" and "recompute" (FLOPs of the batch), "activation_bytes" and "idle" (parameters that a token
    does not meet); `source` is "meta", "real" or "worked out"; `uncounted` and `ahead` as in
    `flops_fit.sizes.flops.PassFlops`.
    """

    counts: Mapping[str, float]
    source: str
    operations: int = 0
    uncounted: Mapping[str, int | None] = field(default_factory=dict)
    ahead: int = 0


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One valid size, counted.

    `counts` has those of "own", "total", "trainable", "non_embedding", "own_flops" and "function" that are known;
    `work` is how many calls of torch building it took; `step` is there where one was taken, `step_failure` where it
    failed.
    """

    size: int
    counts: Mapping[str, float]
    source: str
    work: int = 0
    step: Step | None = None
    step_failure: Failure | None = None


def params_of(counts: Mapping[str, float], param_count: str) -> int:
    """N by convention; the total is what the model's own `num_params()` says, where it has one.

    For "active" it is the total too, from which a step takes what a token does not meet.

    Raises `ModelContractError` where the convention needs an `nn.Module` and the model is none, or counts nothing.
    """
    if param_count in ("total", "active"):
        return int(counts.get("own", counts.get("total", 0)))
    if param_count not in counts:
        raise ModelContractError(
            f'param_count = "{param_count}" needs a torch.nn.Module to count in; give "total" to use num_params()'
        )
    if counts[param_count] < 1:
        raise ModelContractError(f'the model has no parameters that count as "{param_count}"; give another param_count')
    return int(counts[param_count])


@process_state_kept()  # what one size changes in the process must not reach the next
def build_and_count(request: ProbeRequest, size: int, *, device: str, step: bool = False) -> Probe:
    """Build one model on "meta" or "cpu", count it and free it; errors of its constructor pass through.

    With `step` a training step is taken too, without data; how it failed is in the probe.
    """
    known = KnownValues()
    with ExitStack() as stack:
        watched = stack.enter_context(NoGpu())
        for place in (torch.device("meta"), known) if device == "meta" else (without_initialisers(),):
            stack.enter_context(place)
        model = request.build(size)
    counts = _counts(model, request, device)
    taken = _step_on_meta(model, request.options, device, known) if step and isinstance(model, nn.Module) else None
    alive = weakref.ref(model) if isinstance(model, nn.Module) else None
    del model
    for generation in range(3):
        if alive is not None and alive() is not None:  # it is part of a reference cycle
            gc.collect(generation)
    return Probe(
        size=size,
        counts=counts,
        source="meta" if device == "meta" else "real",
        work=watched.calls,
        step=taken if isinstance(taken, Step) else None,
        step_failure=taken if isinstance(taken, Failure) else None,
    )


@process_state_kept()
def run_for_real(request: ProbeRequest, size: int) -> Step:
    """A training step of a model with weights as they are at the start of training, the same on every call."""
    options = request.options
    assert options.loss_fn is not None
    torch.manual_seed(0)
    with NoGpu():
        model = request.build(size)
    if has_lazy_params(model):
        _materialize(model, options, "cpu")
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):  # their FLOPs can be counted
        flops = measure_flops(
            model,
            options.sample_batch,
            options.loss_fn,
            causal=options.attention_flops == "causal",
            most_operations=MOST_FOR_REAL,
        )
    return _step_of(flops, "real")


def _counts(model: Any, request: ProbeRequest, device: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    options = request.options
    if isinstance(model, nn.Module):
        if has_lazy_params(model):
            _materialize(model, options, device)
        counts |= vars(count_params(model))
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
    own_flops = own_flops_per_token(model, needed=options.flops == "model")
    if own_flops is not None:
        counts["own_flops"] = own_flops
    if callable(options.flops):
        name = getattr(options.flops, "__name__", repr(options.flops))
        counts["function"] = float(options.flops(model))
        need(f"FLOPs per token by {name}(model)", counts["function"], number(above=0))
    return counts


def _step_on_meta(model: nn.Module, options: SizeOptions, device: str, known: KnownValues) -> Step | Failure:
    """A training step on the sample batch without data but what the batch and constants say; or how it failed."""
    assert options.loss_fn is not None
    try:
        twin = model.to("meta") if device == "meta" else meta_twin(model)
        batch = map_leaves(known.moved, options.sample_batch)
        flops = measure_flops(
            twin,
            batch,
            to_meta(options.loss_fn),
            known=known,
            causal=options.attention_flops == "causal",
            most_operations=MOST_ON_META,
        )
    except (Exception, SystemExit) as error:
        return failure_of(error)
    return _step_of(flops, "meta")


def _step_of(flops: PassFlops, source: str) -> Step:
    return Step(
        counts={
            "measured": flops.forward + flops.backward,
            "recompute": flops.recompute,
            "activation_bytes": flops.activation_bytes,
            "idle": flops.idle,
        },
        source=source,
        operations=flops.operations,
        uncounted=flops.uncounted,
        ahead=flops.ahead,
    )


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
