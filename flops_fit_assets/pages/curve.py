"""A training's loss against its tokens as an SVG, both on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from flops_fit.basics.formatting import format_count

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 28, 24, 36
_TICKS = 5


def curve_svg(points: Sequence[tuple[float, float]], held_out: float | None = None) -> str:
    """The (tokens, loss) `points`, and a line at the `held_out` loss; "" where fewer than two can be drawn.

    Losses that are not above 0 are drawn on a linear axis.
    """
    drawn = [(x, y) for x, y in points if x > 0 and math.isfinite(y)]
    if len(drawn) < 2:
        return ""
    heights = [y for _, y in drawn] + ([held_out] if held_out is not None and math.isfinite(held_out) else [])
    logarithmic = min(heights) > 0
    across, xs = _axis([x for x, _ in drawn], _LEFT, _WIDTH - _RIGHT, logarithmic=True)
    up, ys = _axis(heights, _HEIGHT - _BOTTOM, _TOP, logarithmic=logarithmic)
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in drawn)
    marks = [_text(across(x), _HEIGHT - _BOTTOM + 16, format_count(x), "middle") for x in xs]
    marks += [_text(_LEFT - 6, up(y) + 4, f"{y:.3g}", "end") for y in ys]
    marks += [
        f'<path d="M{_LEFT} {up(y):.1f}H{_WIDTH - _RIGHT}" stroke="currentColor" stroke-opacity=".15"/>' for y in ys
    ]
    marks.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, "tokens", "middle"))
    marks.append(_text(4, 12, "training loss", "start"))
    if held_out is not None and math.isfinite(held_out):
        at = f"{up(held_out):.1f}"
        marks.append(f'<path d="M{_LEFT} {at}H{_WIDTH - _RIGHT}" stroke="#c44e52" stroke-dasharray="5 4"/>')
        marks.append(_text(_LEFT + 4, up(held_out) - 5, f"held-out loss {held_out:.4g}", "start"))
    said = f"training loss from {drawn[0][1]:.3g} to {drawn[-1][1]:.3g} over {format_count(drawn[-1][0])} tokens"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">{"".join(marks)}'
        f'<polyline points="{path}" fill="none" stroke="#4c72b0" stroke-width="1.5"/></svg>'
    )


def _axis(
    values: Sequence[float], start: float, end: float, *, logarithmic: bool
) -> tuple[Callable[[float], float], list[float]]:
    """Where a value is drawn between `start` and `end`, and values to mark."""
    into: Callable[[float], float] = math.log if logarithmic else float
    low, high = into(min(values)), into(max(values))
    high = high if high > low else low + 1.0

    def place(value: float) -> float:
        return start + (end - start) * (into(value) - low) / (high - low)

    steps = [low + (high - low) * at / (_TICKS - 1) for at in range(_TICKS)]
    return place, [math.exp(step) if logarithmic else step for step in steps]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="currentColor" text-anchor="{anchor}">{text}</text>'
