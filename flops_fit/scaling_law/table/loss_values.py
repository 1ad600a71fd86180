"""Do the losses look like losses? Which are not above 0, which rise as models grow, and which are too large."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.tables.losses import to_be_positive

MOST_NATS = 15.0  # a vocabulary of three million tokens, all as likely
RISES = 0.5  # rank correlation of loss and compute
_RIGHT = '--loss-kind other, in Python loss_kind="other"'


def loss_doubts(
    C: np.ndarray, loss: np.ndarray, refused: np.ndarray, *, confirmed: Collection[str], offset: float
) -> tuple[Diagnostic, ...]:
    """Findings about losses of runs with C FLOPs, shape (runs,); `refused` are those of other finished runs, which are
    not above 0."""
    found = [_not_positive(loss, refused), _shifted(offset)]
    if "loss" not in confirmed:
        rising = _rising(C, loss)
        found += [rising or _large(loss)]
    return tuple(filter(None, found))


def _not_positive(loss: np.ndarray, refused: np.ndarray) -> Diagnostic | None:
    if not len(refused):
        return None
    lowest = float(refused.min())
    return Diagnostic(
        code="loss_kind",
        severity="error" if len(refused) > 0.1 * (len(loss) + len(refused)) else "warning",
        message=f"{len(refused)} of {len(loss) + len(refused)} losses are not above 0 (the lowest {lowest:.4g}), and "
        "left out: where the best runs are missing, the law is of the others",
        remedy=to_be_positive(lowest),
    )


def _shifted(offset: float) -> Diagnostic | None:
    if not offset:
        return None
    return Diagnostic(
        code="loss_offset",
        severity="warning",
        message=f"losses have {offset:g} added, so that errors in percent are not those of the loss that was given",
        remedy=f"read errors in the loss's own unit: the predicted loss less {offset:g}",
    )


def _large(loss: np.ndarray) -> Diagnostic | None:
    middle = float(np.median(loss))
    if middle <= MOST_NATS:
        return None
    return Diagnostic(
        code="loss_kind",
        severity="warning",
        message=f"losses are {middle:.3g} at the median, more than any loss in nats per token: perplexities?",
        remedy=f'if so, give --loss-kind perplexity, in Python loss_kind="perplexity"; if they are a loss, {_RIGHT}',
    )


def _rising(C: np.ndarray, loss: np.ndarray) -> Diagnostic | None:
    if len(loss) < 5 or np.ptp(C) == 0 or np.ptp(loss) == 0:
        return None
    ranks = pd.DataFrame({"C": C, "loss": loss}).rank().to_numpy().T
    rises = float(np.corrcoef(ranks)[0, 1])
    if rises < RISES:
        return None
    return Diagnostic(
        code="loss_kind",
        severity="error",
        message=f"what is called loss rises with compute (rank correlation {rises:.2f}): an accuracy, or a reward?",
        remedy="if so, give --loss-kind accuracy or --loss-kind reward with --loss-offset, in Python "
        'loss_kind="accuracy"; or another column, --columns loss=...',
    )
