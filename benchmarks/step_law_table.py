"""Step Law's table of final losses over learning rate and batch, and what a predicted point costs on it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from tables import DATA

from flops_fit.recipe.tuning import Trial

SEQUENCE = 2048  # tokens
NEAR = 0.04  # log loss above the cell's lowest: what is smoothed
WIDTHS = (np.log(2.0), np.log(2.5), np.log(3.0), np.log(4.0), np.log(6.0))  # of the smoothing, in ln rate and ln batch


def cells():
    """(N, D) → its rows, by 6 N D."""
    table = pd.read_csv(DATA / "steplaw_dense_lr_bs.csv")
    table["batch_tokens"] = table["batch_sequences"] * SEQUENCE
    found = dict(list(table.groupby(["num_params", "num_tokens"])))
    return {cell: found[cell] for cell in sorted(found, key=lambda cell: cell[0] * cell[1])}


def trials(cell, rows):
    """Every training of a cell with its loss."""
    return [
        Trial(
            num_params=float(cell[0]),
            num_tokens=float(cell[1]),
            values={"learning_rate": float(row.learning_rate), "batch_tokens": float(row.batch_tokens)},
            loss=float(row.smooth_loss),
        )
        for row in rows.itertuples()
    ]


class Judge:
    """Log loss above a cell's best, at any rate and batch, from the trainings of that cell alone.

    Local quadratic regression in ln rate and ln batch (tricube weights, points within 4 % of the cell's lowest); its
    width is the one with the least squared error when each point within 1 % of the lowest is left out, and that error
    is `noise`. The best is the lowest point of the smoothed surface on a fine grid within what was trained; `best_sd`
    is how far its logarithms move when that noise is drawn anew.
    """

    def __init__(self, rows):
        y = np.log(rows["smooth_loss"].to_numpy())
        near = y < y.min() + NEAR
        self.x, self.y = np.log(rows[["learning_rate", "batch_tokens"]].to_numpy()[near]), y[near]
        errors = {width: self._left_out(width) for width in WIDTHS}
        self.width = min(errors, key=errors.get)
        self.noise = errors[self.width]
        axes = [np.linspace(*ends, 41) for ends in zip(self.x.min(axis=0), self.x.max(axis=0), strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        found = [self._weights(point, self.width) for point in grid]
        smoothing = np.array([one for one in found if one is not None])
        grid = grid[[one is not None for one in found]]
        smooth = smoothing @ self.y
        self.best, self.best_at = smooth.min(), np.exp(grid[smooth.argmin()])
        middle = np.array([self._at(point) for point in self.x])
        drawn = middle + self.noise * np.random.default_rng(0).standard_normal((200, len(self.y)))
        self.best_sd = grid[(drawn @ smoothing.T).argmin(axis=1)].std(axis=0)

    def _weights(self, point, width, leave=None):
        """What the smoothed value at `point` is made of; None where fewer than nine trainings are near."""
        u = self.x - point
        weight = np.clip(1 - (np.linalg.norm(u, axis=1) / (2 * width)) ** 3, 0, None) ** 3
        if leave is not None:
            weight[leave] = 0.0
        if (weight > 1e-6).sum() < 9:
            return None
        basis = np.column_stack([np.ones(len(u)), u, u**2, u[:, 0] * u[:, 1]])
        root = np.sqrt(weight)
        return np.linalg.pinv(basis * root[:, None])[0] * root

    def _at(self, point):
        weights = self._weights(point, self.width)
        return self.y[((self.x - point) ** 2).sum(axis=1).argmin()] if weights is None else weights @ self.y

    def _left_out(self, width):
        """Root mean square error of the points within 1 % of the lowest, each left out."""
        errors = []
        for at in np.flatnonzero(self.y < self.y.min() + 0.01):
            weights = self._weights(self.x[at], width, leave=at)
            errors.append(np.inf if weights is None else self.y[at] - weights @ self.y)
        return float(np.sqrt(np.square(errors).mean()))

    def excess(self, rate, batch):
        """Relative loss above the cell's best; by the nearest training where none are near enough to smooth."""
        return float(np.expm1(self._at(np.log([rate, batch])) - self.best))


@cache
def judges():
    """The judge of every cell."""
    return {cell: Judge(rows) for cell, rows in cells().items()}
