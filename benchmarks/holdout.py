"""What happens when the largest budgets are left out of real studies and predicted from the rest?

    OMP_NUM_THREADS=1 python benchmarks/holdout.py [--jobs 2] [--write]

For k = 1, 2, 3 largest groups of every public table that has enough (see holdouts.py): log-loss error of the held-out
runs within a factor 4 of the optimum in N; error of N_opt and of the loss at the held-out groups' own minima; regret,
the loss above its minimum that training the predicted N would cost; coverage and width of the 90 % intervals.
A family's figure is the mean over its hold-outs (of RMS error: the geometric mean), and the figure of all is the
geometric mean over families, so that correlated tables count once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from forecasters import FORECASTERS, Forecast
from holdouts import FAMILIES, HoldOut, hold_outs
from tables import farseer, public_tables
from written import write_page

from flops_fit.basics.formatting import markdown_table

LIMITS = {"N_opt": np.log(1.5), "loss": 0.02}  # what "trustworthy" promises
PRIORS = (0.35, 0.5, 0.7, 1.0, 1.4)  # times the misfit's prior rates, that a family left out judges
INTERVALS = ("N_opt", "L_opt", "new_run")


def score(forecast: Forecast, held: HoldOut) -> list[dict[str, Any]]:
    """One row per held-out minimum and one for the runs near the valley; errors in logarithms."""
    rows = []
    if forecast.loss is not None:
        error = np.log(forecast.loss(held.N, held.D) / held.loss)
        row = {"what": "runs", "rms": np.sqrt(np.mean(error**2)), "bias": error.mean()}
        if forecast.interval is not None:
            bands = np.array([_runs_band(forecast, N, D) for N, D in zip(held.N, held.D, strict=True)])
            row |= _covered("new_run", bands, held.loss)
        rows.append(row)
    for minimum in held.minima:
        N, L = float(forecast.N_opt(minimum.C)), float(forecast.L_opt(minimum.C))
        off = np.log(N / minimum.N)
        row = {
            "what": "minimum",
            "off": off,
            "N_error": abs(off),
            "L_error": abs(np.log(L / minimum.loss)),
            "L_off": np.log(L / minimum.loss),
            "regret": minimum.curvature * off**2 / minimum.loss,
        }
        if forecast.interval is not None:
            for name, truth in (("N_opt", minimum.N), ("L_opt", minimum.loss)):
                row |= _covered(name, np.array([forecast.interval(name, minimum.C)]), np.array([truth]))
        if forecast.verdict is not None:
            row |= {f"verdict {name}": forecast.verdict(name, minimum.C) for name in LIMITS}
        if forecast.with_prior is not None:
            for prior in PRIORS:
                interval = forecast.with_prior(prior)
                for name, truth in (("N_opt", minimum.N), ("L_opt", minimum.loss)):
                    row |= _covered(f"{name} x{prior}", np.array([interval(name, minimum.C)]), np.array([truth]))
        rows.append(row)
    shared = {"table": held.table, "family": held.family, "k": held.groups, "distance": held.distance}
    return [shared | row for row in rows]


def _runs_band(forecast: Forecast, N: float, D: float) -> tuple[float, float]:
    assert forecast.interval is not None
    return forecast.interval("new_run", num_params=N, num_tokens=D)


def _covered(name: str, bands: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    low, high = np.log(np.maximum(bands.T, 1e-300))
    inside = (low <= np.log(truth)) & (np.log(truth) <= high)
    return {f"{name} covered": inside.mean(), f"{name} width": float(np.mean(np.minimum(high - low, 20.0)) / 2)}


def scores_of(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Every forecaster's scores on one table."""
    rows = []
    for held in hold_outs(name, table):
        for way, forecaster in FORECASTERS.items():
            forecast = forecaster(held.train)
            if forecast is not None:
                rows += [{"way": way} | row for row in score(forecast, held)]
    return pd.DataFrame(rows)


def all_scores(jobs: int) -> pd.DataFrame:
    """The scores on every public table, a process each."""
    tables = public_tables() | {"farseer": farseer()}
    with ProcessPoolExecutor(jobs) as pool:
        return pd.concat(pool.map(scores_of, tables, tables.values()), ignore_index=True)


def geometric(values: Iterable[float], floor: float = 1e-6) -> float:
    """Geometric mean of what is known."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.exp(np.mean(np.log(np.maximum(known, floor))))) if known else float("nan")


def by_family(scores: pd.DataFrame, column: str, mean: Callable[[Any], float] = np.mean) -> dict[str, float]:
    """The figure of each family, NaN where it has none."""
    known = scores.dropna(subset=[column]) if column in scores else scores.iloc[:0]
    found = {family: known.loc[known["family"] == family, column] for family in FAMILIES}
    return {family: float(mean(values)) if len(values) else float("nan") for family, values in found.items()}


def ratio_to_approach_3(scores: pd.DataFrame, way: str) -> pd.DataFrame:
    """RMS error over approach 3's on the same hold-out."""
    runs = scores[scores["what"] == "runs"].set_index(["table", "k"])
    own = runs[runs["way"] == way]
    return own.assign(ratio=own["rms"] / runs.loc[runs["way"] == "approach 3", "rms"]).reset_index()


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %" if np.isfinite(value) else ""


