"""Runs that branch from shared trunks: resampled as one, and said; mixed with others, warned of."""

import numpy as np
import pandas as pd

from flops_fit.scaling_law import ScalingLaw, fit_scaling_law, read_runs
from flops_fit.synthetic import synthetic_runs

FAST = {"form": "chinchilla", "weighting": "plain", "bootstraps": 200}


def of_trunks(noise=0.0, seed=0, sizes=12):
    """Five budgets over `sizes` sizes, the runs of a size under one trunk; noise of a trunk is that of all its runs."""
    table = synthetic_runs(noise=0.0, span=6)
    lattice = np.exp(np.linspace(*np.log(table["num_params"].quantile([0, 1])), sizes)).round()
    table["num_params"] = [lattice[np.abs(np.log(lattice / n)).argmin()] for n in table["num_params"]]
    table["num_tokens"] = table["flops"] / (6 * table["num_params"])
    table = table.drop_duplicates(["num_params", "flops"])
    N, D = table["num_params"], table["num_tokens"]
    chance = dict(zip(lattice, np.random.default_rng(seed).normal(0, noise, sizes), strict=True))
    loss = (1.8 + 480 / N**0.35 + 2085 / D**0.37) * np.exp(N.map(chance))
    return table.assign(loss=loss, trunk=[f"width{n:.0f}" for n in N])


def codes(law):
    return {finding.code: finding for finding in law.diagnostics}


def test_a_trunk_is_one_cluster():
    table = of_trunks()
    runs = read_runs(table)
    assert len(runs.trunk) == len(runs) == len(table)
    assert len(set(runs.cluster)) == table["trunk"].nunique() == 12
    pairs = set(zip(runs.cluster.tolist(), runs.trunk, strict=True))
    assert len(pairs) == 12, "each trunk its own"
    assert any("are of 12 trunks" in note for note in runs.notes)


def test_the_law_says_so_and_keeps_it(tmp_path):
    law = fit_scaling_law(of_trunks(noise=0.003), **FAST)
    assert codes(law)["shared_trunks"].severity == "info"
    assert "branch from 12 trunks" in codes(law)["shared_trunks"].message
    kept = ScalingLaw.load(law.save(tmp_path / "law.json"))
    assert kept.runs.trunk == law.runs.trunk
    half = law.runs.subset(np.arange(len(law.runs)) < 10)
    assert half.trunk == law.runs.trunk[:10]


def width(table):
    low, high = fit_scaling_law(table, **FAST).interval("N_opt", 1e22)
    return np.log(high / low)


def test_intervals_hold_that_runs_of_a_trunk_share_their_noise():
    """Independent noise of a trunk's runs would cancel; theirs does not."""
    ratios = []
    for seed in range(4):
        table = of_trunks(noise=0.005, seed=seed)
        ratios.append(width(table) / width(table.drop(columns="trunk")))
    assert np.median(ratios) > 1.15


def test_runs_of_both_kinds_in_one_law_are_warned_of():
    table = of_trunks(noise=0.003)
    both = pd.concat([table, table.assign(loss=table["loss"] * 0.99, trunk="")])
    finding = codes(fit_scaling_law(both, **FAST))["mixed_trunks"]
    assert finding.severity == "warning"
    assert f"{len(table)} of {2 * len(table)} runs branch from trunks" in finding.message
    missing = both.assign(trunk=both["trunk"].replace("", None))
    assert "mixed_trunks" in codes(fit_scaling_law(missing, **FAST))
    assert "mixed_trunks" not in codes(fit_scaling_law(table, **FAST))


def test_too_few_trunks_are_said():
    law = fit_scaling_law(of_trunks(noise=0.003, sizes=6), **FAST)
    finding = codes(law)["few_trunks"]
    assert finding.severity == "warning"
    assert "too few to resample" in finding.message


def test_runs_trained_on_their_own_are_as_ever():
    table = synthetic_runs(noise=0.003)
    named = read_runs(table.assign(trunk=""))
    assert named.trunk == ()
    assert "trunk" not in named.to_dict()
    assert named.cluster.tolist() == read_runs(table).cluster.tolist()
    alone = table.assign(trunk=[f"t{number}" for number in range(len(table))])
    assert not {"shared_trunks", "mixed_trunks", "few_trunks"} & codes(fit_scaling_law(alone, **FAST)).keys()
