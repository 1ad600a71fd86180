"""The public tables the fitting is checked against, where they are at hand, and the synthetic ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, SYMMETRIC, synthetic_runs

DATA = Path(os.environ.get("FLOPS_FIT_PUBLIC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

# the folder also holds tables of other questions: repeated data, learning rates, a grid without compute groups
NO_ISOFLOP_STUDY = ("datablations", "farseer", "steplaw_dense_lr_bs")
OUTLIERS_MARKED = {"isoflops_llama_3__raw_loss": "llama 3", "isoflops_misfitting": "misfitting"}


def public_tables() -> dict[str, pd.DataFrame]:
    """Every IsoFLOP study of the public data folder by name (Porian's five apart; marked outliers also left out);
    empty where the folder is absent."""
    if not DATA.is_dir():
        return {}
    tables = {}
    for path in sorted(DATA.glob("*.csv")):
        table = pd.read_csv(path)
        if path.stem.endswith("_published") or path.stem in NO_ISOFLOP_STUDY:
            continue
        if "config" in table:
            for config, rows in table.groupby("config", sort=False):
                tables[f"porian {str(config).removeprefix('summary_df/rw/')}"] = rows.reset_index(drop=True)
        elif "excluded_by_epoch" in table:
            tables["epoch 240"] = table[~table["excluded_by_epoch"]].reset_index(drop=True)
            tables["epoch 245"] = table
        elif "outlier" in table:
            name = OUTLIERS_MARKED[path.stem]
            tables[name] = table[~table["outlier"].astype(bool)].reset_index(drop=True)
            tables[f"{name}, all rows"] = table
        else:
            tables[path.stem.split("_")[0]] = table
    return tables


def farseer() -> pd.DataFrame:
    """Farseer's grid of sizes and tokens, bits per byte; `split` marks their seven far larger test runs."""
    return pd.read_csv(DATA / "farseer.csv")


def synthetic_tables(count: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Studies of many kinds: laws, noises, sizes, grids off the optimum, curvature the law does not have."""
    laws = (CHINCHILLA, REPLICATION, SYMMETRIC, DATA_HEAVY, MODEL_HEAVY)
    generator = np.random.default_rng(7)
    for index in range(count):
        budgets = np.geomspace(1e18, 1e18 * 10 ** generator.uniform(0.5, 3), generator.integers(2, 8))
        runs = synthetic_runs(
            laws[index % 5],
            compute_budgets=budgets,
            sizes_per_budget=int(generator.integers(4, 12)),
            span=float(generator.uniform(1.8, 8)),
            off_centre=np.exp(generator.normal(0, 0.5, len(budgets))),
            noise=float(10 ** generator.uniform(-4, -1.7)),
            noise_kind=("gaussian", "t3", "outliers")[index % 3],
            broken_fraction=0.05 * (index % 2),
            seed=index,
            transform=(lambda N, D, loss: loss * (1 + 0.01 * np.log(D / N) ** 2 / 20)) if index % 4 == 3 else None,
        )
        runs = runs[(runs["status"] == "completed") & runs["loss"].notna()]
        yield f"synthetic {index}", runs.reset_index(drop=True)
