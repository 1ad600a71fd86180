"""A figure in a page: small, with an alternative in words, dark where the page is, its points where they are drawn."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from flops_fit.drawing.axes import MANY, panels, points
from flops_fit.drawing.colours import BLUE, DARK_PAPER, INK, on_dark
from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn
from flops_fit.drawing.inline_svg import inline_svg
from flops_fit.drawing.render import figure_png, figure_svg
from flops_fit.errors import FlopsFitWarning


def figure():
    made, (axes,) = panels(5, 4, 1)
    points(axes, [1, 2, 3], [1.0, 4.0, 9.0], "o", ["one", "two", "<three>"], color=BLUE)
    axes.set(xlim=(0, 4), ylim=(0, 8), xlabel="x", title="squares")
    return made


def luminance(colour):
    """Of WCAG 2.1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_it_is_well_formed_and_fetches_nothing():
    svg = inline_svg(figure_svg(figure()), "squares", 'a "b" <c>')
    tree = ElementTree.fromstring(svg)
    assert tree.get("role") == "img"
    assert tree.get("aria-label") == 'a "b" <c>'
    assert "http" not in svg
    assert "squares" in "".join(tree.itertext())
    assert "font-family" not in svg, "that of the page"
    assert not re.search(r"\d\.\d{3}", svg.split("</style>", 1)[1])


def test_two_on_one_page_share_no_names():
    one, other = (inline_svg(figure_svg(figure()), name, "alt") for name in ("one", "other"))
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"#([\w-]+)\)|href=\"#([\w-]+)\"", one)) <= {(name, "") for name in ids[0]} | {
        ("", name) for name in ids[0]
    }


def test_on_dark_ink_and_paper_change_sides_and_colours_can_be_seen():
    svg = inline_svg(figure_svg(figure()), "squares", "alt")
    _, dark = svg.split("@media screen and (prefers-color-scheme:dark)", 1)
    assert DARK_PAPER in dark
    assert on_dark(BLUE) in dark
    for colour in (INK, BLUE, "#E69F00", "#009E73", "#D55E00", "#440154", "#31688e", "#35b779", "#000000", "#8a8a8a"):
        assert contrast(on_dark(colour), DARK_PAPER) >= 3, colour
    kept = inline_svg(figure_svg(figure()), "squares", "alt", lighten=False)
    assert on_dark(BLUE) not in kept


def test_points_are_where_the_svg_has_them():
    made = figure()
    svg = inline_svg(figure_svg(made), "squares", "alt")
    uses = re.findall(r'<use href="#[^"]+" x="([\d.]+)" y="([\d.]+)"', svg)
    places = [(float(x), float(y)) for x, y in uses]
    seen = made.seen_points()
    assert [name for _, _, name in seen] == ["one", "two"], "the third is beyond the axis"
    for x, y, _ in seen:
        assert any(abs(x - at) < 0.11 and abs(y - height) < 0.11 for at, height in places)


def test_many_points_are_one_picture():
    made, (axes,) = panels(5, 4, 1)
    points(axes, range(MANY + 1), range(MANY + 1), "o", [str(i) for i in range(MANY + 1)])
    svg = inline_svg(figure_svg(made), "many", "alt")
    assert "data:image/png" in svg
    assert len(svg) < 60_000
    assert len(made.seen_points()) == MANY + 1


def test_a_figure_that_fails_is_a_note_and_a_warning():
    def draw():
        raise ValueError("no finite numbers")

    with pytest.warns(FlopsFitWarning, match="'squares' is left out: ValueError: no finite numbers"):
        found = drawn("squares", "squares", draw, lambda: "alt 1", lambda: "caption")
    assert isinstance(found, NotDrawn)
    made = drawn("squares", "squares", figure, lambda: "alt 1", lambda: "caption")
    assert isinstance(made, Drawn)
    assert made.svg == drawn("squares", "squares", figure, lambda: "alt 1", lambda: "caption").svg


def test_a_notebook_shows_a_figure_by_itself():
    png, size = figure()._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size == {"width": 360, "height": 288}
    assert len(png) > len(figure_png(figure(), dpi=72)), "twice the pixels"
