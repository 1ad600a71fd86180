"""What sharing trunks costs and saves: `python benchmarks/trunks.py demo|gpt [--home DIR] [--rates] [--write]`.

The packaged study with `share_trunk`, and the same sizes and tokens trained one by one: with the same schedule from the
beginning (bit for bit the same), and with the default recipe (linear decay over each run's own length) and two seeds.
With `--rates` the trunk's default rate is also tried at other multiples. One process, one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from pathlib import Path

import numpy as np
from written import write_page

from flops_fit import Hardware, Recipe, Study, SweepOptions, fit_scaling_law
from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.examples import tiny_gpt
from flops_fit.recipe.recipe import TRUNK_RATE
from flops_fit.recipe.trunk import by_trunk, own_parts, saving_text, trained_flops
from flops_fit.results.results import results_frame
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.training.side_by_side import train_all

EXAMPLES = Path(tiny_gpt.__file__).parent
BUDGETS = {"demo": (2e9, 6e9, 2e10, 6e10), "gpt": (5e10, 1.5e11, 5e11)}
FACTORS = (0.5, 0.6, 0.7, 1.0)  # of the usual rate
BEYOND = 10.0  # times the largest budget, where laws are compared


def studies(name: str, factor: float) -> tuple[Study, Study]:
    """The packaged study with shared trunks at `factor` of the usual rate, and with the defaults."""
    study = Study.from_toml(EXAMPLES / name / "study.toml")
    sweep = dataclasses.replace(study.sweep, compute_budgets=BUDGETS[name])
    alike = {"hardware": Hardware(device="cpu", workers=1), "sweep": sweep}
    rate = f"min({0.02 * factor:.4g}, {0.47 * factor:.4g}*sqrt(batch)*params^-0.6)"
    shared = Recipe(schedule="wsd", share_trunk=True, learning_rate=TRUNK_RATE if factor == 0.6 else rate)
    return (
        dataclasses.replace(study, training=shared, **alike),
        dataclasses.replace(study, training=Recipe(), **alike),
    )


def alone(study: Study, experiments, seed: int):
    """The same sizes and tokens as experiments of `study`."""
    outcome = study.outcome_fingerprint()
    return [
        dataclasses.replace(
            item, experiment_id=f"{item.experiment_id}-alone-s{seed}", recipe_tokens=None, seed=seed,
            outcome_fingerprint=outcome,
        )
        for item in experiments
    ]  # fmt: skip


def trained(study: Study, experiments, folder: Path):
    results = train_all(study, experiments, output_dir=folder, progress=False)
    assert all(item.status == "completed" for item in results), [item.reason for item in results]
    return results


def law_of(results, study: Study):
    """The law of `results`, resampled trunk by trunk where they share them."""
    return fit_scaling_law(results_frame(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=BUDGETS)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--budgets", type=int)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp())
    if options.budgets:
        BUDGETS[options.study] = BUDGETS[options.study][: options.budgets]
    lines = measure(options.study, home, FACTORS if options.rates else (0.6,))
    print("\n".join(lines))


def measure(name: str, home: Path, factors) -> list[str]:
    _, usual = studies(name, 1.0)
    size_map = study_size_map(usual)
    shared, _ = studies(name, 0.6)
    plan = study_plan(shared, size_map)
    per_example = shared.prepared_data.tokens_per_example
    lines = [saving_text(shared.training, plan.experiments, per_example)]
    first = trained(usual, alone(usual, plan.experiments, 0), home / "alone")
    lines.append(f"seconds alone {sum(r.seconds for r in first):.0f}")
    by_factor = {}
    for factor in factors:
        study, _ = studies(name, factor)
        own = study_plan(study, size_map).experiments
        by_factor[factor] = trained(study, own, home / f"x{factor:g}")
        off = np.array([math.log(a.loss / b.loss) for a, b in zip(by_factor[factor], first, strict=True)])
        ratio = np.array([b.num_tokens / b.num_params for b in first])
        bins = [(ratio < 1), (ratio >= 1) & (ratio < 5), (ratio >= 5) & (ratio < 80), (ratio >= 80)]
        lines.append(
            f"x{factor:g}: mean {100 * off.mean():+.2f} %, median |.| {100 * np.median(np.abs(off)):.2f}, by D/N "
            + ", ".join(f"{100 * off[b].mean():+.2f}" for b in bins)
            + f" seconds {sum(r.seconds * r.own_share for r in by_factor[factor]):.0f}"
        )
        for a, b in zip(by_factor[factor], first):
            lines.append(
                f"  {b.compute_budget:.0e} {b.size_param_value} D/N {b.num_tokens / b.num_params:.2f} {a.loss:.4f} {b.loss:.4f} {100 * math.log(a.loss / b.loss):+.2f}%"
            )
    second = trained(usual, alone(usual, plan.experiments, 1), home / "alone")
    noise = np.array([math.log(a.loss / b.loss) for a, b in zip(second, first, strict=True)])
    lines.append(f"seed 1 against seed 0: rms/sqrt2 {100 * noise.std() / math.sqrt(2):.2f} %")
    return lines


if __name__ == "__main__":
    main()
