"""Starting points by variable projection: for fixed (alpha, beta) the law is linear in (E, A, B).

On relative residuals `(L_pred - L)/L` that is a 3×3 least-squares problem whose entries are Gram sums over the runs,
so the whole (alpha, beta) grid costs one matrix product (Golub & Pereyra 1973).
"""

from __future__ import annotations

import itertools

import numpy as np

from flops_fit.scaling_law.fitting.objective import LOWER, UPPER, Centred

EXPONENTS = np.geomspace(0.02, 3.0, 32)


def grid_starts(data: Centred, weights: np.ndarray, count: int = 8) -> np.ndarray:
    """The best local minima of the projected least squares over the grid, as theta of shape (<= count, 5)."""
    loss = np.exp(data.log_loss)
    alphas, betas = (_within(EXPONENTS, data.lower[at], data.upper[at]) for at in (3, 4))
    powers_n = np.exp(-np.outer(alphas, data.n)) / loss  # (grid, runs), relative
    powers_d = np.exp(-np.outer(betas, data.d)) / loss
    gram, right = _normal_equations(powers_n, powers_d, 1 / loss, weights)
    score, coefficients = _project_held(gram, right, weights, data) if data.held else _project(gram, right, weights)
    cells = local_minima(score)
    order = cells[np.argsort(score[tuple(cells.T)])][:count]
    if not len(order):
        return _fallback(data)
    E, A, B = coefficients[order[:, 0], order[:, 1]].T
    floor = 1e-9 * float(loss.min())
    logs = np.log(np.maximum(np.column_stack([E, A, B]), floor))
    return np.column_stack([logs, alphas[order[:, 0]], betas[order[:, 1]]])


def _within(exponents: np.ndarray, low: float, high: float) -> np.ndarray:
    """Those between `low` and `high`, with the ends where these leave any out."""
    inside = exponents[(exponents >= low) & (exponents <= high)]
    if len(inside) == len(exponents):
        return exponents
    ends = np.clip(np.clip([low, high], exponents[0], exponents[-1]), low, high)
    return np.union1d(ends, inside)


def _normal_equations(
    powers_n: np.ndarray, powers_d: np.ndarray, ones: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrices (grid, grid, 3, 3) and right-hand sides (grid, grid, 3) for (E, A, B)."""
    shape = (len(powers_n), len(powers_d))
    gram = np.empty((*shape, 3, 3))
    right = np.empty((*shape, 3))
    weighted_n, weighted_d, weighted_1 = powers_n * weights, powers_d * weights, ones * weights
    gram[..., 0, 0] = weighted_1 @ ones
    gram[..., 0, 1] = gram[..., 1, 0] = (weighted_n @ ones)[:, None]
    gram[..., 0, 2] = gram[..., 2, 0] = (weighted_d @ ones)[None, :]
    gram[..., 1, 1] = np.einsum("gr,gr->g", weighted_n, powers_n)[:, None]
    gram[..., 2, 2] = np.einsum("gr,gr->g", weighted_d, powers_d)[None, :]
    gram[..., 1, 2] = gram[..., 2, 1] = weighted_n @ powers_d.T
    right[..., 0] = weighted_1.sum()
    right[..., 1] = weighted_n.sum(axis=1)[:, None]
    right[..., 2] = weighted_d.sum(axis=1)[None, :]
    return gram, right


def _project(gram: np.ndarray, right: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares (grid, grid) and (E, A, B) (grid, grid, 3); infinite where A or B would be negative."""
    full = _solve(gram, right)
    without_e = np.zeros_like(full)
    without_e[..., 1:] = _solve(gram[..., 1:, 1:], right[..., 1:])
    coefficients = np.where((full[..., :1] > 0), full, without_e)
    return _score(coefficients, gram, right, weights), coefficients


def _score(coefficients: np.ndarray, gram: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = float(weights.sum())
    score = total - 2 * np.einsum("abk,abk->ab", coefficients, right)
    score = score + np.einsum("abk,abkl,abl->ab", coefficients, gram, coefficients)
    return np.where((coefficients[..., 1:] > 0).all(axis=-1), np.maximum(score, 0), np.inf)


def _project_held(
    gram: np.ndarray, right: np.ndarray, weights: np.ndarray, data: Centred
) -> tuple[np.ndarray, np.ndarray]:
    """As `_project`, E, A and B within their limits: the best of all choices of who is free and who is at an end."""
    ends = np.exp(np.column_stack([data.lower[:3], data.upper[:3]]))
    ranged = (data.lower[:3] != LOWER[:3]) | (data.upper[:3] != UPPER[:3])
    choices = [
        [low] if low == high else [None, low, high] if held else [None]
        for (low, high), held in zip(ends, ranged, strict=True)
    ]
    choices[0] += [] if ranged[0] else [0.0]
    best, coefficients = np.full(gram.shape[:2], np.inf), np.ones_like(right)
    for choice in itertools.product(*choices):
        free = np.array([end is None for end in choice])
        own = np.zeros_like(right)
        own[..., ~free] = [end for end in choice if end is not None]
        if free.any():
            rest = right - np.einsum("abkl,abl->abk", gram, own)
            own[..., free] = _solve(gram[..., free, :][..., free], rest[..., free])
        inside = ((own >= ends[:, 0] * (1 - 1e-12)) & (own <= ends[:, 1] * (1 + 1e-12)) | ~free).all(axis=-1)
        score = np.where(inside, _score(own, gram, right, weights), np.inf)
        coefficients = np.where((score < best)[..., None], own, coefficients)
        best = np.minimum(best, score)
    return best, coefficients


def _solve(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Least-norm-ish solve: a ridge of 1e-12 of the diagonal keeps collinear cells finite."""
    diagonal = np.einsum("...kk->...k", gram)
    ridge = np.eye(gram.shape[-1]) * (1e-12 * diagonal)[..., None, :]
    return np.linalg.solve(gram + ridge, right[..., None])[..., 0]


def local_minima(score: np.ndarray) -> np.ndarray:
    """Cells (k, 2) no higher than any of their eight neighbours."""
    padded = np.pad(score, 1, constant_values=np.inf)
    lowest = np.isfinite(score)
    rows, columns = score.shape
    for i in range(3):
        for j in range(3):
            lowest &= score <= padded[i : i + rows, j : j + columns]
    return np.argwhere(lowest)


def _fallback(data: Centred) -> np.ndarray:
    """A plain guess where no cell of the grid has positive coefficients."""
    level = float(data.log_loss.min())
    return np.array([[level - 0.3, level - 1.5, level - 1.5, 0.3, 0.3]])
