"""Rows that are checkpoints of one run are resampled as one, where a column says which run they are of."""

import sys

import numpy as np
import pandas as pd
import pytest
from paths import BENCHMARKS

from flops_fit.scaling_law import fit_scaling_law, read_runs
from flops_fit.synthetic import synthetic_runs

sys.path.insert(0, str(BENCHMARKS))
from checkpoints import CHECKPOINTS, RUNS, checkpointed


@pytest.mark.parametrize("column", ["group", "run", "run_id", "run_name", "Run Name"])
def test_a_column_that_names_runs_is_found(column):
    runs = read_runs(checkpointed(0).rename(columns={"run_name": column}))
    assert runs.cluster.tolist() == np.repeat(np.arange(RUNS), CHECKPOINTS).tolist()
    assert any(f"192 rows are of {RUNS} runs" in note for note in runs.notes)
    assert len(np.unique(runs.configuration)) == RUNS * CHECKPOINTS


def test_seeds_of_one_configuration_join_their_runs_and_rows_without_a_name_stand_alone():
    table = checkpointed(0)
    again = table[table["run_name"] == "run-3"].assign(run_name="run-3-again", loss=lambda rows: rows["loss"] * 1.001)
    nameless = checkpointed(1).iloc[:5].assign(run_name=None, num_tokens=lambda rows: rows["num_tokens"] * 1.5)
    runs = read_runs(pd.concat([table, again, nameless]))
    of_run = {name: set(runs.cluster[np.array(runs.experiment_id) == name]) for name in ("run-3", "run-3-again")}
    assert of_run["run-3"] == of_run["run-3-again"]
    alone = runs.cluster[np.isin(runs.num_tokens, nameless["num_tokens"])]
    assert len(set(alone)) == len(alone) == 5
    assert len(set(runs.cluster)) == RUNS + 5


def test_a_column_of_another_meaning_is_left_alone_and_said():
    repetition = np.tile(np.arange(CHECKPOINTS), RUNS)  # named "run", but of every size
    runs = read_runs(checkpointed(0).drop(columns="run_name").assign(run=repetition))
    assert runs.cluster.max() + 1 == RUNS * CHECKPOINTS
    assert any("has runs of several N" in note for note in runs.notes)


def test_too_few_runs_are_resampled_by_rows():
    table = checkpointed(0)
    few = read_runs(table[table["run_name"].isin(["run-0", "run-1", "run-2"])])
    assert few.cluster.max() + 1 == 3 * CHECKPOINTS
    assert any("only 3 runs" in note for note in few.notes)


def test_a_table_without_such_a_column_is_resampled_as_ever():
    table = synthetic_runs(seeds=2)
    plain, named = read_runs(table), read_runs(table.assign(run_name=[f"r{number}" for number in range(len(table))]))
    assert plain.cluster.tolist() == plain.configuration.tolist() == named.cluster.tolist()


@pytest.mark.slow
def test_intervals_are_as_wide_as_studies_differ():
    found = [
        fit_scaling_law(checkpointed(seed), form="chinchilla", weighting="plain", bootstraps=200) for seed in range(12)
    ]
    apart = [
        fit_scaling_law(
            checkpointed(seed).drop(columns="run_name"), form="chinchilla", weighting="plain", bootstraps=200
        )
        for seed in range(12)
    ]
    for name in ("E", "alpha", "a"):
        differ = np.std([getattr(law, name) for law in found])
        assert 0.6 * differ < np.median([np.std(law.draws_of(name)) for law in found]) < 1.5 * differ
        assert np.median([np.std(law.draws_of(name)) for law in apart]) < 0.6 * differ
