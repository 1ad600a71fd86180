"""An SVG of matplotlib's as part of an HTML page: small, in the page's font, and dark where the page is."""

from __future__ import annotations

import html
import re
from collections import Counter

from flops_fit.drawing.colours import on_dark

_HEADER = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|\sxmlns(:xlink)?=\"[^\"]*\"", re.DOTALL)
_SIZE = re.compile(r'(<svg[^>]*?)\swidth="[^"]*"(\s+)height="[^"]*"', re.DOTALL)
_NUMBERS = re.compile(r'\s(?:d|x|y|transform|width|height|viewBox)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"font-family: '[^;\"]*;?\s?")
_STYLE = re.compile(r'\sstyle="([^"]*)"')
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_ID = re.compile(r'\sid="([^"]*)"')
_USED = re.compile(r'(?:href="#|url\(#)([^")]+)')


def inline_svg(svg: str, name: str, alt: str, *, lighten: bool = True) -> str:
    """`svg` (as `figure_svg` makes it) as an element of an HTML page, with `alt` as what it says to who cannot see it.

    Names within it begin with `name`, so that several can be on one page. On dark, ink and paper change sides, and
    colours become lighter unless `lighten` is false, for pictures whose colours are a scale. It is drawn in the colours
    of the page: `currentColor` where nothing else is said.
    """
    text = _HEADER.sub("", with_short_numbers(svg)).replace("xlink:href", "href").strip()
    text = _SIZE.sub(r"\1", text, count=1)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    text = _with_own_names(_FONT.sub("", text), name)
    text, rules = _with_classes(text, name, lighten)
    text = re.sub(r">\s+<", "><", text)
    said = f'<svg role="img" aria-label="{html.escape(" ".join(alt.split()))}"'
    return text.replace("<svg", said, 1).replace(">", f"><style>{rules}</style>", 1)


def with_short_numbers(svg: str) -> str:
    """`svg` with two digits after the point, a hundredth of its unit, in places and paths: about half as long."""
    return _NUMBERS.sub(lambda found: _LONG.sub(_short, found[0]).replace("\n", ""), svg)


def _short(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _with_own_names(text: str, name: str) -> str:
    used = {each: f"{name}-{number}" for number, each in enumerate(dict.fromkeys(_USED.findall(text)))}
    text = _ID.sub(lambda found: f' id="{used[found[1]]}"' if found[1] in used else "", text)
    return _USED.sub(lambda found: found[0].replace(found[1], used[found[1]]), text)


def _with_classes(text: str, name: str, lighten: bool) -> tuple[str, str]:
    """The same with a class for every style, and the rules of these classes."""
    styles = [style for style, _ in Counter(_STYLE.findall(text)).most_common()]
    classes = {style: f"{name}-s{number}" for number, style in enumerate(styles)}
    text = _STYLE.sub(lambda found: f' class="{classes[found[1]]}"', text)
    light = "".join(f".{classes[style]}{{{style.strip()}}}" for style in styles)
    dark = "".join(
        f".{classes[style]}{{{changed.strip()}}}"
        for style in styles
        if (changed := _COLOUR.sub(lambda found: _dark(found[0], lighten), style)) != style
    )
    return text, f"{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def _dark(colour: str, lighten: bool) -> str:
    is_grey = colour[1:3] == colour[3:5] == colour[5:7]
    return on_dark(colour) if lighten or is_grey else colour
