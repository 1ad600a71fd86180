"""FittedLaw: the numbers of a fitted law, what follows from them, their intervals, and the file that keeps them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np

from flops_fit.basics.arguments import is_number
from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.files import read_value, write_value
from flops_fit.basics.from_json import from_json
from flops_fit.errors import FileError, FitError
from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum
from flops_fit.scaling_law.candidates import Candidate
from flops_fit.scaling_law.checks import verdict as checks
from flops_fit.scaling_law.checks.holdout import Holdout
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval
from flops_fit.scaling_law.fitting.weighting import Weighting
from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.intervals import METHODS, PARTS, analytic_interval, draw
from flops_fit.scaling_law.mixture import as_members, mixed_loss, mixed_optimum
from flops_fit.scaling_law.prediction import Prediction
from flops_fit.scaling_law.quantities import checked_compute, exponent_a, one_compute, optima, positive
from flops_fit.scaling_law.table.runs import Runs

_remembered = functools.lru_cache(maxsize=256)

BEYOND = 1.1  # times the largest budget: where a run no longer belongs to it
LAW_SCHEMA = "flops_fit.scaling_law/1"


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLaw:
    """`L(N, D) = E + A/N^alpha + B/D^beta`, fitted, with the runs it was fitted on.

    Where the runs show a bend that this form does not have, answers come from `prediction` instead.

    Attributes:
        E, A, B, alpha, beta: the five-parameter law, in `loss_unit`, which is nats per token unless said.
        objective: sum of weighted Huber losses (threshold `delta`) of log-loss residuals at the optimum.
        sigma: robust standard deviation of the residuals on log loss.
        flops_per_token: FLOPs per token as a function of N; N_opt and D_opt keep to it.
        runs: the runs used, and those excluded.
        isoflops: the minimum of each budget's own curve.
        draws: bootstrap refits of (E, A, B, alpha, beta), shape (resamples, 5).
        residual: `ln L_pred - ln L` of each run; `scale` is what is expected of it, relative to a run in the valley.
        weighting: whether runs near the valley were trusted more, and what the other way gives.
        holdout: error at the largest budget of a law fitted to the rest (None with fewer than 3 budgets).
        diagnostics: findings, gravest first; `verdict` sums them up.
        prediction: what answers come from, and how far off it may be beyond sampling error.
        options: how it was fitted (seed, resamples, ...).
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    objective: float
    delta: float
    sigma: float
    flops_per_token: FlopsPerToken
    runs: Runs
    isoflops: tuple[IsoflopMinimum, ...]
    draws: np.ndarray
    residual: np.ndarray
    scale: np.ndarray
    at_bound: tuple[str, ...]
    weighting: Weighting
    holdout: Holdout | None
    diagnostics: tuple[Diagnostic, ...]
    prediction: Prediction = field(default_factory=Prediction)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> np.ndarray:
        """(E, A, B, alpha, beta)."""
        return np.array([self.E, self.A, self.B, self.alpha, self.beta])

    @property
    def a(self) -> float:
        """Exponent of N_opt in C (for large N where FLOPs are not proportional to N·D)."""
        return float(exponent_a(self.parameters))

    @property
    def b(self) -> float:
        """Exponent of D_opt in C."""
        return 1 - self.a

    def a_at(self, compute: float) -> float:
        """Local exponent of N_opt in C at C FLOPs, over a factor 2: `a` for the five-parameter law, others bend."""
        if self.form == "chinchilla":
            return self.a
        return float(np.log(self.N_opt(compute * 2**0.5) / self.N_opt(compute / 2**0.5)) / np.log(2))

    @property
    def form(self) -> str:
        """What answers come from: "chinchilla", the five-parameter law, "moved", the same moved onto the runs of the
        largest budget, or "bent", a mixture of `candidates` moved alike."""
        return self.prediction.form

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The forms and windows that were tried, the best first; none where the runs show no bend."""
        return self.prediction.candidates

    @property
    def loss_unit(self) -> str:
        """Of the losses, in words; empty where it is not known."""
        return self.runs.loss_unit

    @property
    def thinned(self) -> tuple[str, ...]:
        """What was not done in full, since the runs are many; nothing up to 2,000 runs."""
        return tuple(self.options.get("thinned", ()))

    @property
    def members(self) -> np.ndarray:
        """(E, A, B, alpha, beta, gamma) of the laws that answer together, shape (members, 6)."""
        own = self.prediction.members
        return as_members(self.parameters) if own is None else own

    @property
    def member_draws(self) -> np.ndarray:
        """Bootstrap refits of the members, shape (resamples, members, 6)."""
        own = self.prediction.draws
        return as_members(self.draws) if own is None else own

    @functools.cached_property
    def optimum_draws(self) -> Callable[[float], np.ndarray]:
        """C FLOPs → N_opt of every bootstrap refit, shape (resamples,); the last 256 are remembered."""
        return _remembered(lambda compute: optima(self.member_draws, compute, self.flops_per_token))

    @functools.cached_property
    def _optimum(self) -> Callable[[float], float]:
        return _remembered(lambda compute: float(mixed_optimum(self.members, compute, self.flops_per_token)))

    def __getstate__(self) -> dict[str, Any]:
        """Without what is remembered, which cannot be sent to another process."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def irreducible(self) -> float:
        """The loss that answers approach as N and D grow, in nats; E of the five-parameter law."""
        return float(np.exp(np.log(self.members[:, 0]).mean()))

    def predicted_error(self, compute: float, quantity: str = "N_opt", *, level: float = 0.9) -> float:
        """Relative error of "N_opt", "D_opt" or "loss" (at the optimum of C FLOPs) that is not passed with probability
        `level`: by how much the further end of the interval is off, 0.5 for a factor 1.5."""
        if quantity not in checks.LIMITS:
            raise FitError(f"quantity = {quantity!r} is unknown here; give one of {', '.join(checks.LIMITS)}")
        name = "L_opt" if quantity == "loss" else quantity
        point = {"N_opt": self.N_opt, "D_opt": self.D_opt, "L_opt": self.L_opt}[name](compute)
        low, high = self.interval(name, compute, level=level)
        return max(high / point, point / low if low > 0 else np.inf) - 1

    def verdict_at(self, compute: float, quantity: str = "N_opt") -> str:
        """ "trustworthy", "provisional" or "not supported" of "N_opt", "D_opt" or "loss" at C FLOPs: whether its
        predicted error at 90 % is within a factor 1.5 (the loss: 2 %), and no finding speaks against it."""
        findings = (*self.diagnostics, *filter(None, [checks.extrapolation(self.runs, one_compute(compute))]))
        return checks.verdict(findings, quantity, self.predicted_error(compute, quantity))

    @property
    def verdict(self) -> str:
        """The worse of those of N_opt and loss at 10 times the largest run; the reasons are in `diagnostics`."""
        further = 10 * float(self.runs.flops.max())
        return checks.worst(self.verdict_at(further, quantity) for quantity in ("N_opt", "loss"))

    @property
    def determined(self) -> bool:
        """Whether the runs determine the law; where they do not, its numbers mean nothing."""
        return all(finding.code != "undetermined" for finding in self.diagnostics)

    def loss(self, num_params: np.ndarray | float, num_tokens: np.ndarray | float) -> Any:
        """Predicted loss in nats at N parameters and D tokens."""
        N, D = positive("num_params", num_params), positive("num_tokens", num_tokens)
        return _plain(mixed_loss(self.members, N, D))

    def N_opt(self, compute: np.ndarray | float) -> Any:
        """Compute-optimal parameters at C FLOPs."""
        C = checked_compute(compute)
        return mixed_optimum(self.members, C, self.flops_per_token) if C.ndim else self._optimum(float(C))

    def D_opt(self, compute: np.ndarray | float) -> Any:
        """Compute-optimal tokens at C FLOPs; `flops_per_token(N_opt)·D_opt = C`."""
        return _plain(checked_compute(compute) / self.flops_per_token(self.N_opt(compute)))

    def L_opt(self, compute: np.ndarray | float) -> Any:
        """Predicted loss in nats at the compute optimum of C FLOPs."""
        return self.loss(self.N_opt(compute), self.D_opt(compute))

    def draws_of(
        self,
        quantity: str,
        compute: float | None = None,
        *,
        num_params: float | None = None,
        num_tokens: float | None = None,
        parts: Sequence[str] = PARTS,
    ) -> np.ndarray:
        """Draws, shape (resamples,), of a parameter ("E", ..., "beta") or exponent ("a", "b") of the five-parameter
        law; of "N_opt", "D_opt", "L_opt" or "tokens_per_param" at `compute` FLOPs; of "loss" (the law) or "new_run"
        (a run still to be trained) at `num_params` and `num_tokens`.

        `parts` of the error: "sampling" (bootstrap), "misfit" of the form (parameters have none) and "run", a new run's
        noise.
        """
        return draw(self, quantity, compute, num_params, num_tokens, tuple(parts))

    @overload
    def interval(
        self,
        quantity: str,
        compute: float | None = ...,
        *,
        num_params: float | None = ...,
        num_tokens: float | None = ...,
        level: float = ...,
        method: str = ...,
        parts: Literal[False] = ...,
    ) -> tuple[float, float]: ...

    @overload
    def interval(
        self,
        quantity: str,
        compute: float | None = ...,
        *,
        num_params: float | None = ...,
        num_tokens: float | None = ...,
        level: float = ...,
        parts: Literal[True],
    ) -> dict[str, tuple[float, float]]: ...

    def interval(
        self,
        quantity: str,
        compute: float | None = None,
        *,
        num_params: float | None = None,
        num_tokens: float | None = None,
        level: float = 0.9,
        method: str = "bootstrap",
        parts: bool = False,
    ) -> tuple[float, float] | dict[str, tuple[float, float]]:
        """(low, high) of a quantity, as `draws_of` names it, at confidence `level`: all of its error together.

        With `parts` a mapping: "sampling", "misfit" and (of a new run) "run" alone, and "total". `method`: "bootstrap"
        (percentiles of the draws), "profile" of the objective or "delta" (linear); the last two need no resampling, and
        are about the five-parameter law and its sampling error. Raises `FitError` for an unknown quantity, method or
        level, and for these two where the law is bent.
        """
        if not (is_number(level) and 0 < level < 1):
            raise FitError(f"level = {level!r} must lie between 0 and 1, for example 0.9")
        if method not in METHODS or (method != "bootstrap" and quantity == "new_run"):
            raise FitError(f"method = {method!r} is unknown here; give 'bootstrap', or one of 'profile', 'delta'")
        if method == "bootstrap":

            def of(*own: str) -> tuple[float, float]:
                return percentile_interval(draw(self, quantity, compute, num_params, num_tokens, own), level)

            named = PARTS if quantity == "new_run" else PARTS[:2]
            return {name: of(name) for name in named} | {"total": of(*PARTS)} if parts else of(*PARTS)
        return analytic_interval(self, method, quantity, compute, num_params, num_tokens, level)

    def predict(self, compute: float, *, level: float = 0.9) -> dict[str, Any]:
        """The compute-optimal model at C FLOPs with its intervals at `level`, and findings about this distance."""
        findings = [finding for finding in self.diagnostics if finding.code == "undetermined"]
        findings += filter(None, [checks.extrapolation(self.runs, one_compute(compute))])
        return {
            "target_compute": float(compute),
            "optimal_params": self.N_opt(compute),
            "optimal_tokens": self.D_opt(compute),
            "expected_loss": self.L_opt(compute),
            "tokens_per_param": self.D_opt(compute) / self.N_opt(compute),
            "optimal_params_interval": self.interval("N_opt", compute, level=level),
            "optimal_tokens_interval": self.interval("D_opt", compute, level=level),
            "expected_loss_interval": self.interval("L_opt", compute, level=level),
            "level": level,
            "verdicts": {name: self.verdict_at(compute, name) for name in ("N_opt", "loss")},
            "extrapolation": float(compute) / float(self.runs.flops.max()),
            "warnings": [finding.message for finding in findings],
        }

    def default_budgets(self) -> list[float]:
        """The runs' own budgets, then 10 and 100 times the largest, or the largest run where that lies beyond it."""
        own = [minimum.compute_budget for minimum in self.isoflops]
        largest = float(self.runs.flops.max())
        top = own[-1] if own and largest < BEYOND * own[-1] else largest
        return [*(own or [top]), top * 10, top * 100]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, everything included."""
        numbers = ("E", "A", "B", "alpha", "beta", "objective", "delta", "sigma")
        return {
            **{name: float(getattr(self, name)) for name in numbers},
            "flops_per_token": asdict(self.flops_per_token),
            "runs": self.runs.to_dict(),
            "isoflops": [asdict(minimum) for minimum in self.isoflops],
            "draws": [[_finite(value) for value in row] for row in self.draws.tolist()],
            "residual": self.residual.tolist(),
            "scale": self.scale.tolist(),
            "weighting": asdict(self.weighting),
            "holdout": asdict(self.holdout) if self.holdout else None,
            "at_bound": list(self.at_bound),
            "diagnostics": [asdict(finding) for finding in self.diagnostics],
            "prediction": self.prediction.to_dict(),
            "options": dict(self.options),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; raises `FileError` naming what is missing, unknown or not valid."""
        law = from_json(cls, content, "law", without=["schema"])
        count = len(law.runs)
        if not law.draws.size or law.draws.size % 5 or len(law.residual) != count or len(law.scale) != count:
            raise FileError(f"law: draws must be rows of 5, residual and scale have {count} numbers, one for each run")
        return replace(law, draws=law.draws.reshape(-1, 5))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the law as JSON, atomically."""
        return write_value(path, {"schema": LAW_SCHEMA} | self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; raises `FileError` for a torn or foreign file."""
        return read_value(path, LAW_SCHEMA, cls.from_dict)

    def __repr__(self) -> str:
        name = type(self).__name__
        return (
            f"{name}(L = {self.E:.4g} + {self.A:.4g}/N^{self.alpha:.4g} + {self.B:.4g}/D^{self.beta:.4g}, "
            f"a={self.a:.3f}, {len(self.runs)} runs, {self.verdict})"
        )


def _plain(values: np.ndarray) -> Any:
    return float(values) if np.ndim(values) == 0 else values


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
