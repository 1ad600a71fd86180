"""Does a study gain by a recipe that it finds itself? `python benchmarks/tuned.py demo|gpt [--seeds 0 1 2] [--write]`.

The grid of the demo, or of the GPT example, with the recipe that was once found for it by hand, with the defaults, and
with learning rate and batch as "tune", for each training seed: the loss at the minimum of every budget's own curve,
what of the study's FLOPs the trials took, the rule, and the law's findings. On two cores about five minutes a seed of
the demo, twenty of the GPT. Results stay in `--home` and are not trained again. `--write` makes `tuned_demo.md` or
`tuned_gpt.md`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from written import write_page

from flops_fit import find_optimal
from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.examples import stdlib_corpus, tiny_gpt
from flops_fit.examples.byte_mlp import ByteMLP
from flops_fit.loss import cross_entropy
from flops_fit.recipe_law.tuned_recipe import TunedRecipe

SHARED = {"flops": "measured", "param_count": "non_embedding", "num_sizes_per_budget": 7, "device": "cpu"}
STUDIES = {  # model, its arguments, data, budgets, the rest of the plan, the recipe by hand
    "demo": (ByteMLP, {}, stdlib_corpus, (2e9, 6e9, 2e10, 6e10), {"max_size": 1024},
             {"learning_rate": 0.016, "batch_tokens": "0.5*sqrt(tokens)", "weight_decay": 0.0, "betas": (0.9, 0.95)}),
    "gpt": (tiny_gpt.TinyGPT, {"num_layers": 2, "head_width": 4}, tiny_gpt, (5e10, 1.5e11, 5e11),
            {"max_size": 512, "tokens_per_param": 150, "max_tokens_per_param": 5000, "max_epochs": 1},
            {"learning_rate": tiny_gpt.learning_rate, "batch_tokens": "1.0*sqrt(tokens)", "betas": (0.9, 0.95)}),
}  # fmt: skip
RECIPES = ("by hand", "defaults", "tuned")


def law_of(name, recipe, seed, folder):
    """The law of that study with that recipe and training seed."""
    model, kwargs, data, budgets, grid, by_hand = STUDIES[name]
    tuned = {"learning_rate": "tune", "batch_tokens": "tune"}
    return find_optimal(
        model,
        "width",
        kwargs,
        dataset=data.train_dataset(),
        eval_dataset=data.held_out_dataset(),
        loss_fn=cross_entropy,
        compute_budgets=budgets,
        output_dir=folder,
        progress=False,
        seed=seed,
        **SHARED,
        **grid,
        **{"by hand": by_hand, "defaults": {}, "tuned": tuned}[recipe],
    )


def row_of(name, recipe, seed, folder):
    """The cells of one study, and what tuning found in words."""
    law = law_of(name, recipe, seed, folder)
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
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = given.home or Path(temporary)
        rows, rules = [], []
        for seed in given.seeds:
            for recipe in RECIPES:
                row, said = row_of(given.study, recipe, seed, home / f"{given.study}_{recipe.replace(' ', '_')}_{seed}")
                print(*row, said, sep="\n  ", flush=True)
                rows.append(row)
                rules += [f"Seed {seed}:\n\n```\n{said}\n```"] if said else []
    headers = ("study", *(f"loss at {format_flops(budget)}" for budget in STUDIES[given.study][3]))
    table = markdown_table((*headers, "FLOPs of tuning", "a", "law", "findings"), sorted(rows))
    if given.write:
        page = Path(__file__).with_name(f"tuned_{given.study}.py")
        write_page(str(page), f"The {given.study} study with a recipe of its own", "\n\n".join([table, *rules]))


if __name__ == "__main__":
    main()
