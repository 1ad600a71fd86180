"""The demo as an adaptive study, real trainings: does it answer as the whole grid does, for a third of its FLOPs?

    python benchmarks/adaptive_demo.py [--seeds 3] [--share 0.35] [--home FOLDER] [--write]

The grid of the demo is trained once; then the same model, data and recipe with `[adaptive]`, the target 6e11 FLOPs and
`--share` of the grid's FLOPs, once for each training seed. A row each: what was spent, N_opt and loss at the target
with their 90 % intervals, and whether they lie inside the grid's. About ten minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from written import write_page

from flops_fit.basics.formatting import format_count, markdown_table
from flops_fit_assets.headless.study import run_study
from flops_fit_assets.instance.home import DEMO_STUDY

TARGET = 6e11
HEADERS = ("study", "rounds", "experiments", "of the grid's FLOPs", "N_opt at 6e11", "90 %", "loss at 6e11", "90 %",
           "N_opt inside", "loss inside", "stopped")  # fmt: skip


def adaptive_text(total: float, seed: int) -> str:
    """The demo's study file in rounds."""
    text = Path(DEMO_STUDY).read_text()
    text = re.sub(r"compute_budgets = .*\nnum_sizes_per_budget = .*\n", f"seeds = [{seed}]\n", text)
    text = text.replace('name = "demo"', f'name = "rounds_{seed}"')
    return text + f"\n[adaptive]\ntarget_budget = {TARGET}\ntotal_compute = {total}\n"


def row(name, outcome, full, grid_flops):
    """What one study came to, against the law of the grid."""
    law = outcome.law
    N, loss = float(law.N_opt(TARGET)), float(law.L_opt(TARGET))
    of_N, of_loss = law.interval("N_opt", TARGET), law.interval("L_opt", TARGET)
    (N_low, N_high), (loss_low, loss_high) = full.interval("N_opt", TARGET), full.interval("L_opt", TARGET)
    spent = sum(result.flops for result in outcome.results.values())
    rounds = outcome.rounds
    return (
        name,
        len(rounds.rounds) if rounds else "–",
        len(outcome.results),
        f"{spent / grid_flops:.0%}",
        format_count(N),
        f"{format_count(of_N[0])} to {format_count(of_N[1])}",
        f"{loss:.4f}",
        f"{of_loss[0]:.4f} to {of_loss[1]:.4f}",
        "yes" if N_low <= N <= N_high else "no",
        "yes" if loss_low <= loss <= loss_high else "no",
        rounds.step.kind if rounds else "–",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.35)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        grid = run_study(Path(DEMO_STUDY), home, console)
        flops = sum(result.flops for result in grid.results.values())
        rows = [row("grid", grid, grid.law, flops)]
        for seed in range(given.seeds):
            path = home / f"rounds_{seed}.toml"
            path.write_text(adaptive_text(given.share * flops, seed))
            rows.append(row(f"seed {seed}", run_study(path, home, console), grid.law, flops))
            print(*rows[-1], flush=True)
    table = markdown_table(HEADERS, rows)
    print(table)
    if given.write:
        said = f"`python benchmarks/adaptive_demo.py`: {__doc__.splitlines()[0]}"
        write_page(__file__, "The demo in rounds", f"{said}\n\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
