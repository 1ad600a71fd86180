"""The hold-outs of the public tables: the largest compute groups left out, and what was trained there.

A group is an IsoFLOP budget, or a bin a factor 3 wide in compute where a table has none. Its minimum is that of a
parabola in ln N, and counts where it lies inside the sizes; where compute differs by more than 5 % within the group,
the losses are levelled to one compute first, by a slope in ln C that may change with ln N.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from flops_fit.scaling_law.approaches.isoflop import isoflop_minima
from flops_fit.scaling_law.checks.holdout import compute_groups
from flops_fit.scaling_law.fit import fit_both
from flops_fit.scaling_law.flops_per_token import learn_flops_per_token, optimal_params
from flops_fit.scaling_law.table.runs import Runs, read_runs

FAMILIES = {
    "Chinchilla": ("epoch 240", "epoch 245", "kyo"),
    "Porian": ("porian",),
    "Llama 3": ("llama 3",),
    "misfitting": ("misfitting",),
    "Gemstones": ("gemstones",),
    "Farseer": ("farseer",),
}
SYNTHETIC = "synthetic"
NEAR = np.log(4.0)
FEWEST_LEFT = 12  # runs to fit to,
GROUPS_LEFT = 3  # in so many groups


@dataclass(frozen=True, kw_only=True)
class HeldMinimum:
    """The minimum of a held-out group's own curve at C FLOPs; `curvature` is d2 loss / d(ln N)2 over 2."""

    C: float
    N: float
    loss: float
    curvature: float


@dataclass(frozen=True, kw_only=True, eq=False)
class HoldOut:
    """`train` is what may be fitted to; (N, D, loss) the runs near the valley of what was left out; `distance` is how
    far beyond the largest training compute they lie, in ln C."""

    table: str
    family: str
    groups: int
    train: pd.DataFrame
    N: np.ndarray
    D: np.ndarray
    loss: np.ndarray
    minima: tuple[HeldMinimum, ...]
    distance: float


def family_of(table: str) -> str:
    """The family that a public table belongs to; "synthetic" for the one that nobody trained."""
    found = [family for family, names in FAMILIES.items() if any(table.startswith(name) for name in names)]
    return found[0] if found else SYNTHETIC


def hold_outs(name: str, table: pd.DataFrame, most: int = 3) -> list[HoldOut]:
    """Up to `most` hold-outs of a table: its largest group left out, its two largest, and so on."""
    if "split" in table:
        table = table[table["split"] == "train"].reset_index(drop=True)
    runs = read_runs(table)
    group = compute_groups(runs)
    levels = np.unique(group)
    centre = _centres(runs, group)
    found = []
    for groups in range(1, most + 1):
        if len(levels) < groups + GROUPS_LEFT:
            break
        held = group >= levels[-groups]
        near = held & (np.abs(np.log(runs.num_params / centre)) <= NEAR)
        if (~held).sum() < FEWEST_LEFT or near.sum() < 2:
            continue
        minima = (minimum_of(runs.subset(group == level)) for level in levels[-groups:])
        train = runs.subset(~held).to_frame()[["num_params", "num_tokens", "flops", "loss"]]
        found.append(
            HoldOut(
                table=name,
                family=family_of(name),
                groups=groups,
                train=train,
                N=runs.num_params[near],
                D=runs.num_tokens[near],
                loss=runs.loss[near],
                minima=tuple(minimum for minimum in minima if minimum is not None),
                distance=float(np.log(np.median(runs.flops[held]) / runs.flops[~held].max())),
            )
        )
    return found


def _centres(runs: Runs, group: np.ndarray) -> np.ndarray:
    """N in the middle of each run's valley: its group's own minimum, or the law of all runs where that has none."""
    per_token = learn_flops_per_token(runs.num_params, runs.num_tokens, runs.flops)
    law = fit_both(runs, per_token, "auto", "auto")[0].fit
    centre = optimal_params(law.parameters, runs.flops, per_token)
    for level in np.unique(group):
        minimum = minimum_of(runs.subset(group == level))
        if minimum is not None:
            centre[group == level] = minimum.N
    return centre


def minimum_of(members: Runs) -> HeldMinimum | None:
    """The interior minimum of one group."""
    if len(np.unique(members.num_params)) < 4:
        return None
    budget = float(np.median(members.flops))
    spread = np.log(members.flops / budget)
    if np.ptp(spread) > np.ptp(np.log(members.num_params)):  # no valley can be told from the slope
        return None
    if np.ptp(spread) > 0.05:  # of different compute: level the losses to one first
        x = np.log(members.num_params) - np.log(members.num_params).mean()
        terms = np.column_stack([np.ones_like(x), x, x**2, spread, x * spread])
        slope, turn = np.linalg.lstsq(terms, np.log(members.loss), rcond=None)[0][3:]
        levelled = members.loss * np.exp(-(slope + turn * x) * spread)
    else:
        levelled = members.loss
    found = isoflop_minima(replace(members, loss=levelled, budget=np.full(len(members), budget)))
    if not found or not found[0].interior:
        return None
    own = found[0]
    return HeldMinimum(C=budget, N=own.N, loss=own.loss, curvature=own.coefficients[0])
