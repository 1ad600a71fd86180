"""Which way of choosing experiments gives the best law for its FLOPs, on pools of real runs?

    OMP_NUM_THREADS=1 python benchmarks/adaptive.py [--held 2] [--policies ours random] [--scores FILE] [--write]

A policy picks runs of a pool (pools.py) for 5, 10, 20 or 40 % of the FLOPs of all of them, each total by itself, and
sees the losses of what it has picked. The default law of what it picked is judged on the largest budgets, held out:
its error over that of the default law of the whole pool, and over that of approach 3 as published, which is what "all
runs" gave before laws could bend. Geometric means over a family's pools, then over families.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from holdouts import FAMILIES, HoldOut
from policies import POLICIES, ROUND
from pools import Pool, pools
from tables import farseer
from written import write_page

from flops_fit import ScalingLaw, fit_scaling_law
from flops_fit.basics.formatting import markdown_table

SHARES = (0.05, 0.10, 0.20, 0.40)
SEEDS = {"random": (0, 1)}
MOST = 20.0  # the ratio of a law that cannot be fitted, and the most that counts
FLOORS = {"N": 0.02, "L": 0.001}  # of |ln N_opt| and |ln L_opt|, below which a minimum's own error hides a difference


def judged(law: ScalingLaw | None, held: HoldOut) -> dict[str, float]:
    """RMS log-loss error near the valley of what is held out, and |ln N_opt| and |ln L_opt| at its minima."""
    if law is None:
        return {"rms": np.inf, "N": np.nan, "L": np.nan}
    at = [(abs(np.log(law.N_opt(m.C) / m.N)), abs(np.log(law.L_opt(m.C) / m.loss))) for m in held.minima]
    size, loss = np.mean(at, axis=0) if at else (np.nan, np.nan)
    return {"rms": float(np.sqrt(np.mean(np.log(law.loss(held.N, held.D) / held.loss) ** 2))), "N": size, "L": loss}


def scores_of(pool: Pool, policies: list[str]) -> list[dict[str, Any]]:
    """A row for every policy, share and seed; `ratio` is to the law of the whole pool, `ratio 3` to its approach 3."""
    whole = judged(pool.law([*range(len(pool.runs))]), pool.judge)
    published = judged(fit_scaling_law(pool.runs, form="chinchilla", bootstraps=1), pool.judge)["rms"]
    rows = []
    for name in policies:
        for share in SHARES:
            for seed in SEEDS.get(name, (0,)):
                picked = POLICIES[name](pool, share * pool.total, seed)
                own = judged(pool.law(picked), pool.judge)
                row = {"pool": pool.name, "family": pool.family, "policy": name, "share": share, "runs": len(picked)}
                row |= {"spent": float(pool.flops[picked].sum()) / pool.total, **own}
                row |= {f"whole {key}": value for key, value in whole.items()}
                ratios = {"ratio": own["rms"] / whole["rms"], "ratio 3": own["rms"] / published}
                rows.append(row | {name: min(MOST, ratio) for name, ratio in ratios.items()})
    return rows


def geometric(values: Any, floor: float = 1e-6) -> float:
    """Geometric mean of what is known."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(np.exp(np.log(np.maximum(known, floor)).mean())) if len(known) else float("nan")


def by_family(scores: pd.DataFrame, column: str, floor: float = 1e-6) -> dict[str, float]:
    """The figure of each family that has one."""
    found = {family: geometric(scores.loc[scores["family"] == family, column], floor) for family in FAMILIES}
    return {family: value for family, value in found.items() if np.isfinite(value)}


def table_of(scores: pd.DataFrame, column: str, floor: float = 1e-6) -> str:
    """Family mean, and the worst family, of every policy at every share."""
    rows = []
    for policy in [name for name in POLICIES if (scores["policy"] == name).any()]:
        cells = []
        for share in SHARES:
            own = by_family(scores[(scores["policy"] == policy) & (scores["share"] == share)], column, floor)
            worst = max(own, key=lambda family: own[family])
            cells.append(f"{geometric([*own.values()]):.3g} (worst {worst}, {own[worst]:.3g})")
        rows.append((policy, *cells))
    return markdown_table(("policy", *(f"{share:.0%} of the FLOPs" for share in SHARES)), rows)


