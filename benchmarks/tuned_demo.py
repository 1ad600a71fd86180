"""Does the demo gain by a recipe that it finds itself? `python benchmarks/tuned_demo.py [--seeds 0 1 2] [--write]`.

The demo's grid with the recipe that was once found for it by hand, as it is written (the defaults), and with learning
rate and batch as "tune", for each training seed: the loss at the minimum of every budget's own curve, what of the
study's FLOPs the trials took, the rule, and the law's findings. About five minutes a seed on two cores. Results stay in
`--home` and are not trained again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from written import write_page

from flops_fit import find_optimal
from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.examples import stdlib_corpus
from flops_fit.examples.byte_mlp import ByteMLP
from flops_fit.loss import cross_entropy
from flops_fit.recipe_law.tuned_recipe import TunedRecipe

BUDGETS = (2e9, 6e9, 2e10, 6e10)
DEMO = {"max_size": 1024, "flops": "measured", "param_count": "non_embedding", "num_sizes_per_budget": 7,
        "device": "cpu"}  # fmt: skip
RECIPES = {
    "by hand": {"learning_rate": 0.016, "batch_tokens": "0.5*sqrt(tokens)", "weight_decay": 0.0, "betas": (0.9, 0.95)},
    "as written": {},
    "tuned": {"learning_rate": "tune", "batch_tokens": "tune"},
}


def law_of(recipe, seed, folder):
    """The demo's law with that recipe and training seed."""
    return find_optimal(
        ByteMLP,
        "width",
        dataset=stdlib_corpus.train_dataset(),
        eval_dataset=stdlib_corpus.held_out_dataset(),
        loss_fn=cross_entropy,
        compute_budgets=BUDGETS,
        output_dir=folder,
        progress=False,
        seed=seed,
        **DEMO,
        **RECIPES[recipe],
    )


def row_of(recipe, seed, folder):
    """The cells of one study, and what tuning found in words."""
    law = law_of(recipe, seed, folder)
    losses = [f"{minimum.loss:.4f}" if minimum.interior else minimum.reason for minimum in law.isoflops]
    told = [item.code for item in law.diagnostics if item.severity != "info" or item.code.startswith("learning_rate_")]
    codes = ", ".join(told) or "none"
    share, said = "–", ""
    if recipe == "tuned":
        found = TunedRecipe.load(folder / "recipe_law.json")
        checked = [item.message for item in law.diagnostics if item.code.startswith("learning_rate_")]
        said = "\n".join([found.law.summary(), f"  loses {found.excess_text}", *checked])
        share = f"{found.flops / found.study_flops:.1%}"
    return (f"{recipe}, seed {seed}", *losses, share, f"{law.a:.3f}", law.form, codes), said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = given.home or Path(temporary)
        rows, rules = [], []
        for seed in given.seeds:
            for recipe in RECIPES:
                row, said = row_of(recipe, seed, home / f"{recipe.replace(' ', '_')}_{seed}")
                print(*row, said, sep="\n  ", flush=True)
                rows.append(row)
                rules += [f"Seed {seed}:\n\n```\n{said}\n```"] if said else []
    headers = ("study", *(f"loss at {format_flops(budget)}" for budget in BUDGETS))
    table = markdown_table((*headers, "FLOPs of tuning", "a", "law", "findings"), sorted(rows))
    if given.write:
        write_page(__file__, "The demo with a recipe of its own", "\n\n".join([table, *rules]))


if __name__ == "__main__":
    main()
