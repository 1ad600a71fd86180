"""One training curve for a page: as a line of blocks, and as a small SVG.

Written without matplotlib, which takes longer to load than many small trainings take.
"""

from __future__ import annotations

import html
from collections.abc import Callable

import numpy as np

from flops_fit.basics.formatting import format_flops, format_loss
from flops_fit.drawing.colours import BLUE, GREY, INK, LINES, RED
from flops_fit.loss_curves.curve_data import smoothed
from flops_fit.loss_curves.curves import LossCurve

BLOCKS = "▁▂▃▄▅▆▇█"
LONG = 32  # blocks
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BELOW = 560, 260, 62, 20, 28, 44
FONT = "DejaVu Sans, Helvetica, Arial, sans-serif"


def curve_blocks(curve: LossCurve) -> str:
    """`4.94 ▇▅▃▂▂▁▁▁ 2.41`: the loss from the first step to the last, evenly over the logarithm of FLOPs."""
    loss = smoothed(curve.tokens, curve.loss)
    at = np.interp(np.geomspace(curve.tokens[0], curve.tokens[-1], LONG), curve.tokens, loss)
    low, high = at.min(), at.max()
    heights = (at - low) / (high - low) if high > low else np.zeros(LONG)
    blocks = "".join(BLOCKS[int(min(height * len(BLOCKS), len(BLOCKS) - 1))] for height in heights)
    return f"{format_loss(loss[0])} {blocks} {format_loss(loss[-1])}"


def curve_svg(curve: LossCurve) -> str:
    """Loss against FLOPs of one training: single batches (grey), their mean (blue), the held-out loss (red)."""
    loss = smoothed(curve.tokens, curve.loss)
    low, high = _loss_range(curve, loss)
    x = LEFT + (WIDTH - LEFT - RIGHT) * curve.flops / curve.flops[-1]

    def y(values: np.ndarray | float) -> np.ndarray:
        share = (np.clip(values, low, high) - low) / (high - low)
        return HEIGHT - BELOW - (HEIGHT - TOP - BELOW) * np.asarray(share)

    batches = "".join(
        f'<circle cx="{at:.1f}" cy="{height:.1f}" r="1.6"/>' for at, height in zip(x, y(curve.loss), strict=True)
    )
    line = " ".join(f"{at:.1f},{height:.1f}" for at, height in zip(x, y(loss), strict=True))
    parts = [
        *(_level(value, float(y(value))) for value in round_values(low, high)),
        *(_tick(share, curve.flops[-1]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        f'<g fill="{GREY}" fill-opacity="0.5">{batches}</g>',
        f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.6"/>',
        _held_out(curve, float(x[-1]), y),
        _text(LEFT, 16, f"{curve.experiment_id}: {curve.status}", size=12),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "FLOPs", anchor="middle"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="{FONT}"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def curve_text(curve: LossCurve) -> str:
    """What the picture shows, in words and numbers."""
    loss = smoothed(curve.tokens, curve.loss)
    held_out = "" if curve.held_out is None else f", held out {format_loss(curve.held_out)}"
    return (
        f"Loss of {curve.experiment_id} against FLOPs: {format_loss(loss[0])} at first, {format_loss(loss[-1])} after "
        f"{format_flops(curve.flops[-1])} FLOPs{held_out}"
    )


def round_values(low: float, high: float) -> list[float]:
    """Three to eight multiples of 1, 2 or 5 times a power of ten from `low` to `high`."""
    power = 10.0 ** np.floor(np.log10((high - low) / 3))
    step = next(size * power for size in (5, 2, 1) if (high - low) / (size * power) >= 3)
    return [float(f"{number * step:.12g}") for number in range(int(np.ceil(low / step)), int(high / step) + 1)]


def _loss_range(curve: LossCurve, loss: np.ndarray) -> tuple[float, float]:
    """All of the smoothed losses; of single batches nearly all."""
    known = [] if curve.held_out is None else [curve.held_out]
    low = min([loss.min(), float(np.quantile(curve.loss, 0.01)), *known])
    high = max([loss.max(), float(np.quantile(curve.loss, 0.99)), *known])
    return (low, high) if high > low else (low - max(abs(low), 1e-12) / 20, low + max(abs(low), 1e-12) / 20)


def _level(value: float, height: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="{LINES}"/>'
    return line + _text(LEFT - 6, height + 4, f"{value:g}", anchor="end")


def _tick(share: float, flops: float) -> str:
    at = LEFT + share * (WIDTH - LEFT - RIGHT)
    anchor = "end" if share == 1 else "middle"
    return _text(at, HEIGHT - BELOW + 17, format_flops(share * flops) if share else "0", anchor=anchor)


def _held_out(curve: LossCurve, at: float, y: Callable[[float], np.ndarray]) -> str:
    if curve.held_out is None:
        return ""
    height = float(y(curve.held_out))
    said = _text(at - 8, height - 8, f"held out {format_loss(curve.held_out)}", anchor="end")
    return f'<circle cx="{at:.1f}" cy="{height:.1f}" r="4.5" fill="{RED}" stroke="#ffffff"/>{said}'


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11) -> str:
    style = f'font-size="{size}" text-anchor="{anchor}" fill="{INK}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(words)}</text>'