def error_tables(scores: pd.DataFrame) -> str:
    """Errors by family: RMS near the valley, N_opt, loss at the minimum, regret."""
    blocks = []
    columns = (
        ("RMS log-loss error near the valley", "rms", geometric, _percent),
        ("its ratio to approach 3", "ratio", geometric, lambda value: f"{value:.2f}"),
        ("|ln N_opt| at the held-out minimum", "N_error", np.mean, lambda value: f"{value:.3f}"),
        ("loss error at the held-out minimum", "L_error", np.mean, _percent),
        ("regret", "regret", np.mean, _percent),
    )
    for title, column, mean, show in columns:
        rows = []
        for way in FORECASTERS:
            own = ratio_to_approach_3(scores, way) if column == "ratio" else scores[scores["way"] == way]
            figures = by_family(own, column, mean)
            if any(np.isfinite(value) for value in figures.values()):
                shown = (show(value) if np.isfinite(value) else "" for value in figures.values())
                rows.append((way, *shown, show(geometric(figures.values()))))
        blocks.append(f"### {title}\n\n" + markdown_table(("", *FAMILIES, "all"), rows))
    return "\n\n".join(blocks)


def coverage_table(scores: pd.DataFrame, way: str) -> str:
    """Coverage and mean half width of the 90 % intervals by k, as means over families."""
    rows = []
    for k in (1, 2, 3):
        own = scores[(scores["way"] == way) & (scores["k"] == k)]
        cells = []
        for name in INTERVALS:
            cells.append(f"{100 * np.nanmean(list(by_family(own, f'{name} covered').values())):.0f} %")
            width = np.nanmean(list(by_family(own, f"{name} width", np.median).values()))
            cells.append(f"x{np.exp(width):.2f}" if name == "N_opt" else f"{100 * width:.2f} %")
        rows.append((k, *cells))
    return markdown_table(("k", *(f"{name} {what}" for name in INTERVALS for what in ("covered", "half width"))), rows)


def left_out_table(scores: pd.DataFrame) -> str:
    """The misfit's prior settled on the other five families (the least that covers 90 % there), judged on each."""
    own = scores[(scores["way"] == "default") & (scores["what"] == "minimum")]
    rows, found = [], []
    for name in ("N_opt", "L_opt"):
        cover = {prior: by_family(own, f"{name} x{prior} covered") for prior in PRIORS}
        cells = []
        for family in FAMILIES:
            others = {p: np.nanmean([v for other, v in cover[p].items() if other != family]) for p in PRIORS}
            prior = next((p for p in PRIORS if others[p] >= 0.9), PRIORS[-1])
            found.append((name, cover[prior][family]))
            width = by_family(own, f"{name} x{prior} width", np.median)[family]
            cells.append(f"{100 * cover[prior][family]:.0f} % (prior x{prior}, half width {100 * width:.1f} %)")
        mean = np.nanmean([value for which, value in found if which == name])
        rows.append((name, *cells, f"{100 * mean:.0f} %"))
    return markdown_table(("", *FAMILIES, "mean"), rows)


def verdict_table(scores: pd.DataFrame, way: str) -> str:
    """Of the held-out minima, the share within the limits by what the law said at their compute."""
    own = scores[(scores["way"] == way) & (scores["what"] == "minimum")]
    rows = []
    for name, error in (("N_opt", "N_error"), ("loss", "L_error")):
        for said, members in own.groupby(f"verdict {name}"):
            shares = by_family(members.assign(within=members[error] <= LIMITS[name]), "within")
            rows.append((name, said, len(members), f"{100 * np.nanmean(list(shares.values())):.0f} %"))
    return markdown_table(("target", "verdict", "held-out minima", "within the limit"), rows)


def farseer_split() -> str:
    """R2 of each forecaster on Farseer's own test runs, which cost far more than any training run."""
    table = farseer()
    train, test = (table[table["split"] == part] for part in ("train", "test"))
    N, D, loss = (test[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "loss"))
    rows = []
    for way, forecaster in FORECASTERS.items():
        forecast = forecaster(train)
        if forecast is not None and forecast.loss is not None:
            squares = ((forecast.loss(N, D) - loss) ** 2).sum() / ((loss - loss.mean()) ** 2).sum()
            rows.append((way, f"{1 - squares:.2f}"))
    return markdown_table(("", f"R2 on {len(test)} runs"), rows)


def report(scores: pd.DataFrame) -> str:
    """The whole page."""
    real = scores[scores["family"].isin(FAMILIES)]
    minima = real[(real["way"] == "default") & (real["what"] == "minimum")]
    count = real.loc[real["way"] == "default", ["table", "k"]].drop_duplicates()
    blocks = [
        f"{len(count)} hold-outs of {count['table'].nunique()} tables, {len(minima)} held-out minima.",
        "## Errors\n\n" + error_tables(real),
        "## Coverage of the default's 90 % intervals (means over families)\n\n" + coverage_table(real, "default"),
        "## The misfit's prior, settled without the family it is judged on\n\n" + left_out_table(real),
        "## By verdict\n\n" + verdict_table(real, "default"),
        "## Farseer's own split\n\n" + farseer_split(),
    ]
    return "\n\n".join(blocks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--scores", type=Path, help="also keep every score as CSV")
    options = parser.parse_args()
    scores = all_scores(options.jobs)
    if options.scores:
        scores.to_csv(options.scores, index=False)
    text = report(scores)
    print(text)
    if options.write:
        write_page(__file__, "The largest budgets held out", text)


if __name__ == "__main__":
    main()
