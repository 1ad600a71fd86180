"""Trials of a recipe on a response surface that is known."""

from __future__ import annotations

import math

import numpy as np

from flops_fit.recipe.tuning import Trial, Tuned

RATE = Tuned(name="learning_rate", guess=1e-3, low=1e-6, high=10.0)
BATCH = Tuned(name="batch_tokens", guess=3e4, low=1e2, high=1e8)


class MadeSurface:
    """Log loss with a minimum that moves as powers of N and D; what is far above the best rate diverges.

    `rate` and `batch`: (value at N = 1e6 and D = 2e7, exponent of N, exponent of D). `edge`: what diverges has a rate
    this factor above the best for its batch.
    """

    def __init__(self, rate=(0.01, -0.5, 0.1), batch=(2e4, 0.0, 0.5), *, noise=0.002, edge=math.inf, seed=0):
        self.rate, self.batch, self.noise, self.edge = rate, batch, noise, edge
        self.random = np.random.default_rng(seed)

    def best(self, num_params, num_tokens):
        """The best rate and batch."""
        return tuple(c * (num_params / 1e6) ** p * (num_tokens / 2e7) ** q for c, p, q in (self.rate, self.batch))

    def excess(self, num_params, num_tokens, rate, batch):
        """Log loss above the best; infinite where it diverges."""
        best_rate, best_batch = self.best(num_params, num_tokens)
        along = math.log(batch / best_batch)
        across = math.log(rate / best_rate) - 0.5 * along
        if across > math.log(self.edge):
            return math.inf
        return 0.006 * across**2 * math.exp(0.5 * math.tanh(across)) + 0.003 * along**2

    def train(self, trial):
        """`trial` with its loss."""
        values = trial.values
        batch = values.get("batch_tokens", self.best(*trial.cell)[1])
        excess = self.excess(*trial.cell, values["learning_rate"], batch)
        level = math.log(2 + 10 * trial.num_params**-0.2 + 50 * trial.num_tokens**-0.3)
        loss = math.exp(level + excess + self.noise * self.random.standard_normal()) if excess < math.inf else None
        return Trial(num_params=trial.num_params, num_tokens=trial.num_tokens, values=values, loss=loss)
