"""Which law to predict with: forms and windows fitted to the runs, judged on the largest budget that is left out.

Candidates are the five-parameter law and the one with a bend (`fitting.bent`), each over all budgets and the last 5, 4
and 3, runs far from the valley weighted down. Each is refitted without the largest budget and predicts it; the three
that do best predict together (`mixture`), moved onto the runs of the largest budget (`anchor`). The same procedure,
without the largest one and two budgets, says how far off it has been (`misfit`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from flops_fit.basics.from_json import NULL_IS_INFINITY
from flops_fit.scaling_law.anchor import Anchor, anchor
from flops_fit.scaling_law.checks.holdout import NEAR, Holdout, compute_groups
from flops_fit.scaling_law.fitting.bent import FREE, fit_forms, linearised, refit_form, to_members, with_free
from flops_fit.scaling_law.fitting.held import FREE as NOTHING_HELD
from flops_fit.scaling_law.fitting.held import Held, limits
from flops_fit.scaling_law.fitting.objective import LARGE, MIN_LOG_E, Centred, centre
from flops_fit.scaling_law.fitting.one_step import resample
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.scaling_law.fitting.uncertainty import resampled_counts
from flops_fit.scaling_law.flops_per_token import FlopsPerToken, optimal_params
from flops_fit.scaling_law.misfit import Miss
from flops_fit.scaling_law.mixture import mixed_loss, mixed_optimum
from flops_fit.scaling_law.table.runs import Runs

WINDOWS = (None, 5, 4, 3)
BEST = 3
FEWEST_BUDGETS, FEWEST_RUNS = 5, 20  # below these a bend is not to be had from the runs
FEWEST_IN_FIT, FEWEST_JUDGES = 12, 2
VALLEY = 1.4  # |ln(N/N_opt)| at which a run starts to count less
PASTS = 2  # budgets left out to see how far off the procedure has been


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One form over one window of budgets (None: all).

    Attributes:
        parameters: (E, A, B, alpha, beta, gamma).
        sigma: residual scale on log loss within its window.
        error: root mean square of `ln L_pred - ln L` near the valley of the largest budget, fitted without it.
        chosen: whether it is among those that predict.
    """

    form: str
    window: int | None
    parameters: tuple[float, ...]
    sigma: float
    error: float = field(metadata=NULL_IS_INFINITY)  # infinite where the runs are too few to be judged so
    chosen: bool

    @property
    def description(self) -> str:
        """Form and window in words."""
        form = "five-parameter law" if self.form == "chinchilla" else f"bent (gamma {self.parameters[5]:.2f})"
        return f"{form}, {f'last {self.window} budgets' if self.window else 'all budgets'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        error = self.error if np.isfinite(self.error) else None
        return asdict(self) | {"parameters": list(self.parameters), "error": error}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The candidates fitted to the runs up to a group: theta and scale by (form, window), weights by window."""

    theta: Mapping[tuple[str, int | None], np.ndarray]
    scale: Mapping[tuple[str, int | None], float]
    weights: Mapping[int | None, np.ndarray]
    keep: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Rolling:
    """Candidates fitted to all budgets and without the largest ones; `parts[k]` leaves out k of `levels`; `sure` is
    whether the runs show that they bend, and do not only leave it open."""

    runs: Runs
    data: Centred
    flops_per_token: FlopsPerToken
    group: np.ndarray
    levels: np.ndarray
    near: np.ndarray
    minima: Mapping[float, float]
    parts: tuple[Part, ...]
    keeps_E: bool
    sure: bool

    def chosen(self, left_out: int = 0) -> list[tuple[str, int | None]]:
        """What predicts beyond part `left_out`: the best three at the group before; the five-parameter law alone where
        the part is small, or a bend is not sure."""
        part = self.parts[left_out]
        small = len(self.levels) - left_out < FEWEST_BUDGETS or int(part.keep.sum()) < FEWEST_RUNS
        scores = {key: error for key, error in self.errors(left_out).items() if key in part.theta}
        if small or not self.sure or len(scores) < BEST:
            return [("chinchilla", None)]
        return sorted(scores, key=lambda key: scores[key])[:BEST]

    def errors(self, left_out: int = 0) -> dict[tuple[str, int | None], float]:
        """RMS error near the valley of each candidate at the group above the part that leaves out one more."""
        if left_out + 1 >= len(self.parts):
            return {}
        part = self.parts[left_out + 1]
        judges = self.near & (self.group == self.levels[-(left_out + 1)])
        if judges.sum() < FEWEST_JUDGES:
            return {}
        members = {key: to_members(theta[None], self.data) for key, theta in part.theta.items()}
        return {key: float(np.sqrt(np.mean(self._off(own, judges) ** 2))) for key, own in members.items()}

    def fitted(self, left_out: int = 0) -> np.ndarray:
        """The chosen of part `left_out` as they were fitted, (members, 6)."""
        theta = self.parts[left_out].theta
        return to_members(np.array([theta[key] for key in self.chosen(left_out)]), self.data)

    def anchor(self, left_out: int = 0, own: np.ndarray | None = None) -> Anchor:
        """What predicts beyond part `left_out`: the chosen (or `own` members), moved onto the part's largest budget."""
        keep = self.parts[left_out].keep
        top = float(np.median(self.runs.flops[self.group == self.levels[-1 - left_out]]))
        members = self.fitted(left_out) if own is None else own
        runs, scale = self.runs.subset(keep), self._scale(left_out)
        return anchor(members, runs, top, self.flops_per_token, scale, keeps_E=self.keeps_E)

    def members(self, left_out: int = 0) -> np.ndarray:
        """What predicts beyond part `left_out`, (members, 6)."""
        return self.anchor(left_out).members

    def _scale(self, left_out: int) -> float:
        """The noise of one run's log loss, as the chosen of a part see it."""
        return float(np.mean([self.parts[left_out].scale[key] for key in self.chosen(left_out)]))

    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate, the best first."""
        errors, chosen, part = self.errors(), self.chosen(), self.parts[0]
        found = [
            Candidate(
                form=key[0],
                window=key[1],
                parameters=tuple(to_members(theta, self.data).tolist()),
                sigma=float(part.scale[key]),
                error=errors.get(key, float("inf")),
                chosen=key in chosen,
            )
            for key, theta in part.theta.items()
        ]
        return tuple(sorted(found, key=lambda candidate: (not candidate.chosen, candidate.error)))

    def misses(self) -> tuple[Miss, ...]:
        """How the same procedure, without the largest one and two groups, missed each of them."""
        found = []
        for left_out in range(1, min(PASTS + 1, len(self.parts))):
            members = self.members(left_out)
            top = float(self.runs.flops[self.parts[left_out].keep].max())
            found += [self._miss(members, level, top) for level in self.levels[-left_out:]]
        return tuple(miss for miss in found if np.isfinite(miss.log_loss))

    def widest(self) -> int | None:
        """The widest window among the chosen."""
        windows = [window for _, window in self.chosen()]
        return None if None in windows else max(window for window in windows if window is not None)

    def holdout(self) -> Holdout | None:
        """The error at the largest group of what would have predicted it; None where too few runs judge."""
        held = self.group == self.levels[-1]
        judges = held & self.near
        if len(self.parts) < 2 or judges.sum() < FEWEST_JUDGES:
            return None
        members = self.members(1)
        off = self._off(members, judges)
        compute = float(np.median(self.runs.flops[held]))
        without, final = (mixed_optimum(each, compute, self.flops_per_token) for each in (members, self.members()))
        return Holdout(
            flops=float(self.runs.flops[held].min()),
            runs=int(judges.sum()),
            error=float(np.sqrt(np.mean(off**2))),
            bias=float(off.mean()),
            sigma=self._scale(1),
            N_ratio=float(without / final),
        )

    def members_with_E(self, shifts: np.ndarray) -> np.ndarray:
        """The chosen members refitted with ln E held at each of `shifts` (k,) from where it was, (k, members, 6)."""
        part = self.parts[0]
        most = self.data.log_loss.min() - 1e-4
        moved = np.empty((len(shifts), len(self.chosen()), 6))
        for (row, shift), (column, key) in itertools.product(enumerate(shifts), enumerate(self.chosen())):
            used = part.weights[key[1]] > 0
            log_e = np.clip(part.theta[key][0] + shift, MIN_LOG_E, most)
            lower, upper, start = (
                np.append(log_e, each[1:]) for each in (self.data.lower, self.data.upper, part.theta[key])
            )
            data = replace(self.data.subset(used), lower=lower, upper=upper)
            weights = part.weights[key[1]][used][None]
            theta = refit_form(start, part.scale[key], data, weights, key[0], iterations=40)
            moved[row, column] = to_members(theta, data)[0]
        return moved

    def refits(self, resamples: int, seed: int) -> tuple[np.ndarray, str]:
        """The chosen refitted on resampled runs, not moved, (resamples, members, 6), and what each is in large tables
        instead of a refit (`one_step`), in words."""
        part = self.parts[0]
        if len(self.runs) > LARGE:
            keys = self.chosen()
            fits = [linearised(part.theta[k], part.scale[k], self.data, part.weights[k[1]], k[0]) for k in keys]
            found, words = resample(fits, self.runs.cluster, resamples, seed)
            whole = [with_free(own, part.theta[k], k[0]) for own, k in zip(found, keys, strict=True)]
            return to_members(np.stack(whole, axis=1), self.data), words
        counts = resampled_counts(self.runs.cluster, resamples, seed)
        refitted = []
        for key in self.chosen():
            used = part.weights[key[1]] > 0
            data = self.data.subset(used)
            weights = counts[:, used] * part.weights[key[1]][used]
            refitted.append(to_members(refit_form(part.theta[key], part.scale[key], data, weights, key[0]), data))
        return np.stack(refitted, axis=1), ""

    def _off(self, members: np.ndarray, where: np.ndarray) -> np.ndarray:
        """`ln L_pred - ln L` of the runs at `where`."""
        runs = self.runs
        return np.log(mixed_loss(members, runs.num_params[where], runs.num_tokens[where]) / runs.loss[where])

    def _miss(self, members: np.ndarray, level: float, top: float) -> Miss:
        inside = self.group == level
        off = self._off(members, self.near & inside)
        compute = float(np.median(self.runs.flops[inside]))
        own = self.minima.get(float(level), np.nan)
        return Miss(
            distance=float(np.log(compute / top)),
            log_loss=float(off.mean()) if len(off) else float("nan"),
            log_size=float(np.log(mixed_optimum(members, compute, self.flops_per_token) / own)),
        )


def roll(
    runs: Runs,
    flops_per_token: FlopsPerToken,
    optimum: np.ndarray,
    minima: Mapping[float, float],
    held: Held = NOTHING_HELD,
    *,
    sure: bool,
) -> Rolling:
    """The candidates fitted to all runs and without the largest budgets.

    `optimum` is the law's N_opt at each run's FLOPs, shape (runs,); `minima` maps budgets to N at their own interior
    minimum, which says better where the valley is; `held` may hold E, which all forms share; `sure` is whether the runs
    show that they bend.
    """
    group = compute_groups(runs)
    levels = np.unique(group)
    lower, upper = limits(held)
    data = centre(runs.num_params, runs.num_tokens, runs.loss, lower=lower, upper=upper)
    middle = np.array([minima.get(float(level), np.nan) for level in levels])[np.searchsorted(levels, group)]
    distance = np.log(runs.num_params / np.where(np.isfinite(middle), middle, optimum))
    pasts = [group <= levels[-1 - k] for k in range(1, min(PASTS + 2, len(levels) - 2))]
    keeps = [group <= levels[-1], *(keep for keep in pasts if keep.sum() >= FEWEST_IN_FIT)]
    return Rolling(
        runs=runs,
        data=data,
        flops_per_token=flops_per_token,
        group=group,
        levels=levels,
        near=np.abs(distance) <= NEAR,
        minima=minima,
        parts=_fit_parts(runs, data, flops_per_token, group, levels, keeps, held),
        keeps_E="E" in held,
        sure=sure,
    )


def _fit_parts(
    runs: Runs,
    data: Centred,
    flops_per_token: FlopsPerToken,
    group: np.ndarray,
    levels: np.ndarray,
    keeps: list[np.ndarray],
    held: Held,
) -> tuple[Part, ...]:
    """All forms, windows and parts in one go."""
    keys, rows = [], []
    for part, keep in enumerate(keeps):
        weight = keep * _near_weight(runs.subset(keep), runs, flops_per_token, held)
        for window in WINDOWS:
            inside = group >= (levels[-part - window] if window and window + part < len(levels) else -np.inf)
            if window is None or (window + part < len(levels) and (keep & inside).sum() >= FEWEST_IN_FIT):
                keys.append((part, window))
                rows.append(weight * inside)
    weights = np.array(rows)
    theta, scale = fit_forms(data, weights)
    return tuple(
        Part(
            theta={(form, key[1]): theta[form][row] for form in FREE for row, key in enumerate(keys) if key[0] == part},
            scale={(form, key[1]): scale[form][row] for form in FREE for row, key in enumerate(keys) if key[0] == part},
            weights={key[1]: weights[row] for row, key in enumerate(keys) if key[0] == part},
            keep=keep,
        )
        for part, keep in enumerate(keeps)
    )


def _near_weight(part: Runs, runs: Runs, flops_per_token: FlopsPerToken, held: Held) -> np.ndarray:
    """Each run's weight by its distance from the valley of the plain law fitted to `part`, shape (runs,)."""
    law = fit_parametric(part.num_params, part.num_tokens, part.loss, weights=part.weight, held=held)
    distance = np.log(runs.num_params / optimal_params(law.parameters, runs.flops, flops_per_token))
    return np.asarray(runs.weight / (1 + (distance / VALLEY) ** 4))
