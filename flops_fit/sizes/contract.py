"""Whether a model class is one that can be planned, found by building a small model of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flops_fit.basics.arguments import did_you_mean
from flops_fit.errors import ModelContractError
from flops_fit.sizes.model_factory import check_callable
from flops_fit.sizes.options import ProbeRequest
from flops_fit.sizes.signature import named, signature_of, swallows

_NEAR = 0.75  # of names that are likely meant for each other


def validate_model_contract(
    model_cls: Callable[..., Any], size_param: str, model_kwargs: Mapping[str, Any] | None = None
) -> int | None:
    """Build one small model, let it go, and return its parameters; None where they take shape with the first batch.

    Sizes are tried in the order that `flops_fit.build_size_map` tries them, until the constructor accepts one.

    Raises `ModelContractError` (a `TypeError`) for a model that cannot be called, does not take `size_param` or is
    given it in `model_kwargs` too, for a constructor that accepts no size, and for a `num_params()` that is missing
    (where the model is no `torch.nn.Module`, whose parameters are counted) or returns no positive whole number.
    """
    return check_model(ProbeRequest(model_cls=model_cls, size_param=size_param, model_kwargs=model_kwargs or {}))


def check_model(request: ProbeRequest) -> int | None:
    """`validate_model_contract` of a request, which may say which sizes are to be tried."""
    from flops_fit.sizes.counting import params_of
    from flops_fit.sizes.fallbacks import Prober
    from flops_fit.sizes.flops import ShapesUnknown
    from flops_fit.sizes.sandbox import contained
    from flops_fit.sizes.search import SizeSearch

    plain = replace(request.options, flops="6nd", param_count="total")  # whether it can be measured is not asked here
    prober = Prober(request=replace(request, options=plain))
    search = SizeSearch(prober, hint=check_signature(request))
    try:
        with contained():
            size = search.first_valid()
    except ShapesUnknown:
        return None
    return params_of(prober.probes[size].counts, "total")


def check_signature(request: ProbeRequest) -> str:
    """Refuse arguments that the model cannot take; returns a hint for a size parameter that `**kwargs` may swallow."""
    check_callable(request.model_cls)
    size_param, signature = request.size_param, signature_of(request.called)
    if signature is None:  # the first build will tell
        return ""
    name, takes = request.called_name, f"it takes {', '.join(signature.parameters) or 'nothing'}"
    hint = did_you_mean(size_param, signature.parameters, takes)
    if not request.passes_size and not request.dial.uses_size:
        raise ModelContractError(
            f"size_param = {size_param!r} sets nothing: {name} takes no argument {size_param!r} ({hint}), and no "
            f"expression of sizes has it; use it in one, such as '64*{size_param}'"
        )
    given = [*([size_param] if request.passes_size else []), *request.dial.names]
    for argument in given:
        if argument not in signature.parameters and not swallows(signature):
            near = did_you_mean(argument, signature.parameters, takes)
            raise ModelContractError(f"{name} takes no argument {argument!r}; {near}")
    try:
        signature.bind(**dict(request.model_kwargs) | dict.fromkeys(given, 1))
    except TypeError as error:
        raise ModelContractError(
            f"{name} cannot be called with {', '.join([*request.model_kwargs, *given])}: {error}; correct model_kwargs"
        ) from error
    return "" if size_param in signature.parameters else hint


def on_names(request: ProbeRequest) -> tuple[list[str], list[str]]:
    """What is likely a misspelt name, and what else to know of the names that sizes and a config have."""
    signature = signature_of(request.called)
    if signature is None or not named(signature) or (request.sizes is None and request.config is None):
        return [], []
    name, known = request.called_name, named(signature)
    doubts, notes = [], []
    for argument in (*request.dial.names, *request.model_kwargs):
        near = difflib.get_close_matches(argument, known, n=1, cutoff=_NEAR)
        if argument not in known and (near or argument in request.dial.names):
            more = f"did you mean {near[0]!r}?" if near else "see that it uses it"
            doubts.append(f"{name} has no argument {argument!r} of its own, though it takes it; {more}")
    if request.dial.is_argument and not request.passes_size:
        said = f"{request.size_param} is no argument of {name}: it sets {', '.join(request.dial.names)} alone"
        near = difflib.get_close_matches(request.size_param, known, n=1, cutoff=_NEAR)
        if near and near[0] not in request.dial.names:
            doubts.append(f'{said}; if {near[0]} is meant, give size_param = "{near[0]}"')
        else:
            notes.append(said)
    return doubts, notes
