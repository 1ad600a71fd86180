"""What sharing trunks saves, and what it costs in loss: `python benchmarks/trunks.py demo|gpt [--home DIR] [--write]`.

With `--extend 1e9,2e9,4e9` only what the last of these budgets trains when it is added to the others.

The packaged study with `share_trunk`, its experiments trained from trunks, and the longest of four trunks once more
from its first step, which must give the same bits. Then the same sizes and tokens with the default recipe (a linear
decay over each run's own length), with two seeds, whose difference tells the noise of one training.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
from pathlib import Path

import numpy as np
from written import write_page

from flops_fit import Hardware, Recipe, ScalingLaw, Study, fit_scaling_law
from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.examples import tiny_gpt
from flops_fit.recipe.steps import plan_steps
from flops_fit.recipe.trunk import by_trunk, own_parts, saving_text
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.stages import study_plan, study_size_map
from flops_fit.sweep.experiment import Experiment
from flops_fit.training.side_by_side import train_all

EXAMPLES = Path(tiny_gpt.__file__).parent
AGAIN = 4  # trunks, of those with the fewest steps
BEYOND = (1.0, 10.0)  # times the largest budget, where laws are compared


def studies(name: str) -> tuple[Study, Study]:
    """The packaged study with shared trunks, and with the defaults."""
    study = Study.from_toml(EXAMPLES / name / "study.toml")
    shared, usual = Recipe(schedule="wsd", share_trunk=True), Recipe()
    alike = dataclasses.replace(study, hardware=Hardware(device="cpu", workers=1))
    return dataclasses.replace(alike, training=shared), dataclasses.replace(alike, training=usual)


def extended(name: str, budgets: list[float], home: Path) -> str:
    """What is trained where the last of `budgets` is added to the others, by ids."""
    study = studies(name)[0]
    fewer, all_of_them = (
        dataclasses.replace(study, sweep=dataclasses.replace(study.sweep, compute_budgets=tuple(some)))
        for some in (budgets[:-1], budgets)
    )
    size_map, folder = study_size_map(study), home / "shared"
    before, plan = (study_plan(each, size_map) for each in (fewer, all_of_them))
    first = {result.experiment_id: result for result in trained(fewer, before.experiments, folder)}
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*/result.json")}
    every = {result.experiment_id: result for result in trained(all_of_them, plan.experiments, folder)}
    untouched = sum((path.read_bytes(), path.stat().st_mtime_ns) == was for path, was in files.items())
    tokens, taken = study.prepared_data.tokens_per_example, {key: each.trunk_tokens for key, each in first.items()}
    planned = own_parts(study.training, plan.experiments, tokens, taken)
    new = [item for item in plan.experiments if item.experiment_id not in first]
    rows = [
        (
            item.experiment_id,
            f"{result.num_tokens:,}",
            f"{result.trunk_tokens:,}",
            f"{result.num_tokens - result.trunk_tokens:,}",
            f"{round(planned[item.experiment_id].examples * tokens):,}",
        )
        for item in new
        for result in [every[item.experiment_id]]
    ]
    alone_too = [trained(study, [item], home / "from_its_first_step" / item.experiment_id)[0] for item in new]
    equal = sum(every[result.experiment_id].weights_sha256 == result.weights_sha256 for result in alone_too)
    own, whole = (sum(getattr(every[e.experiment_id], name) for e in new) for name in ("own_flops", "flops"))
    said = (
        f"{len(first)} experiments at {', '.join(map(format_flops, budgets[:-1]))} FLOPs were trained, then "
        f"{format_flops(budgets[-1])} was added: {untouched} of {len(files)} results are the files that they were, "
        f"{len(new)} experiments are new, of {sum(item.compute_budget != budgets[-1] for item in new)} other budgets, "
        f"and train {format_flops(own)} FLOPs instead of {format_flops(whole)}, {1 - own / whole:.0%} less. "
        f"Trained from their first step, {equal} of {len(new)} have the same bits."
    )
    headers = ("new", "tokens", "of them taken over", "trained", "planned to be")
    return "\n\n".join([f"## {name}, another budget", said, markdown_table(headers, rows)])


def alone(study: Study, experiments: list[Experiment], seed: int) -> list[Experiment]:
    """The same sizes and tokens as experiments of `study`, each with a recipe of its own."""
    own = {"recipe_tokens": None, "seed": seed, "outcome_fingerprint": study.outcome_fingerprint()}
    return [
        dataclasses.replace(item, experiment_id=f"{item.experiment_id}-alone-s{seed}", **own) for item in experiments
    ]


def trained(study: Study, experiments: list[Experiment], folder: Path) -> list[ExperimentResult]:
    """Their results, from `folder` where they are there."""
    results = train_all(study, experiments, output_dir=folder)
    assert all(item.status == "completed" for item in results), [item.reason for item in results]
    return results


def measured(name: str, home: Path) -> str:
    """The page of one study."""
    shared, usual = studies(name)
    plan = study_plan(shared, study_size_map(shared))
    items, tokens = plan.experiments, shared.prepared_data.tokens_per_example
    branches = trained(shared, items, home / "shared")
    steps = {item.experiment_id: plan_steps(shared.training, item, tokens).steps for item in items}
    longest = sorted((mine[-1] for mine in by_trunk(items).values()), key=lambda item: steps[item.experiment_id])
    again = [trained(shared, [item], home / "from_its_first_step" / item.experiment_id)[0] for item in longest[:AGAIN]]
    first, second = (trained(usual, alone(usual, items, seed), home / "alone") for seed in (0, 1))
    of_longest = {result.experiment_id: result for result in branches}
    equal = sum(of_longest[result.experiment_id].weights_sha256 == result.weights_sha256 for result in again)
    own = own_parts(shared.training, items, tokens)
    done = sum(result.num_tokens - result.trunk_tokens for result in branches)
    planned = round(sum(part.examples for part in own.values()) * tokens)
    noise = np.std([np.log(b.loss / a.loss) for a, b in zip(first, second, strict=True)]) / np.sqrt(2)
    said = [
        f"{saving_text(shared.training, items, tokens)}.",
        f"Tokens trained: {done:,}, planned {planned:,}. The longest of {len(again)} trunks, trained again from its "
        f"first step: {equal} of {len(again)} have the same bits. Noise of one training (two seeds): {noise:.2%}.",
        f"Optimizer steps: {sum(part.steps for part in own.values()):,} with trunks, "
        f"{sum(result.steps for result in first):,} alone; seconds of training {seconds(branches):.0f} and "
        f"{sum(result.seconds for result in first):.0f}, on a machine that did other work beside it.",
        by_budget(branches, first),
        by_ratio(branches, first),
        laws(fit_scaling_law(results_frame(branches)), fit_scaling_law(results_frame(first))),
    ]
    return "\n\n".join([f"## {name}", *said])


def seconds(results: list[ExperimentResult]) -> float:
    """Of training, what was shared counted once."""
    return sum(result.own_seconds for result in results)


def by_budget(branches: list[ExperimentResult], first: list[ExperimentResult]) -> str:
    """What was saved and how losses differ from those of the default recipe, by budget."""
    rows = []
    for budget in sorted({result.compute_budget for result in first}):
        pairs = [pair for pair in zip(branches, first, strict=True) if pair[1].compute_budget == budget]
        flops = sum(a.own_flops for a, _ in pairs), sum(b.flops for _, b in pairs)
        off = [np.log(a.loss / b.loss) for a, b in pairs]
        least = min(b.loss for _, b in pairs), min(a.loss for a, _ in pairs)
        rows.append((format_flops(budget), len(pairs), *map(format_flops, flops), f"{np.mean(off):+.2%}",
                     f"{least[0]:.4f}", f"{least[1]:.4f}"))  # fmt: skip
    headers = ("budget", "experiments", "FLOPs trained", "alone", "loss against default", "least by default", "least")
    return markdown_table(headers, rows)


def by_ratio(branches: list[ExperimentResult], first: list[ExperimentResult]) -> str:
    """The same by tokens per parameter, as a difference that varies with it moves N_opt."""
    ratio = np.array([result.num_tokens / result.num_params for result in first])
    off = np.array([np.log(a.loss / b.loss) for a, b in zip(branches, first, strict=True)])
    edges = np.quantile(ratio, [0, 0.25, 0.5, 0.75, 1])
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (ratio >= low) & ((ratio < high) | (high == edges[-1]))
        rows.append((f"{low:.3g} to {high:.3g}", int(inside.sum()), f"{off[inside].mean():+.2%}"))
    return markdown_table(("tokens per parameter", "experiments", "loss against default"), rows)


def laws(shared: ScalingLaw, usual: ScalingLaw) -> str:
    """N_opt and loss of both laws with their 90 % intervals, and whether each is within the other's."""
    rows = []
    for times in BEYOND:
        budget = times * float(usual.runs.budget.max())
        for what, show in (("N_opt", format_count), ("L_opt", "{:.4f}".format)):
            values = [float(getattr(law, what)(budget)) for law in (usual, shared)]
            intervals = [law.interval(what, budget) for law in (usual, shared)]
            shown = [f"{show(v)} [{show(low)}, {show(high)}]" for v, (low, high) in zip(values, intervals, strict=True)]
            inside = ["yes" if low <= value <= high else "no"
                      for value, (low, high) in zip(values[::-1], intervals, strict=True)]  # fmt: skip
            rows.append((format_flops(budget), what, *shown, *inside))
    return markdown_table(("FLOPs", "", "default", "trunks", "trunks' within default's", "default's within"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", choices=("demo", "gpt"))
    parser.add_argument("--home", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--extend", metavar="BUDGETS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        if options.extend:
            budgets = [float(budget) for budget in options.extend.split(",")]
            print("\n\n".join(extended(name, budgets, home / name) for name in options.studies))
            return
        page = "\n\n".join(measured(name, home / name) for name in options.studies)
    print(page)
    if options.write:
        write_page(__file__, "Trunks and branches", "\n\n".join([__doc__.split("\n\n", 1)[1].strip(), page]))


if __name__ == "__main__":
    main()
