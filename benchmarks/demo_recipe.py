"""Is it the recipe that bends the demo's law? `python benchmarks/demo_recipe.py`, about three minutes.

At the size nearest to each budget's own minimum: the held-out loss with half and double the learning rate and batch.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from seeds import DEMO

from flops_fit import Recipe, Study
from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.stages import study_plan, study_size_map
from flops_fit.training.side_by_side import train_all

MINIMA = {
    2e9: 3980,
    6e9: 6480,
    2e10: 11800,
    6e10: 20700,
}  # as `flops-fit demo` prints them
BATCH = "0.06*tokens^0.67"
RECIPES = {  # rates as the demo's rule gives them, the batch's root included
    "the demo's": (Recipe().learning_rate, BATCH),
    "half the rate": ("min(0.01, 0.235*sqrt(batch)*params^-0.6)", BATCH),
    "double the rate": ("min(0.04, 0.94*sqrt(batch)*params^-0.6)", BATCH),
    "half the batch": (Recipe().learning_rate, "0.03*tokens^0.67"),
    "double the batch": (Recipe().learning_rate, "0.12*tokens^0.67"),
}


def losses(rate, batch, directory):
    """Held-out loss at the best size of each budget."""
    demo = Study.from_toml(DEMO)
    study = dataclasses.replace(
        demo, training=dataclasses.replace(demo.training, learning_rate=rate, batch_tokens=batch)
    )
    plan = study_plan(study, study_size_map(study)).by_budget()
    best = [min(plan[budget], key=lambda item: abs(item.num_params / N - 1)) for budget, N in MINIMA.items()]
    return [result.loss for result in train_all(study, best, output_dir=Path(directory))]


def main():
    with tempfile.TemporaryDirectory() as directory:
        rows = [(name, *(f"{loss:.4f}" for loss in losses(*recipe, directory))) for name, recipe in RECIPES.items()]
    print(markdown_table(("recipe", *(format_flops(budget) for budget in MINIMA)), rows))


if __name__ == "__main__":
    main()
