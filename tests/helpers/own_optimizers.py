"""Optimizers as users write them: functions of model, peak rate and recipe."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is made orthogonal by five Newton-Schulz steps (Jordan 2024).

    What it keeps from step to step is of every kind: tensors, in a list and in float64 too, numbers, text, tuples, and
    a number in its group.
    """

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group)

    def _move(self, matrix, group):
        state = self.state[matrix]
        if not state:
            state |= {"momentum": [torch.zeros_like(matrix)], "norm": torch.zeros((), dtype=torch.float64)}
            state |= {"seen": 0, "largest": float("-inf"), "about": ("muon", None, True), "past": {}}
        (momentum,) = state["momentum"]
        momentum.lerp_(matrix.grad, 1 - group["momentum"])
        state["seen"] += 1
        state["norm"] += matrix.grad.norm().double()
        state["largest"] = max(state["largest"], float(matrix.grad.abs().max()))
        state["past"][state["seen"] % 3] = state["largest"]
        matrix.sub_(orthogonal(momentum) * (1 + 1e-3 * state["norm"].float() / state["seen"]), alpha=group["lr"])


def orthogonal(matrix):
    """About the nearest matrix with singular values of 1."""
    x = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def muon_and_adamw(model, peak_rate, recipe):
    """Muon for matrices at twice the rate, AdamW for the rest."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [Muon(matrices, lr=2 * peak_rate), torch.optim.AdamW(vectors, lr=peak_rate, betas=recipe.betas)]
