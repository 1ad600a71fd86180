"""What the answer's width is expected to become when runs are added that are not trained yet.

The law's resamples say how the losses of new runs and the answer at the target vary together. A new run, known up to
its noise, narrows them as a Kalman filter does (the ensemble square root filter, Whitaker & Hamill 2002): no loss is
needed for that. The misfit of the form shrinks as the largest compute comes nearer to the target (`misfit`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.weighting import residual_scale
from flops_fit.scaling_law.misfit import NEAREST, unseen_share
from flops_fit.scaling_law.mixture import mixed_loss
from flops_fit.scaling_law.next_experiments.candidate import Points
from flops_fit.scaling_law.next_experiments.width import LOGS, widths
from flops_fit.scaling_law.quantities import at_size

MOST_DRAWS = 300
LEAST_NOISE = 1e-5  # of ln L
LEVEL = 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlook:
    """The answer at a target as it is expected to be.

    Attributes:
        law, target: the law, and the FLOPs that are asked about.
        answers: ln N_opt and ln L_opt at the target, (draws, 2), each about its mean.
        losses: ln L at the candidates, (draws, candidates), about its mean.
        noise: standard deviation of ln L of a run at each candidate, (candidates,).
        compute: FLOPs of each candidate, (candidates,).
        top: the largest compute so far.
        now: half widths of N_opt and L_opt as the law has them, and as this model would.
    """

    law: FittedLaw
    target: float
    answers: np.ndarray
    losses: np.ndarray
    noise: np.ndarray
    compute: np.ndarray
    top: float
    now: tuple[np.ndarray, np.ndarray]

    def after(self, which: int) -> Outlook:
        """The same with the candidate at index `which` trained."""
        own = self.losses[:, which]
        variance, noise = float(np.mean(own**2)), float(self.noise[which] ** 2)
        share = 1 / (1 + np.sqrt(noise / (variance + noise))) / (variance + noise)
        return replace(
            self,
            answers=self.answers - share * np.outer(own, own @ self.answers / len(own)),
            losses=self.losses - share * np.outer(own, own @ self.losses / len(own)),
            top=max(self.top, float(self.compute[which])),
        )

    def falls(self, which: np.ndarray) -> np.ndarray:
        """By how much of itself the variance of ln N_opt and of ln L_opt would fall, (which, 2), with each trained:
        sampling error by what its loss says, and misfit by how far up it is."""
        own = self.losses[:, which]
        shared = own.T @ self.answers / len(own)
        known = np.mean(own**2, axis=0) + self.noise[which] ** 2
        sampled = self.law.prediction.misfit.widening**2 * shared**2 / known[:, None]
        total = self._variance(np.array([self.top]))[0]
        unknown = self._misfit(np.array([self.top])) - self._misfit(np.maximum(self.compute[which], self.top))
        return np.asarray((sampled + unknown) / total)

    def widths(self) -> dict[str, float]:
        """Expected half widths of N_opt and L_opt: the law's own, times what this model says they shrink by."""
        known, modelled = self.now
        return dict(zip(LOGS, (known * (self._modelled() / modelled)).tolist(), strict=True))

    def _modelled(self) -> np.ndarray:
        """Half widths of N_opt and L_opt, (2,), of sampling error and misfit together."""
        return np.asarray(special.ndtri((1 + LEVEL) / 2) * np.sqrt(self._variance(np.array([self.top]))[0]))

    def _variance(self, top: np.ndarray) -> np.ndarray:
        """Of ln N_opt and ln L_opt, (tops, 2), were `top` the largest compute."""
        sampling = self.law.prediction.misfit.widening**2 * self.answers.var(axis=0)
        return np.asarray(np.maximum(sampling + self._misfit(top), 1e-18))

    def _misfit(self, top: np.ndarray) -> np.ndarray:
        """The misfit's part of that: less with a shorter way to go and, where no bend shows, with a longer way seen."""
        misfit = self.law.prediction.misfit
        rates = np.array([misfit.size_rate, misfit.loss_rate])
        if self.law.form == "chinchilla":
            seen = np.log(top / self.law.runs.flops.min())
            rates = rates * (unseen_share(seen) / unseen_share(self.law.runs.span))[:, None]
        freedom = np.array([misfit.size_freedom, misfit.loss_freedom])
        wide = special.stdtrit(freedom, (1 + LEVEL) / 2) / special.ndtri((1 + LEVEL) / 2)
        away = np.maximum(np.log(self.target / top), NEAREST)[:, None]
        return np.asarray((rates * wide * away) ** 2)


def outlook(law: FittedLaw, target: float, candidates: Points) -> Outlook | None:
    """What the law expects of `candidates`; None where it is not determined, or was fitted without resamples."""
    draws = law.member_draws[:MOST_DRAWS]
    if not law.determined or len(draws) < 2:
        return None
    best = law.optimum_draws(target)[:MOST_DRAWS]
    with np.errstate(all="ignore"):
        loss = at_size("L_opt", draws, best, target, law.flops_per_token)
        answers = np.log(np.column_stack([best, loss]))
        losses = np.log(mixed_loss(draws[:, None], candidates.N, candidates.D))
    sound = np.isfinite(answers).all(axis=1) & np.isfinite(losses).all(axis=1)
    if sound.sum() < 2:
        return None
    answers, losses = answers[sound] - answers[sound].mean(axis=0), losses[sound] - losses[sound].mean(axis=0)
    first = Outlook(
        law=law,
        target=target,
        answers=answers,
        losses=losses,
        noise=np.maximum(_noise(law, candidates), LEAST_NOISE),
        compute=candidates.C,
        top=float(law.runs.flops.max()),
        now=(np.ones(2), np.ones(2)),
    )
    own = widths(law, target, level=LEVEL)
    return replace(first, now=(np.array([own[name] for name in LOGS]), first._modelled()))


def _noise(law: FittedLaw, candidates: Points) -> np.ndarray:
    """Standard deviation of ln L of runs at `candidates`, as the law's residuals have it, (candidates,)."""
    distance = np.log(candidates.N / law.N_opt(candidates.C))
    age = np.log(np.maximum(law.runs.flops.max() / candidates.C, 1.0))
    return np.asarray(law.sigma * residual_scale(distance, age, law.weighting.v or np.inf, law.weighting.c or np.inf))
