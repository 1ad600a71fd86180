"""What the recipe's defaults are worth: `python benchmarks/defaults.py [--home DIR] [--write]`.

Four small studies with the defaults and with those of before (one rate of 0.003 for every size, batches of
0.5*sqrt(tokens), beta2 = 0.95), and the packaged ones with the recipe that was found for them by hand: the loss of the
middle size of every budget, one training each. And what the default rate and batch lose against the best of each cell
of Step Law's table (step_law_table.Judge), next to Step Law's own rule. Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from step_law_table import judges
from torch import nn
from written import write_page

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions
from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.examples import stdlib_corpus, tiny_gpt, vision
from flops_fit.examples.byte_mlp import ByteMLP
from flops_fit.loss import cross_entropy
from flops_fit.recipe.published_rules import RULES
from flops_fit.stages import study_plan, study_size_map
from flops_fit.sweep.experiment import Experiment
from flops_fit.training.side_by_side import train_all


class CharGRU(nn.Module):
    """Bytes (B, T) → logits (B, T, 128)."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.gru = nn.Embedding(128, width), nn.GRU(width, width, batch_first=True)
        self.logits = nn.Linear(width, 128)

    def forward(self, tokens):
        return self.logits(self.gru(self.embed(tokens))[0])


SQRT = "0.5*sqrt(tokens)"
STEP_LAW = """Excess over the best of each of Step Law's cells, in percent. The coefficient of the rate was chosen on
the first row and the demo; the exponent -0.6 lies between -0.5 and Step Law's own -0.713, and was looked at on all rows
with -0.5 to -0.7, which were alike (0.05 to 0.06 in the median of the six largest). Step Law's own rule was fitted on
these cells."""
BEFORE = Recipe(learning_rate=0.003, batch_tokens=SQRT, betas=(0.9, 0.95))
GPT = {"num_layers": 2, "head_width": 4}
STUDIES = {  # factory, its arguments, data, budgets, tokens per parameter, the recipe by hand
    "byte MLP (the demo)": (ByteMLP, {}, stdlib_corpus, (2e9, 6e9, 2e10, 6e10), 20,
                            Recipe(learning_rate=0.016, batch_tokens=SQRT, betas=(0.9, 0.95), weight_decay=0.0)),
    "GPT": (tiny_gpt.TinyGPT, GPT, tiny_gpt, (5e10, 1.5e11, 5e11), 150,
            Recipe(learning_rate=tiny_gpt.learning_rate, batch_tokens="1.0*sqrt(tokens)", betas=(0.9, 0.95))),
    "GRU": (CharGRU, {}, tiny_gpt, (2e10, 6e10, 2e11), 80, None),
    "CNN (images)": (vision.build, {}, vision, (2e9, 6e9, 2e10), 20,
                     Recipe(learning_rate=0.012, batch_tokens=SQRT, betas=(0.9, 0.95), weight_decay=0.0)),
}  # fmt: skip


def losses(name, recipe, home):
    """(budget, N, held-out loss) of the middle size of each budget."""
    factory, kwargs, data, budgets, tokens_per_param, _ = STUDIES[name]
    study = Study(
        name=name.split()[0],
        model=ModelSpec(factory=factory, size_param="width", kwargs=kwargs, max_size=512, flops="measured"),
        data=DataSpec(train=data.train_dataset, eval=data.held_out_dataset),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=budgets, num_sizes_per_budget=5, tokens_per_param=tokens_per_param),
        training=recipe,
        hardware=Hardware(device="cpu"),
    )
    plan = study_plan(study, study_size_map(study)).by_budget()
    middle = [sorted(items, key=lambda item: item.num_params)[len(items) // 2] for items in plan.values()]
    results = train_all(study, middle, output_dir=home)
    return [(item.compute_budget, item.num_params, result.loss) for item, result in zip(middle, results, strict=True)]


def trained_rows(home):
    """A row for every study and budget, printed as they come."""
    rows = []
    for name, (*_, by_hand) in STUDIES.items():
        recipes = {"before": BEFORE, "default": Recipe(), "by hand": by_hand}
        found = {key: losses(name, recipe, home) for key, recipe in recipes.items() if recipe}
        for at, (budget, N, loss) in enumerate(found["default"]):
            others = [f"{found[key][at][2]:.4f}" if key in found else "–" for key in ("before", "by hand")]
            gain = f"{loss / found['before'][at][2] - 1:+.1%}"
            rows.append((name, format_flops(budget), format_count(N), others[0], f"{loss:.4f}", gain, others[1]))
            print(*rows[-1], flush=True)
    return rows


def step_law_rows():
    """Excess over the best of each cell, in percent, of the defaults and of Step Law's own rule."""
    rows = []
    for (N, D), judge in judges().items():
        cell = Experiment(experiment_id="cell", compute_budget=6 * N * D, size_param="N", size_param_value=1,
                          num_params=int(N), num_tokens=int(D), flops_per_token=6 * N)  # fmt: skip
        default = judge.excess(Recipe().peak_learning_rate(cell), Recipe().tokens_per_step(cell))
        rule = RULES["step_law"]
        theirs = judge.excess(rule.learning_rate(cell), rule.batch_tokens(cell))
        rows.append((format_count(N), format_count(D), 100 * default, 100 * theirs))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        trained = trained_rows(given.home or Path(temporary))
    cells = step_law_rows()
    middle = [("median", "", *np.median([row[2:] for row in cells], axis=0))]
    shown = [(*row[:2], *(f"{value:.3f}" for value in row[2:])) for row in [*cells, *middle]]
    headers = ("study", "budget", "N", "before", "default", "change", "by hand")
    page = [
        markdown_table(headers, trained),
        STEP_LAW,
        markdown_table(("N", "D", "defaults", "Step Law's rule"), shown),
    ]
    print(*page, sep="\n\n")
    if given.write:
        write_page(__file__, "What the recipe's defaults are worth", "\n\n".join([__doc__.split("\n\n", 1)[1], *page]))


if __name__ == "__main__":
    main()
