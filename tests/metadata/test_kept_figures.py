"""A figure that is kept in an event is small, however many runs it draws."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from flops_fit.drawing.drawn import NotDrawn, drawn
from flops_fit_assets.metadata.shared import FIGURE_WIDTH, figure_markdown, kept_figure


def figure(count):
    """One with `count` points strewn over it, as pixels."""

    def draw():
        from flops_fit.drawing.axes import panels, points

        made, (axes,) = panels(9.6, 5.2, 1)
        for budget, (x, y) in enumerate(np.random.default_rng(0).uniform(0, 1, (20, 2, count // 20))):
            points(axes, x, y, "o", ["a run"] * len(x), color=f"C{budget}", ms=3, ls="none")
        return made

    return drawn("dots", "dots", draw, lambda: "dots", lambda: "")


def image_of(markdown):
    kind, content = re.fullmatch(r"!\[dots\]\(data:image/([a-z+]+);base64,(.*)\)", markdown).groups()
    return kind, base64.b64decode(content)


def test_a_large_one_is_narrowed():
    large = figure(6000)
    assert min(len(large.svg), len(large.png)) > 100_000, "else this tests nothing"
    kind, content = image_of(kept_figure(large).value)
    image = Image.open(io.BytesIO(content))
    before = Image.open(io.BytesIO(large.png))
    assert (kind, image.width) == ("png", 2 * FIGURE_WIDTH)
    assert image.height / image.width == pytest.approx(before.height / before.width, rel=0.01)
    assert len(content) < min(len(large.svg), len(large.png)) / 2


def test_a_small_one_and_a_note_are_as_they_are():
    small, note = figure(40), NotDrawn(name="dots", title="dots", reason="no runs")
    for each in (small, note):
        assert kept_figure(each).value == figure_markdown(each).value
