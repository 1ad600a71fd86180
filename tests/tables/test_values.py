"""Numbers, statuses and columns as people write them."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from flops_fit import fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law import read_runs
from flops_fit.synthetic import synthetic_runs
from flops_fit.tables.values import numbers, statuses

BASE = synthetic_runs(noise=0.003, span=6, seed=3)


@pytest.mark.parametrize(
    ("cell", "counts", "expected"),
    [
        ("1.3B", True, 1.3e9), ("124M", True, 1.24e8), ("7k", True, 7e3), ("2.5T", True, 2.5e12),
        ("1,234", True, 1234), ("1,234,567", True, 1234567), ("1_000", True, 1000), ("1e9 ", True, 1e9),
        (" 3.27", False, 3.27), ("3,27", False, 3.27), ("2,345", False, 2.345), ("-0,5", False, -0.5),
        ("n/a", True, np.nan), ("", True, np.nan), ("350M", True, 3.5e8), ("7b", True, 7e9), ("1,3B", True, 1.3e9),
        ("1.234.567", True, 1234567), ("1 234 567", True, 1234567), ("1'234'567", True, 1234567),
        ("1.234,5", False, 1234.5), ("1.3 e9", True, 1.3e9), ("1.3 x 10^9", True, 1.3e9), ("1.3·10⁹", True, 1.3e9),
        ("2*10**18", True, 2e18), ("10^9", True, 1e9), ("1.3 billion", True, 1.3e9), ("20B tokens", True, 2e10),
        ("1.2e18 FLOPs", True, 1.2e18), ("2 ZFLOP", True, 2e21), ("0.5 PF-days", True, 4.32e19),
        ("3.27 ± 0.01", False, 3.27), ("3.27 nats", False, 3.27), ("~3.3", False, 3.3), ("36.4%", False, 0.364),
        ("3.27M", False, np.nan), ("gpt-350M", True, np.nan), ("inf", True, np.inf), ("1,2,3", True, np.nan),
    ],
)  # fmt: skip
def test_a_cell_is_the_number_that_it_says(cell, counts, expected):
    read, _ = numbers(pd.Series([cell, "x"]), counts=counts, flops=counts)
    assert read.iloc[0] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("word", ["finished", "FINISHED", " Completed", "success", "done", True, 1, None, ""])
def test_a_run_that_is_done_is_used_whatever_the_word(word):
    assert statuses(pd.Series([word], dtype=object)).tolist() == ["completed"]
    assert len(read_runs(BASE.drop(columns="status").assign(State=word))) == len(BASE)


@pytest.mark.parametrize("word", ["crashed", "killed", "running", False])
def test_one_that_is_not_is_left_out_with_its_word(word):
    table = BASE.assign(status=pd.Series(["finished"] * (len(BASE) - 1) + [word], dtype=object))
    (excluded,) = read_runs(table).excluded
    assert "status is" in excluded.reason
    assert excluded.row == len(BASE) - 1


def test_numbers_written_for_people_are_the_same_table():
    written = BASE.assign(
        num_params=[f"{N / 1e6:.12g}M" for N in BASE.num_params],
        num_tokens=[f"{int(D):,}" for D in BASE.num_tokens],
        loss=[str(loss).replace(".", ",") for loss in BASE.loss],
    )
    read, plain = read_runs(written), read_runs(BASE)
    for name in ("num_params", "num_tokens", "loss", "budget"):
        assert getattr(read, name) == pytest.approx(getattr(plain, name))
    assert sum("read from text" in note for note in read.notes) == 3


def test_points_between_thousands_are_told_by_the_column():
    german = BASE.assign(num_params=[f"{int(N):,}".replace(",", ".") for N in BASE.num_params])
    assert read_runs(german).num_params == pytest.approx(np.sort(np.floor(BASE.num_params)))


def test_which_column_is_the_loss_is_said_and_can_be_changed():
    both = BASE.assign(val_loss=2 * BASE.loss)
    taken = read_runs(both)
    assert np.sort(taken.loss) == pytest.approx(np.sort(BASE.loss))
    assert any("--columns loss=val_loss" in note for note in taken.notes)
    assert np.sort(read_runs(both, columns={"loss": "val_loss"}).loss) == pytest.approx(np.sort(2 * BASE.loss))
    with pytest.raises(FitError, match="loss = 'vloss', which is none of"):
        read_runs(both, columns={"loss": "vloss"})
    with pytest.raises(FitError, match="columns names 'los'"):
        read_runs(both, columns={"los": "val_loss"})


def test_swapped_columns_can_be_swapped_back():
    swapped = BASE.assign(num_params=BASE.num_tokens, num_tokens=BASE.num_params)
    mended = read_runs(swapped, columns={"num_params": "num_tokens", "num_tokens": "num_params"})
    assert mended.num_params == pytest.approx(read_runs(BASE).num_params)


def test_the_header_of_nanochat_is_understood():
    names = {"compute_budget": "flops_budget", "num_tokens": "tokens_trained", "loss": "val_bpb"}
    runs = read_runs(BASE.drop(columns="flops").rename(columns=names))
    assert runs.loss_unit == "bits per byte"
    assert runs.flops == pytest.approx(read_runs(BASE).budget)


def test_flops_that_some_rows_lack_are_derived_as_the_others_have_them():
    some = BASE.assign(flops=np.where(np.arange(len(BASE)) % 4, BASE.flops, np.nan))
    runs = read_runs(some)
    assert runs.flops == pytest.approx(read_runs(BASE).flops, rel=1e-6)
    assert any("flops of 9 runs derived" in note for note in runs.notes)


INDEX = BASE.compute_budget.rank(method="dense").astype(int) - 1


@pytest.mark.parametrize(
    "budgets",
    [INDEX, BASE.compute_budget / 1e18, np.log10(BASE.compute_budget), INDEX.map("budget {}".format),
     BASE.compute_budget * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(BASE)))],
    ids=["index", "units of 1e18", "log10", "text", "jitter"],
)  # fmt: skip
def test_a_column_of_budgets_that_makes_no_sense_is_put_aside(budgets):
    runs = read_runs(BASE.assign(compute_budget=budgets))
    assert len(runs) == len(BASE)
    assert runs.budget == pytest.approx(read_runs(BASE).budget, rel=1e-3)
    assert any("compute_budget is put aside" in note for note in runs.notes)


def test_a_budget_that_some_rows_lack_is_that_of_their_flops():
    gaps = BASE.assign(compute_budget=BASE.compute_budget.where(np.arange(len(BASE)) % 3 > 0))
    runs = read_runs(gaps)
    assert runs.budget == pytest.approx(read_runs(BASE).budget)


SYNONYMS = {
    "num_params": ["N", "Params", "model size"],
    "num_tokens": ["D", "train_tokens"],
    "flops": ["C", "Train FLOPs"],
    "loss": ["L", "val loss", "final_loss"],
    "status": ["State"],
    "seed": ["random_seed"],
}


@pytest.mark.parametrize("seed", range(4))
def test_the_same_table_in_another_order_and_under_other_names_is_the_same_law(seed):
    chance = random.Random(seed)
    shuffled = BASE.sample(frac=1, random_state=seed)
    columns = [*shuffled.columns]
    chance.shuffle(columns)
    named = shuffled[columns].rename(columns={name: chance.choice(words) for name, words in SYNONYMS.items()})
    scaled = named.rename(columns=str)
    law, again = (fit_scaling_law(table, bootstraps=20).to_dict() for table in (BASE, scaled))
    for content in (law, again):
        content["runs"].pop("notes")
    assert json.dumps(law) == json.dumps(again)


def test_units_changed_together_change_nothing_but_the_digits():
    scaled = BASE.assign(num_params=BASE.num_params / 1e6, num_tokens=BASE.num_tokens / 1e9, flops=BASE.flops / 1e15)
    units = {"num_params": 1e6, "num_tokens": 1e9, "flops": 1e15}
    law, again = fit_scaling_law(BASE, bootstraps=20), fit_scaling_law(scaled, bootstraps=20, units=units)
    assert again.interval("N_opt", 1e21) == pytest.approx(law.interval("N_opt", 1e21), rel=1e-6)
