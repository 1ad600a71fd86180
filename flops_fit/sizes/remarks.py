"""What a reader should know of the counts in a size map."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from flops_fit.sizes.dial import Table
from flops_fit.sizes.entry import SizeEntry
from flops_fit.sizes.options import PARAM_COUNTS, ProbeRequest

NO_STEP = "builds, but a training step raised"  # how the reason begins that a size is skipped for


def remarks_on(entries: Sequence[SizeEntry], request: ProbeRequest) -> list[str]:
    """What a reader should know of the counts: N that falls as the size grows, and a `num_params()` that disagrees."""
    remarks = []
    ordered = sorted(entries, key=lambda entry: entry.size)
    for small, large in itertools.pairwise(ordered if request.dial.values is None else ()):
        if large.num_params < small.num_params:
            remarks.append(
                f"parameters fall from {small.num_params:,} at {request.at(small.size)} to {large.num_params:,} at "
                f"{request.at(large.size)}; the map is in order of parameters"
            )
            break
    for entry in ordered:
        if None not in (entry.own_num_params, entry.total_params) and entry.own_num_params != entry.total_params:
            counted = {name: getattr(entry, f"{name}_params") for name in PARAM_COUNTS}
            same = [name for name, count in counted.items() if count == entry.own_num_params]
            hint = f"that is the {same[0]} count" if same else "check which of the two you mean"
            convention = request.options.param_count
            meant = "what num_params() says" if convention == "total" else f"the {convention} count"
            remarks.append(
                f"num_params() says {entry.own_num_params:,} at {request.at(entry.size)} where {entry.total_params:,} "
                f"parameters are counted; {hint}; N is {meant}"
            )
            break
    return remarks


def on_steps(entries: Sequence[SizeEntry], failures: Mapping[int, str], request: ProbeRequest) -> list[str]:
    """That the map ends where larger sizes take no training step, which `failures` (size → reason) say of them."""
    largest = max((entry.size for entry in entries), default=0)
    broken = sorted(size for size, reason in failures.items() if size > largest and reason.startswith(NO_STEP))
    if not broken:
        return []
    return [f"the map ends at {request.at(largest)}: {request.at(broken[0])} {failures[broken[0]]}"]


def on_rows(reasons: Mapping[int, str], request: ProbeRequest) -> list[str]:
    """Which rows of a table, each of which was asked for, are no sizes; `reasons` are by size."""
    dial = request.dial
    if not isinstance(dial, Table) or not reasons:
        return []
    first, *more = reasons
    also = f" (and {', '.join(dial.label(size) for size in more)})" if more else ""
    return [f"row {dial.label(first)} of sizes{also} is left out: {reasons[first]}; change it, or take it out of sizes"]


def on_experts(entries: Sequence[SizeEntry], request: ProbeRequest) -> list[str]:
    """That a token meets fewer parameters than N counts."""
    if request.options.param_count == "active":
        return []
    mixed = next((entry for entry in reversed(entries) if entry.active_params is not None), None)
    if mixed is None:
        return []
    return [
        f"a mixture of experts: at {request.at(mixed.size)} a token meets {mixed.active_params:,} of "
        f'{mixed.total_params:,} parameters; param_count = "active" makes these N'
    ]


def on_own_flops(entries: Sequence[SizeEntry], request: ProbeRequest) -> list[str]:
    """What the model's own estimate of its FLOPs says beside what is counted."""
    largest = next((entry for entry in reversed(entries) if entry.own_flops_per_token is not None), None)
    if largest is None:
        return []
    own, taken = float(largest.own_flops_per_token or 0), request.options.flops == "model"
    counted = largest.measured_flops_per_token if taken else largest.flops_per_token
    says = f"the model's own estimate is {own:.4g} FLOPs per token at {request.at(largest.size)}"
    if counted is None:
        return [says]
    how = "measured" if taken else request.options.flops_method
    remedy = "" if taken else '; flops = "model" takes its own'
    return [f"{says}, {own / counted:.3g} times the {counted:.4g} counted ({how}){remedy}"]
