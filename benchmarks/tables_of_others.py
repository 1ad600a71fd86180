"""Tables as they should be get no finding about units, and tables in other units are never called trustworthy.

OMP_NUM_THREADS=1 python benchmarks/tables_of_others.py [synthetic tables, 200]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from tables import DATA, public_tables

from flops_fit.basics.formatting import markdown_table
from flops_fit.errors import FitError
from flops_fit.scaling_law import fit_scaling_law, read_runs
from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, SYMMETRIC, synthetic_runs

LAWS = (CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, SYMMETRIC)


def clean_tables(count: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Studies of any size, noise and convention of FLOPs, then the public ones as they are."""
    for seed in range(count):
        random = np.random.default_rng(seed)
        low, high = np.sort(10 ** random.uniform(15, 24, 2))
        runs = synthetic_runs(
            LAWS[seed % len(LAWS)],
            noise=float(random.uniform(0, 0.03)),
            noise_kind=str(random.choice(["gaussian", "t3", "outliers"])),
            span=float(random.uniform(2, 20)),
            compute_budgets=np.geomspace(low, high * 1.5, int(random.integers(3, 12))),
            sizes_per_budget=int(random.integers(3, 12)),
            seed=seed,
        )
        N = runs.num_params / runs.num_params.min()
        attention = 1 + random.uniform(0, 1.5) * N ** -random.uniform(0.2, 0.6)
        measured = np.exp(random.uniform(0, 0.02) * random.standard_normal(len(runs)))
        yield (
            f"synthetic {seed}",
            [
                runs,
                runs.drop(columns=["flops", "compute_budget"]),
                runs.assign(flops=runs.flops * attention).drop(columns="compute_budget"),
                runs.assign(flops=runs.flops * measured * 8 / 6).drop(columns="compute_budget"),
            ][seed % 4],
        )
    yield from public_tables().items()
    for path in sorted(DATA.glob("*.csv")):
        if not path.stem.endswith("_published"):
            yield path.stem, pd.read_csv(path)


def in_other_units(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The same study wrong in each of these ways."""
    N, D, C, loss = (runs[name] for name in ("num_params", "num_tokens", "flops", "loss"))
    alone, odd = runs.drop(columns=["flops", "compute_budget"]), np.arange(len(runs)) % 2 > 0
    large = N.rank(method="first") > 0.6 * len(runs)
    for factor in (1e3, 1e6, 1e9):
        yield f"N / {factor:g}", runs.assign(num_params=N / factor)
        yield f"D / {factor:g}", runs.assign(num_tokens=D / factor)
        yield f"N / {factor:g}, no FLOPs", alone.assign(num_params=N / factor)
        yield f"D / {factor:g}, no FLOPs", alone.assign(num_tokens=D / factor)
    for factor in (1e6, 1e9):
        yield f"N, D / {factor:g}, no FLOPs", alone.assign(num_params=N / factor, num_tokens=D / factor)
    yield "N, D swapped", runs.assign(num_params=D, num_tokens=N)
    yield "steps of 524,288 tokens", runs.assign(num_tokens=D / 524_288)
    yield "steps of 2,048 tokens", runs.assign(num_tokens=D / 2048)
    for name, scaled in {"PF-days": C / 8.64e19, "log10": np.log10(C), "ln": np.log(C), "EFLOPs": C / 1e18}.items():
        yield f"FLOPs in {name}", runs.assign(flops=scaled)
        yield f"FLOPs in {name} in every other row", runs.assign(flops=np.where(odd, C, scaled))
    yield "a third in every other row", runs.assign(flops=np.where(odd, C / 3, C))
    yield "a third more in the larger", runs.assign(flops=np.where(large, C * 4 / 3, C))
    yield "forward FLOPs", runs.assign(flops=C / 3)
    yield "N in millions in every other row, no FLOPs", alone.assign(num_params=np.where(odd, N, N / 1e6))
    yield "perplexity", runs.assign(loss=np.exp(2 * loss))
    yield "accuracy", runs.assign(loss=1 / (1 + loss))
    yield "log-likelihood", runs.assign(loss=-loss)
    yield "some losses below 0", runs.assign(loss=np.where(odd, -loss, loss))


def said_of(runs: pd.DataFrame) -> str:
    """ "refused", "trustworthy", or the other verdicts."""
    try:
        return fit_scaling_law(runs, bootstraps=20).verdict
    except FitError:
        return "refused"


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    found, tables = [], 0
    for name, runs in clean_tables(count):
        read = read_runs(runs)
        tables += 1
        odd = [finding.code for finding in read.doubts]
        odd += ["budgets" for note in read.notes if "put aside" in note]
        odd += ["excluded" for item in read.excluded if "its FLOPs are" in item.reason]
        found += [(name, ", ".join(odd))] if odd else []
    print(f"{tables} tables as they should be, {len(found)} with a finding")
    for name, odd in found:
        print(f"  {name}: {odd}")
    verdicts: dict[str, list[str]] = {}
    studies = [synthetic_runs(law, noise=0.003, span=6, seed=seed) for seed, law in enumerate(LAWS)]
    for runs in studies:
        for name, wrong in in_other_units(runs):
            verdicts.setdefault(name, []).append(said_of(wrong))
    kinds = ("refused", "not supported", "provisional", "trustworthy")
    rows = [(name, *(str(said.count(kind) or "") for kind in kinds)) for name, said in verdicts.items()]
    print(markdown_table(("in other units", *kinds), rows))


if __name__ == "__main__":
    main()
