"""A figure in the report, with its caption."""

from __future__ import annotations

import base64
from collections.abc import Mapping

CAPTIONS = {
    "isoflop": "Every run, by budget; the law (lines) is fitted to all of them at once. The dashed line follows the "
    "law's optimum; stars are the minima of each budget's own parabola (dotted), which knows nothing of the law.",
    "frontier": "The compute-optimal model and tokens, and the loss to expect, with pointwise 90 % intervals.",
    "residuals": "What the law leaves unexplained. A trend with compute, or a bend away from the optimum, means that "
    "the law's form does not hold and extrapolation is biased.",
    "contours": "Predicted loss; runs should surround the optimum they are meant to locate.",
    "rounds": "Left: what was trained, by round. Right: what the law said at the target after each round, with its "
    "90 % interval; dotted, how narrow that has to become.",
    "recipe": "The trials of the recipe by size and tokens; one lies above its curve by what its other numbers cost. "
    "Dotted: the value that the rule uses; crosses: diverged.",
    "exponents": "The fit repeated on resampled runs.",
}


def figure_block(key: str, images: Mapping[str, bytes]) -> str:
    """The figure called `key` of `images` (PNG), in the page itself."""
    data = base64.b64encode(images[key]).decode()
    return (
        f'<figure><img alt="{key}" src="data:image/png;base64,{data}"><figcaption>{CAPTIONS[key]}</figcaption></figure>'
    )
