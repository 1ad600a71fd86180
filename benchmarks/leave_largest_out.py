"""How well does a law fitted without the largest budgets predict them?

    python benchmarks/leave_largest_out.py [--write]

Root mean square of log-loss error over held-out runs within a factor 4 in N of the optimum, on every public table at
hand: the plain fit, and the default, which weighs runs near the valley more where their likelihood asks for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tables import public_tables

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law.checks.holdout import hold_out
from flops_fit.scaling_law.fit import fit_both
from flops_fit.scaling_law.flops_per_token import learn_flops_per_token
from flops_fit.scaling_law.table.runs import read_runs

EXACT = 1e-6  # a noise-free table is predicted exactly either way


def errors(runs, groups):
    """(runs held out, plain error, default error, the default's weighting)."""
    per_token = learn_flops_per_token(runs.num_params, runs.num_tokens, runs.flops)
    full = fit_both(runs, per_token, "auto", "plain")[0].fit
    plain, default = (
        hold_out(runs, full, per_token, lambda part: fit_both(part, per_token, "auto", way)[0].fit, groups=groups)  # noqa: B023
        for way in ("plain", "auto")
    )
    return plain.runs, plain.error, default.error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    blocks = []
    for groups in (1, 2):
        rows, ratios = [], []
        for name, table in public_tables().items():
            runs = read_runs(table)
            count, plain, default = errors(runs, groups)
            ratio = plain / default if plain > EXACT else 1.0
            ratios.append(ratio)
            rows.append((name, len(runs), count, f"{100 * plain:.2f} %", f"{100 * default:.2f} %", f"{ratio:.2f}"))
        mean = float(np.exp(np.mean(np.log(ratios))))
        rows.append(("geometric mean", "", "", "", "", f"{mean:.2f}"))
        headers = ("table", "runs", "held out near the valley", "plain", "default", "plain / default")
        title = "The largest budget held out" if groups == 1 else f"The {groups} largest budgets held out"
        blocks.append(f"## {title}\n\n{markdown_table(headers, rows)}")
    text = "\n\n".join(blocks)
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text("# Leave the largest budget out\n\n" + text + "\n")


if __name__ == "__main__":
    main()
