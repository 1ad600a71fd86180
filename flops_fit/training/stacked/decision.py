"""What was decided about training experiments at once, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How many of some experiments are trained at once (1: each alone), of how many, and why.

    `gain` is how many times as fast a step of one was, where that was measured.
    """

    at_once: int
    of: int
    why: str = ""
    gain: float | None = None


def in_words(decided: Iterable[Decision]) -> Iterator[str]:
    """Lines that say how many experiments were trained at once, what that gained, and why others were not."""
    decided = list(decided)
    at_once = [item for item in decided if item.at_once > 1]
    if at_once:
        gains = [item.gain for item in at_once if item.gain is not None]
        faster = f", a step {_span([f'{gain:.1f}' for gain in sorted(gains)])} times as fast" if gains else ""
        widths = _span([str(width) for width in sorted(item.at_once for item in at_once)])
        yield f"trained at once: {sum(item.of for item in at_once)} experiments, {widths} at a time{faster}"
    for why in dict.fromkeys(item.why for item in decided if item.at_once == 1):
        count = sum(item.of for item in decided if item.at_once == 1 and item.why == why)
        yield f"not trained at once: {count} experiments, since {why}"


def _span(texts: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys([texts[0], texts[-1]]))
