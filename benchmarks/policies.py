"""What is compared on the pools: each picks runs for a total of FLOPs, and sees the losses of what it has picked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pools import DRAWS, Policy, Pool

from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.objective import centre, from_parameters, jacobian
from flops_fit.scaling_law.next_experiments import Candidate, next_experiments

ROUND = 8  # runs that are picked before a law is fitted again
FIRST = 8  # that a design which needs a law begins with: the cheapest, from end to end
LADDER_SIDES = np.log([1.0, 1 / 2.5, 2.5])


def ours(pool: Pool, total: float, seed: int) -> list[int]:
    """`next_experiments`, a round at a time."""
    rows = pool.runs[["num_params", "num_tokens", "flops"]].itertuples(index=False)
    candidates = [
        Candidate(num_params=N, num_tokens=D, flops=C, label=str(index)) for index, (N, D, C) in enumerate(rows)
    ]
    picked: list[int] = []
    while True:
        left = max(0.0, total - float(pool.flops[picked].sum()))  # rounding may leave it a little below
        found = next_experiments(
            pool.runs.iloc[picked],
            candidates,
            ROUND,
            target=pool.target,
            law=pool.law(picked, draws=DRAWS),
            flops_left=left,
            more_follow=True,
        )
        if not found:
            return picked
        picked += [int(each.candidate.label) for each in found]


def random_runs(pool: Pool, total: float, seed: int) -> list[int]:
    """Any run that can still be paid for."""
    return _while_paid(pool, np.random.default_rng(seed).permutation(len(pool.runs)), total)


def cheapest_first(pool: Pool, total: float, seed: int) -> list[int]:
    """By cost."""
    return _while_paid(pool, np.argsort(pool.flops, kind="stable"), total)


def ladder(pool: Pool, total: float, seed: int) -> list[int]:
    """Levels half a decade apart from the cheapest up, sizes at N_opt and 2.5 times below and above, until the FLOPs
    are used up; N_opt is the law's of what was picked, before there is one that of 20 tokens per parameter."""
    C, N, D = pool.flops, *(pool.runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens"))
    level = np.round(np.log(C / C.min()) / (np.log(10) / 2)).astype(int)
    picked: list[int] = []
    for here in range(level.max() + 1):
        law = pool.law(picked)
        off = np.log(N / law.N_opt(C)) if law is not None and law.determined else np.log(20 * N / D) / 2
        inside = np.flatnonzero(level == here)
        for side in LADDER_SIDES:
            inside = np.setdiff1d(inside, picked)
            can = inside[C[inside] + C[picked].sum() <= total]
            if len(can):
                picked.append(int(can[np.argmin(np.abs(off[can] - side))]))
    return picked


def d_optimal(pool: Pool, total: float, seed: int) -> list[int]:
    """The most of the determinant of the law's information per FLOP."""
    return _designed(pool, total, lambda gain, own, target: gain)


def v_optimal(pool: Pool, total: float, seed: int) -> list[int]:
    """The most of the variance of ln L_opt and ln N_opt at the target per FLOP."""
    return _designed(pool, total, lambda gain, own, target: target)


POLICIES: dict[str, Policy] = {
    "ours": ours,
    "plain ladder": ladder,
    "random": random_runs,
    "cheapest first": cheapest_first,
    "D-optimal": d_optimal,
    "V-optimal": v_optimal,
}


def _while_paid(pool: Pool, order: np.ndarray, total: float) -> list[int]:
    picked, left = [], total
    for index in order.tolist():
        if pool.flops[index] <= left:
            picked.append(index)
            left -= float(pool.flops[index])
    return picked


Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _designed(pool: Pool, total: float, score: Score) -> list[int]:
    """Greedy, exact designs of the five-parameter law, linearised where it is fitted, refitted every round."""
    cheap = np.argsort(pool.flops, kind="stable")[: 4 * FIRST]
    by_size = cheap[np.argsort(pool.runs["num_params"].to_numpy()[cheap], kind="stable")]
    picked = _while_paid(pool, by_size[np.linspace(0, len(by_size) - 1, FIRST).astype(int)], total)
    while True:
        law = pool.law(picked)
        chosen = _best(pool, picked, law, total, score) if law is not None else []
        if not chosen:
            return picked
        picked += chosen


def _best(pool: Pool, picked: list[int], law: FittedLaw, total: float, score: Score) -> list[int]:
    """The next round's runs, those of the highest score per FLOP one after the other."""
    slopes, target = _slopes(pool, law)
    ridge = 1e-8 * np.diag((slopes[picked] ** 2).sum(axis=0))
    covariance = np.linalg.inv(slopes[picked].T @ slopes[picked] + ridge)
    chosen: list[int] = []
    for _ in range(ROUND):
        spent = float(pool.flops[picked + chosen].sum())
        can = np.flatnonzero(pool.flops <= total - spent)
        can = np.setdiff1d(can, picked + chosen)
        if not len(can):
            break
        own = slopes[can] @ covariance
        variance = 1 + (own * slopes[can]).sum(axis=1)
        fall = ((own @ target.T) ** 2 / variance[:, None] / np.einsum("tk,kl,tl->t", target, covariance, target)).sum(1)
        index = int(np.argmax(score(np.log(variance), own, fall) / pool.flops[can]))
        covariance = covariance - np.outer(own[index], own[index]) / variance[index]
        chosen.append(int(can[index]))
    return chosen


def _slopes(pool: Pool, law: FittedLaw) -> tuple[np.ndarray, np.ndarray]:
    """d ln L / d theta of every run, (runs, 5), and of ln L_opt and ln N_opt at the target, (2, 5)."""
    N, D = (pool.runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens"))
    best = float(law.N_opt(pool.target))
    around = best * np.exp([-0.1, 0.0, 0.1])
    tokens = pool.target / law.flops_per_token(around)
    loss = np.ones(len(N) + 3)
    data = centre(np.append(N, around), np.append(D, tokens), loss)
    every = jacobian(from_parameters(law.parameters, data)[0], data)
    runs, (low, middle, high) = every[:-3], every[-3:]
    losses = np.log(law.loss(around, tokens))
    curvature = (losses[0] - 2 * losses[1] + losses[2]) / 0.01
    size = -(high - low) / 0.2 / max(curvature, 1e-9)  # of where the slope along the budget is 0
    return runs, np.vstack([middle, size])
