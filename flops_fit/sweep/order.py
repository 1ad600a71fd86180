"""The order in which experiments are trained."""

from __future__ import annotations

from collections.abc import Iterable

from flops_fit.sweep.experiment import Experiment


def longest_first(experiments: Iterable[Experiment]) -> list[Experiment]:
    """In the order that keeps parallel workers busy to the end; of those that share a trunk the longest trains it."""
    return sorted(experiments, key=lambda item: (-item.compute_budget, -item.num_tokens, item.seed))
