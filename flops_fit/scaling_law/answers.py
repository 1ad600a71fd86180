"""What people ask a law; each function that takes one is also a method of `ScalingLaw`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from flops_fit.basics.arguments import need, number
from flops_fit.basics.formatting import format_loss
from flops_fit.errors import FitError
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.quantities import one_compute, positive
from flops_fit.scaling_law.repetition import DATA_REPETITION, Repetition, effective_params, effective_tokens

MOST_SEARCHED = 1e40  # FLOPs
ENDLESS = 1e60  # tokens without limit
FORWARD_SHARE = 1 / 3  # of a training token's FLOPs is the forward pass that inference needs


@dataclass(frozen=True, kw_only=True)
class SizeCost:
    """What a size other than the optimum costs at the same compute.

    Attributes:
        N, D, loss: parameters, tokens that C FLOPs buy, and the predicted loss in nats.
        excess_loss: above the compute-optimal loss of C, in nats.
        equivalent_compute: FLOPs with which an optimal model reaches the same loss; the rest of C is the waste.
        compute_to_match: FLOPs at this N to reach the optimal loss of C; infinite where no number of tokens does.
    """

    N: float
    D: float
    loss: float
    excess_loss: float
    equivalent_compute: float
    compute_to_match: float


@dataclass(frozen=True, kw_only=True)
class InferenceOptimum:
    """The model that reaches `loss` with the fewest FLOPs over training and inference together.

    `saving` is the share of the FLOPs that the compute-optimal model of the same loss would need in all.
    """

    N: float
    D: float
    loss: float
    training_flops: float
    inference_flops: float
    saving: float


@dataclass(frozen=True, kw_only=True)
class DataLimitedOptimum:
    """The best model at C FLOPs when only so many tokens are unique; `epochs` is D over them, `effective_tokens` what
    the repeated data is worth."""

    N: float
    D: float
    loss: float
    epochs: float
    effective_tokens: float


@dataclass(frozen=True, kw_only=True)
class BuildableModel:
    """The size of a size map with the lowest predicted loss at C FLOPs, with the interval of that loss."""

    size: int
    N: float
    D: float
    loss: float
    loss_interval: tuple[float, float]
    excess_loss: float


def compute_for_loss(law: FittedLaw, loss: float) -> float:
    """FLOPs at which the compute-optimal model is predicted to reach `loss` nats.

    Raises `FitError` at or below the irreducible loss E, and where more than 1e40 FLOPs would be needed.
    """
    need("loss", loss, number(above=0), FitError)
    low, high = 1.0, MOST_SEARCHED
    floor = law.irreducible
    if not loss > floor or law.L_opt(high) > loss:
        raise FitError(
            f"loss = {loss!r} is out of reach: the law's irreducible loss is {format_loss(floor)}; give a higher loss"
        )
    if law.L_opt(low) < loss:
        return low
    return float(np.exp(brentq(lambda x: law.L_opt(np.exp(x)) - loss, np.log(low), np.log(high), xtol=1e-12)))


def cost_of_size(law: FittedLaw, compute: float, num_params: float) -> SizeCost:
    """What it costs to train `num_params` parameters instead of N_opt at `compute` FLOPs."""
    need("num_params", num_params, number(above=0), FitError)
    per_token, compute = float(law.flops_per_token(num_params)), one_compute(compute)
    D = compute / per_token
    loss, best = law.loss(num_params, D), law.L_opt(compute)
    match = per_token * _tokens_for(law, num_params, best)
    return SizeCost(
        N=float(num_params),
        D=D,
        loss=loss,
        excess_loss=loss - best,
        equivalent_compute=compute_for_loss(law, loss),
        compute_to_match=match,
    )


def inference_optimum(law: FittedLaw, compute: float, inference_tokens: float) -> InferenceOptimum:
    """The model with the compute-optimal loss of `compute` FLOPs and the fewest FLOPs in training and inference.

    Training costs f(N)·D, inference a third of f(N) per token (Sardana et al. 2023, equation 2, with the runs' own
    FLOPs per token): more inference asks for smaller models trained longer.
    """
    need("inference_tokens", inference_tokens, number(least=0), FitError)
    loss = law.L_opt(one_compute(compute))
    N_0 = law.N_opt(compute)

    def tokens(N: float) -> float:
        return _tokens_for(law, N, loss)

    def total(log_n: float) -> float:
        N = float(np.exp(log_n))
        return float(law.flops_per_token(N)) * (tokens(N) + FORWARD_SHARE * inference_tokens)

    smallest = _smallest_for(law, loss, N_0)
    bounds = (float(np.log(smallest)) + 1e-9, float(np.log(N_0)) + 1e-6)
    found = minimize_scalar(total, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    N = float(np.exp(found.x))
    training = float(law.flops_per_token(N)) * tokens(N)
    return InferenceOptimum(
        N=N,
        D=tokens(N),
        loss=loss,
        training_flops=training,
        inference_flops=float(law.flops_per_token(N)) * FORWARD_SHARE * inference_tokens,
        saving=1 - total(found.x) / total(float(np.log(N_0))),
    )


def _tokens_for(law: FittedLaw, num_params: float, loss: float) -> float:
    """Tokens at which N parameters reach `loss`; infinite where no number of them does."""
    if len(law.members) == 1:
        room = loss - law.E - law.A * num_params**-law.alpha
        return float((law.B / room) ** (1 / law.beta)) if room > 0 else float("inf")
    low, high = np.log(1.0), np.log(ENDLESS)
    if law.loss(num_params, ENDLESS) >= loss:
        return float("inf")
    return float(np.exp(brentq(lambda x: law.loss(num_params, np.exp(x)) - loss, low, high, xtol=1e-12)))


def _smallest_for(law: FittedLaw, loss: float, enough: float) -> float:
    """The least N that can reach `loss` at all; `enough` parameters can."""
    if len(law.members) == 1:
        return float((law.A / (loss - law.E)) ** (1 / law.alpha))
    found = brentq(lambda x: law.loss(np.exp(x), ENDLESS) - loss, 0.0, np.log(enough), xtol=1e-12)
    return float(np.exp(found))


def data_limited_optimum(
    law: FittedLaw, compute: float, unique_tokens: float, *, repetition: float | Repetition = DATA_REPETITION
) -> DataLimitedOptimum:
    """The best model at `compute` FLOPs with `unique_tokens` different tokens, repeated as often as it pays.

    Repeated tokens count as `effective_tokens` do; `repetition` is R*_D, from the literature unless fitted to runs that
    repeat data. What `fit_repetition` returns discounts parameters beyond the optimum of the unique tokens as well,
    where its R*_N is finite; a number discounts the data alone.
    """
    need("unique_tokens", unique_tokens, number(above=0), FitError)
    compute = one_compute(compute)
    fitted = repetition if isinstance(repetition, Repetition) else None
    of_data, of_params = (fitted.data, fitted.params) if fitted else (float(positive("repetition", repetition)), np.inf)
    unique_params = _optimum_for(law, unique_tokens) if np.isfinite(of_params) else np.inf

    def worth(tokens: float) -> float:
        return float(effective_tokens(tokens, unique_tokens, of_data))

    def loss_at(log_n: float) -> float:
        N = float(np.exp(log_n))
        D = compute / float(law.flops_per_token(N))
        return float(law.loss(effective_params(N, unique_params, of_params), worth(D)))

    centre = float(np.log(law.N_opt(compute)))
    grid = np.linspace(centre - (6 if np.isfinite(of_params) else 1), centre + 12, 400)
    best = grid[int(np.argmin([loss_at(x) for x in grid]))]
    found = minimize_scalar(loss_at, bounds=(best - 0.1, best + 0.1), method="bounded", options={"xatol": 1e-10})
    N = float(np.exp(found.x))
    D = compute / float(law.flops_per_token(N))
    return DataLimitedOptimum(N=N, D=D, loss=float(found.fun), epochs=D / unique_tokens, effective_tokens=worth(D))


def _optimum_for(law: FittedLaw, tokens: float) -> float:
    """N for which `tokens` are compute-optimal."""
    found = brentq(lambda x: np.log(law.D_opt(np.exp(x)) / tokens), 0.0, np.log(MOST_SEARCHED), xtol=1e-12)
    return float(law.N_opt(float(np.exp(found))))


def nearest_buildable(law: FittedLaw, compute: float, size_map: Any, *, level: float = 0.9) -> BuildableModel:
    """The size of `size_map` (its `entries` have size, num_params, flops_per_token) with the lowest predicted loss at
    `compute` FLOPs, each trained on the tokens that its own FLOPs per token leave.

    Raises `FitError` for a size map without sizes.
    """
    if not size_map.entries:
        raise FitError("the size map has no sizes; build it with a wider range of sizes")
    N = np.array([entry.num_params for entry in size_map.entries], dtype=float)
    D = one_compute(compute) / np.array([entry.flops_per_token for entry in size_map.entries], dtype=float)
    losses = np.asarray(law.loss(N, D))
    best = int(np.argmin(losses))
    return BuildableModel(
        size=int(size_map.entries[best].size),
        N=float(N[best]),
        D=float(D[best]),
        loss=float(losses[best]),
        loss_interval=law.interval("loss", num_params=N[best], num_tokens=D[best], level=level),
        excess_loss=float(losses[best]) - law.L_opt(compute),
    )
