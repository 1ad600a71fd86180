"""Image classification on every machine: digits drawn from a bitmap font, with a known least loss; no download.

An example is one 16 x 16 image: a digit of the 5 x 7 font below, as it is or twice as wide or high, at a random place,
of random brightness, under noise. One label in ten is replaced by another digit at random, so no model can do better
than `IRREDUCIBLE_LOSS` on average: a lower bound for the law's E that is known.

One unit of data (a "token" of the study) is an image.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

IMAGES, HELD_OUT_IMAGES = 400_000, 8192
SIDE, NUM_CLASSES = 16, 10
WRONG_LABELS = 0.1
IRREDUCIBLE_LOSS = -(1 - WRONG_LABELS) * math.log(1 - WRONG_LABELS) - WRONG_LABELS * math.log(
    WRONG_LABELS / (NUM_CLASSES - 1)
)
"""Entropy of the label given the digit, in nats: 0.545."""

_FONT = """
.###. ..#.. .###. .###. ...#. ##### ..##. ##### .###. .###.
#...# .##.. #...# #...# ..##. #.... .#... ....# #...# #...#
#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....#
#...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ...#.
.###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .##..
"""


class PatchMLP(nn.Module):
    """A convolution that cuts the image into overlapping patches, one that mixes neighbours, a hidden layer, logits.

    Shapes: images (B, 16, 16) uint8 → logits (B, 10).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, kernel_size=6, stride=2, padding=2)  # (B, width, 8, 8)
        self.mix = nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1)  # (B, width, 4, 4)
        self.hidden = nn.Linear(16 * width, 2 * width)
        self.logits = nn.Linear(2 * width, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the digit."""
        scaled = images[:, None].to(self.logits.weight.dtype) / 128 - 1  # (B, 1, 16, 16)
        features = functional.leaky_relu(self.mix(functional.leaky_relu(self.patches(scaled))))
        return self.logits(functional.leaky_relu(self.hidden(features.flatten(1))))


def build(width: int) -> PatchMLP:
    """The model of the study; `width` is the number of channels."""
    return PatchMLP(width)


def train_dataset() -> TensorDataset:
    """400,000 images and their labels, one in ten of them wrong."""
    return _images(IMAGES, seed=1)


def held_out_dataset() -> TensorDataset:
    """8,192 other images, likewise."""
    return _images(HELD_OUT_IMAGES, seed=2)


@functools.cache
def _images(count: int, seed: int) -> TensorDataset:
    chance = np.random.default_rng(seed)
    digits = chance.integers(NUM_CLASSES, size=count)
    glyphs = _stretched_glyphs()
    shapes = chance.integers(len(glyphs), size=count)
    noise = chance.integers(0, 90, size=(count, SIDE, SIDE), dtype=np.uint8)
    brightness = chance.integers(60, 160, size=count, dtype=np.uint8)
    for shape, glyph in enumerate(glyphs):
        height, width = glyph.shape[1:]
        tops = chance.integers(SIDE - height + 1, size=count)
        lefts = chance.integers(SIDE - width + 1, size=count)
        for top in range(SIDE - height + 1):
            for left in range(SIDE - width + 1):
                (here,) = np.nonzero((shapes == shape) & (tops == top) & (lefts == left))
                drawn = glyph[digits[here]] * brightness[here, None, None]
                noise[here, top : top + height, left : left + width] += drawn
    wrong = chance.random(count) < WRONG_LABELS
    labels = np.where(wrong, (digits + chance.integers(1, NUM_CLASSES, size=count)) % NUM_CLASSES, digits)
    dataset = TensorDataset(torch.from_numpy(noise), torch.from_numpy(labels))
    dataset.fingerprint = f"glyphs 1 {count} {seed}"  # type: ignore[attr-defined]
    return dataset


def _stretched_glyphs() -> list[np.ndarray]:
    """The ten digits as 0 and 1 in four shapes, each (10, height, width)."""
    rows = [line.split() for line in _FONT.strip().splitlines()]
    plain = np.array([[[pixel == "#" for pixel in row[digit]] for row in rows] for digit in range(NUM_CLASSES)])
    glyphs = plain.astype(np.uint8)
    return [glyphs.repeat(high, axis=1).repeat(wide, axis=2) for high in (1, 2) for wide in (1, 2)]
