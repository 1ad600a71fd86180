"""Whether several draws of each held-out example are draws at all: they cost as often as they are taken."""

from __future__ import annotations

import math

from flops_fit.training.loop import TrainingLoop

_ROUNDING = 1e-6  # relative, of sums in another order


def doubt_of_draws(loop: TrainingLoop) -> str | None:
    """What to say where neither model nor held-out data draw at random, and several draws are asked for."""
    asked = loop.job.data.eval_draws
    if asked == 1:
        return None
    name = loop.job.data.held_out_name
    once, twice = loop.held_out_loss(name, draws=1), loop.held_out_loss(name, draws=2)
    if not math.isclose(once, twice, rel_tol=_ROUNDING):
        return None
    return (
        f"eval_draws = {asked} measures every held-out example {asked} times, and neither the model in evaluation mode "
        "nor the held-out data draw at random, so that all are alike; leave it out"
    )
