"""What N and FLOPs per token are where a study does not say: by the kind of its model, found on its smallest size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flops_fit.sizes.fallbacks import Prober
from flops_fit.sizes.options import AUTO, ProbeRequest
from flops_fit.sizes.progress import MapProgress
from flops_fit.sizes.search import SizeSearch


def with_conventions(request: ProbeRequest, progress: MapProgress | None = None) -> Prober:
    """A prober of `request` with "auto" replaced; its notes say by what.

    A model with embeddings is taken for a language model, whose N is without them (Kaplan et al. 2020, section 2.1) and
    whose FLOPs are measured: of small models 6 FLOPs per parameter leave out attention, which is much of it. Any other
    has all its parameters as N, and 6 FLOPs for each; and so one that says its own `num_params()`, which is believed,
    or has no batch and loss to measure with, or can be measured on none of the sizes tried.

    Raises `ModelContractError` where no size is valid.
    """
    options = request.options
    if AUTO not in (options.flops, options.param_count):
        return Prober(request=request, progress=progress)
    prober = Prober(request=_with(request, {"flops": "6nd", "param_count": "total"}), progress=progress)
    first = SizeSearch(prober).first_valid()
    counts = prober.probes[first].counts
    if not 0 < counts.get("non_embedding", 0) < counts.get("total", 0):
        return prober
    chosen = {
        "param_count": "total" if "own" in counts else "non_embedding",
        "flops": "measured" if first in prober.steps.measured else "6nd",
    }
    prober.request = _with(request, chosen)
    said = [f'{name} = "{chosen[name]}"' for name in chosen if getattr(options, name) == AUTO]
    prober.notes.append(f"a model with embeddings: {' and '.join(said)}, as the study says nothing else")
    return prober


def _with(request: ProbeRequest, values: Mapping[str, Any]) -> ProbeRequest:
    """`request` with these values where it has "auto"."""
    auto = {name: value for name, value in values.items() if getattr(request.options, name) == AUTO}
    return replace(request, options=replace(request.options, **auto))
