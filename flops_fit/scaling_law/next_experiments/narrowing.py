"""Where the runs show no bend: the experiments that are expected to narrow the answer most per FLOP.

The ladder's top has a run by then, since a bend may show only there. The law is now taken at its word: its resamples
say what each run would teach (`expected`). Corners that this formula loves are out of reach: only sizes within a factor
`REACH` of the optimum are chosen. On laws that are exact it needs a third of what the ladder does for the same answer
(`benchmarks/adaptive_synthetic.md`); on real runs, most of which show their bend soon, it changes little
(`benchmarks/adaptive.md`). The covariance of M-estimation, smoother than that of resamples of a dozen runs, chose no
better.
"""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.shape import PERHAPS
from flops_fit.scaling_law.next_experiments.candidate import Points
from flops_fit.scaling_law.next_experiments.expected import Outlook
from flops_fit.scaling_law.next_experiments.width import LOGS, QUANTITIES

FEWEST_RUNS = 12  # from which a law without a bend is believed
REACH = float(np.log(6))  # of the optimum, in ln N


def looks_straight(law: FittedLaw | None) -> bool:
    """Whether enough runs have the shape of the five-parameter law."""
    if law is None or not law.determined or len(law.runs) < FEWEST_RUNS:
        return False
    chance = law.prediction.bend_chance
    return law.form == "chinchilla" and chance is not None and chance >= PERHAPS


def narrowing(
    view: Outlook,
    open_: Points,
    index: np.ndarray,
    distance: np.ndarray,
    n: int,
    flops_left: float,
    quantity: str,
) -> np.ndarray:
    """What up to `n` of `open_` are to `view`, (chosen,), one chosen after the other, as far as `flops_left` reach.

    `index` says where `view` has each, `distance` is `ln(N/N_opt)`, (open,) both. Where N_opt and the loss are asked
    for, the shares by which their variances fall count alike.
    """
    wanted = [[*LOGS].index(name) for name in QUANTITIES[quantity]]
    near = np.abs(distance) <= REACH + 1e-9
    chosen: list[int] = []
    while len(chosen) < n:
        can = np.flatnonzero(near & (flops_left >= open_.C))
        if not len(can):
            break
        worth = view.falls(index[can])[:, wanted].mean(axis=1) / open_.C[can]
        best = int(can[np.argmax(worth)])
        chosen.append(best)
        near[best] = False
        flops_left -= float(open_.C[best])
        view = view.after(int(index[best]))
    return index[chosen]
