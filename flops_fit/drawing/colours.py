"""The colours of figures, on white and on dark.

They are Okabe & Ito's and the `viridis` scale, both safe for the colour-blind; markers and line styles carry the same
distinctions in black and white.
"""

from __future__ import annotations

import colorsys
import functools

BLUE, ORANGE, GREEN, RED, INK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#222222", "#8a8a8a"
LINES = "#e6e6e6"  # of the grid
DARK_PAPER = "#15181c"
_GREYS_ON_DARK = {"#ffffff": DARK_PAPER, LINES: "#2b3037", "#cccccc": "#444b54", GREY: "#9aa3ad"}
_DARKEST = 0.50  # lightness that every colour has at least on dark


@functools.cache
def on_dark(colour: str) -> str:
    """What stands for a colour such as `#0072B2` on dark paper: greys change sides, the others become lighter, and
    keep their order."""
    colour = colour.lower()
    if colour in _GREYS_ON_DARK:
        return _GREYS_ON_DARK[colour]
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if saturation < 0.05:
        return _hex(*(0.92 - 0.75 * lightness,) * 3)
    return _hex(*colorsys.hls_to_rgb(hue, _DARKEST + (1 - _DARKEST) * 0.6 * lightness, saturation))


def _hex(*parts: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
