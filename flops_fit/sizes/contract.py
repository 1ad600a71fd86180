"""Whether a model class is one that can be planned, found by building a small model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flops_fit.sizes.options import ProbeRequest


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
    from flops_fit.sizes.counting import check_signature, params_of
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
