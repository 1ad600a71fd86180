"""What is no loss made one: perplexities, log-likelihoods, accuracies, rewards, and losses that have been shifted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops_fit.basics.arguments import LEFT_OUT, need, number, one_of
from flops_fit.errors import FitError

if TYPE_CHECKING:
    import numpy as np

NATS = "nats per token"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of loss: how it becomes a loss, the unit of that, and in words what was done."""

    loss: Callable[[np.ndarray], np.ndarray]
    unit: str
    said: str = ""


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _errors(values: np.ndarray) -> np.ndarray:
    share = 100.0 if (values > 1).any() else 1.0
    return 1.0 - values / share


def _negative(values: np.ndarray) -> np.ndarray:
    return -values


def _logarithm(values: np.ndarray) -> np.ndarray:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(values)


KINDS = {
    "nats": Kind(loss=_same, unit=NATS),
    "bits": Kind(loss=_same, unit="bits per token"),
    "bits-per-byte": Kind(loss=_same, unit="bits per byte"),
    "perplexity": Kind(loss=_logarithm, unit=NATS, said="the logarithm of perplexities"),
    "log-likelihood": Kind(loss=_negative, unit=NATS, said="log-likelihoods with their sign changed"),
    "accuracy": Kind(loss=_errors, unit="share of errors", said="1 - accuracy"),
    "reward": Kind(loss=_negative, unit="reward lost", said="rewards with their sign changed"),
    "other": Kind(loss=_same, unit=""),
}


def check_loss_options(kind: str | None, offset: float) -> None:
    """Raise `FitError` for a kind of loss that is not known, or an offset that is no number."""
    need("loss_kind", kind, LEFT_OUT | one_of(*KINDS), FitError)
    need("loss_offset", offset, number(), FitError)


def as_losses(values: np.ndarray, kind: str | None, offset: float) -> tuple[np.ndarray, str | None, list[str]]:
    """Losses, their unit (None where no kind says it), and what to tell of them."""
    chosen = KINDS[kind] if kind else None
    losses = chosen.loss(values) if chosen else values
    said = [f"losses are {chosen.said}"] if chosen and chosen.said else []
    if offset:
        said.append(f"losses have {offset:g} added, as asked: E and every predicted loss hold it too")
    return losses + offset, chosen.unit if chosen else None, said


def why_no_law(loss: float) -> str:
    """Why no law can be fitted to a loss, "" where one can: what is fitted is its logarithm."""
    return "" if loss > 0 or loss != loss else f"loss = {loss:.4g} is not above 0, and no law can be fitted to it"


def offset_for(lowest: float) -> float:
    """A round number that makes losses of at least `lowest` positive when it is added."""
    return float(f"{1 - lowest:.2g}") if lowest > -1e6 else float(f"{-1.1 * lowest:.2g}")


def to_be_positive(lowest: float) -> str:
    """What to type where losses are not above 0, the lowest of them being `lowest`."""
    offset = offset_for(lowest)
    return (
        "a law is of a loss above 0 that falls as models grow: log-likelihoods and rewards need --loss-kind "
        f"log-likelihood or --loss-kind reward, a loss that has been shifted --loss-offset {offset:g} (in Python "
        f'loss_kind="log-likelihood", loss_offset={offset:g}; in a study, let the loss function add it)'
    )