def families_table(scores: pd.DataFrame, policy: str) -> str:
    """One policy family by family, with how many runs it took."""
    rows = []
    for share in SHARES:
        own = scores[(scores["policy"] == policy) & (scores["share"] == share)]
        ratios = by_family(own, "ratio")
        rows.append((f"{share:.0%}", f"{own['runs'].median():.0f}", *(f"{ratios[family]:.2f}" for family in ratios)))
    return markdown_table(("share", "runs (median)", *by_family(scores, "ratio")), rows)


def farseer_table(policies: list[str]) -> str:
    """R2 on Farseer's own seven test runs, of laws of a share of its training runs' FLOPs."""
    whole = farseer()
    train, test = (whole[whole["split"] == part].reset_index(drop=True) for part in ("train", "test"))
    N, D, loss = (test[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "loss"))
    judge = HoldOut(
        table="farseer", family="Farseer", groups=0, train=train, N=N, D=D, loss=loss, minima=(),
        distance=float(np.log(test["flops"].max() / train["flops"].max())),
    )  # fmt: skip
    pool = Pool(name="farseer, own split", family="Farseer", runs=train, judge=judge)
    rows = [("all runs", *[_r2(pool.law([*range(len(train))]), judge)] * len(SHARES))]
    for name in policies:
        cells = [_r2(pool.law(POLICIES[name](pool, share * pool.total, 0)), judge) for share in SHARES]
        rows.append((name, *cells))
    return markdown_table(("policy", *(f"{share:.0%}" for share in SHARES)), rows)


def _r2(law: ScalingLaw | None, held: HoldOut) -> str:
    if law is None:
        return "no law"
    left = ((law.loss(held.N, held.D) - held.loss) ** 2).sum() / ((held.loss - held.loss.mean()) ** 2).sum()
    return f"{1 - left:.3f}"


def report(scores: pd.DataFrame, policies: list[str]) -> str:
    """The whole page."""
    count = scores["pool"].nunique()
    blocks = [
        f"{count} pools of {scores['family'].nunique()} families; rounds of {ROUND} runs. Ratios are to the law of the "
        f"whole pool (RMS log-loss error near the valley of what is held out); a law that cannot be fitted counts "
        f"{MOST:g}.",
        "## Error over that of the whole pool's law\n\n" + table_of(scores, "ratio"),
        "## Error over that of approach 3 fitted to the whole pool\n\n" + table_of(scores, "ratio 3"),
        "## |ln N_opt| at the held-out minima\n\n" + table_of(scores, "N", FLOORS["N"]),
        "## |ln L_opt| at the held-out minima\n\n" + table_of(scores, "L", FLOORS["L"]),
    ]
    blocks += [f"## By family: {name}\n\n" + families_table(scores, name) for name in policies[:3]]
    blocks.append("## R2 on Farseer's own test runs\n\n" + farseer_table(policies))
    return "\n\n".join(blocks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--held", type=int, default=2, help="largest budgets held out, at most")
    parser.add_argument("--policies", nargs="+", default=[*POLICIES], choices=[*POLICIES])
    parser.add_argument("--scores", type=Path, help="also keep every score as CSV, and go on from what it holds")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.scores and options.scores.exists():
        rows = pd.read_csv(options.scores).to_dict("records")
    for pool in pools(options.held):
        there = {row["policy"] for row in rows if row["pool"] == pool.name}
        rows += scores_of(pool, [name for name in options.policies if name not in there])
        if options.scores:
            pd.DataFrame(rows).to_csv(options.scores, index=False)
    text = report(pd.DataFrame(rows), options.policies)
    print(text)
    if options.write:
        write_page(__file__, "Choosing experiments", text)


if __name__ == "__main__":
    main()
