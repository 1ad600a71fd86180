"""Exports of trackers and trainers with their own headings, and tables of any order, names and units: the same runs."""

import random
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flops_fit import fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law import read_runs
from flops_fit.synthetic import synthetic_runs

BASE = synthetic_runs(noise=0.003, span=6, seed=3)
N, D, C, LOSS = (BASE[name] for name in ("num_params", "num_tokens", "flops", "loss"))
NAMES = [f"run-{row}" for row in range(len(BASE))]
PLAIN = read_runs(BASE)

EXPORTS = {
    "Weights & Biases": {"Name": NAMES, "State": "finished", "Notes": "-", "User": "me", "Tags": "", "Runtime": 3600,
                         "n_params": N, "lr": 3e-4, "_step": 1000, "tokens": D, "train/loss": 0.9 * LOSS,
                         "val/loss": LOSS},
    "Weights & Biases, nested": {"Name": NAMES, "State": "finished", "config.n_params": N, "summary.tokens": D,
                                 "eval/loss": LOSS, "eval/perplexity": np.exp(LOSS)},
    "MLflow search": {"run_id": NAMES, "experiment_id": "0", "status": "FINISHED", "metrics.val_loss": LOSS,
                      "metrics.train_loss": 0.9 * LOSS, "params.num_params": N.map(str),
                      "params.num_tokens": D.map(str),
                      "params.lr": "3e-4", "tags.mlflow.user": "me"},
    "MLflow pages": {"Start Time": "2024", "Run ID": NAMES, "Name": "bold-fox", "Status": "FINISHED", "n_params": N,
                     "tokens": D, "val_loss": LOSS},
    "Hugging Face trainer": {"run": NAMES, "num_parameters": N, "num_input_tokens_seen": D, "total_flos": C,
                             "eval_loss": LOSS, "loss": 0.9 * LOSS, "train_runtime": 100},
    "levanter": {"Name": NAMES, "State": "finished", "parameter_count": N, "throughput/total_tokens": D,
                 "throughput/total_gflops": C / 1e9, "eval/paloma/c4_en/bpb": LOSS},
    "nanochat": {"flops_budget": BASE.compute_budget, "depth": 12, "model_dim": 768, "num_params": N,
                 "num_iterations": 1000, "tokens_trained": D, "param_data_ratio": 20, "val_bpb": LOSS,
                 "core_score": 0.1},
    "nanochat, later": {"flops_budget": BASE.compute_budget, "depth": 12, "params_wte": 1e6, "params_total": N,
                        "num_iterations": 1000, "tokens_trained": D, "val_bpb": LOSS, "train_time_sec": 10},
    "a paper's table": {"Model": [f"{n / 1e6:.12g}M" for n in N], "Training tokens (B)": D / 1e9, "Loss (nats)": LOSS},
    "typed by hand": {"N (millions)": N / 1e6, "D (billions)": D / 1e9, "FLOPs (1e18)": C / 1e18, "Loss": LOSS},
    "logarithms": {"log10 N": np.log10(N), "log10(tokens)": np.log10(D), "log10(flops)": np.log10(C), "L": LOSS},
    "perplexities": {"params": N, "tokens": D, "val_ppl": np.exp(LOSS)},
    "an index": {"Unnamed: 0": range(len(BASE)), "N": N, "D": D, "loss": LOSS},
    "budgets alone": {"N": N, "budget": BASE.compute_budget, "loss": LOSS},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_with_its_own_headings(name):
    runs = read_runs(pd.DataFrame(EXPORTS[name]))
    for quantity in ("num_params", "num_tokens", "flops", "loss"):
        assert getattr(runs, quantity) == pytest.approx(getattr(PLAIN, quantity), rel=1e-6)
    assert runs.doubts == ()
    assert any("columns are read as" in note for note in runs.notes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Wall time": 1.0, "Step": range(35), "Value": LOSS},
        "one run's curve .* give a table with one row for each run"),
        ({"N": N, "D": D, "train_loss": LOSS}, "no column loss .* if so, give --columns loss=train_loss"),
        ({"N": N, "D": D, "accuracy": LOSS}, "--columns loss=accuracy --loss-kind accuracy"),
        ({"N": N, "steps": D, "loss": LOSS}, "no column num_tokens .* --columns num_tokens=steps"),
        ({0: N, 1: D, 2: LOSS}, "which is which is said with --columns num_params=its name"),
        ({"N": N, "D": D, "loss": "oops"}, r"loss = 'oops' is no number\); .* --columns loss=its name"),
        ({"N": ["big"] * 35, "D": D, "loss": LOSS}, "num_params = 'big' is no number"),
        ({"N": N, "D": D, "loss": LOSS, "status": 0}, "status is not completed.* --columns status=none"),
        ({"N": N, "D": D, "loss": LOSS * 1e-20}, "is not between 1e-15 and 1e[+]15; .*--units loss="),
        ({"N": N, "D": D, "loss": [True] * 35}, "loss = 'True' is no number"),
        ({"N": N, "D": D, "loss": pd.Timestamp("2020-01-01")}, "loss = '2020-01-01 00:00:00' is no number"),
    ],
)  # fmt: skip
def test_what_is_missing_or_no_number_is_named_with_what_to_type(columns, message):
    with pytest.raises(FitError, match=message) as raised:
        fit_scaling_law(pd.DataFrame(columns, index=range(35)))
    assert "\n" not in str(raised.value)


def test_a_unit_of_losses_that_no_heading_says_is_assumed_and_said():
    told = {
        column: read_runs(BASE.rename(columns={"loss": column})) for column in ("val_loss", "loss (bits)", "val_bpb")
    }
    assert [runs.loss_unit for runs in told.values()] == ["nats per token", "bits per token", "bits per byte"]
    said = [any("losses are taken for nats per token" in note for note in runs.notes) for runs in told.values()]
    assert said == [True, False, False]
    assert read_runs(BASE.rename(columns={"loss": "val_loss"}), loss_kind="bits").loss_unit == "bits per token"


def test_no_column_is_asked_for_with_none():
    odd = BASE.assign(status=0, compute_budget=range(35))
    runs = read_runs(odd, columns={"status": None, "compute_budget": "none"})
    assert len(runs) == len(BASE)
    assert runs.budget == pytest.approx(PLAIN.budget)
    assert "no column is status, as asked" in runs.notes


def test_columns_in_the_index_and_in_levels_are_found():
    for table in (BASE.set_index(["num_params", "num_tokens"]), BASE.set_axis(pd.MultiIndex.from_product(
            [["a"], BASE.columns]), axis=1)):  # fmt: skip
        assert read_runs(table).num_params == pytest.approx(PLAIN.num_params)


def test_a_loss_beside_a_held_out_one_is_that_of_training_unless_the_names_are_ours():
    keras = pd.DataFrame({"params": N, "tokens": D, "loss": LOSS / 2, "val_loss": LOSS})
    runs = read_runs(keras)
    assert np.sort(runs.loss) == pytest.approx(np.sort(LOSS))
    assert any("for those of 'loss': --columns loss=loss" in note for note in runs.notes)
    assert np.sort(read_runs(BASE.assign(val_loss=2 * LOSS)).loss) == pytest.approx(np.sort(LOSS))


@pytest.mark.parametrize(
    ("optional", "said"),
    [({"weight": "x"}, "weight is put aside"), ({"weight": 0}, "weight is put aside"),
     ({"weight": [1.0, np.nan] * 17 + [1.0]}, "weight of 17 runs is not given; it is 1"),
     ({"epochs": "one"}, "epochs is put aside"), ({"unique_tokens": 0}, "unique_tokens is put aside"),
     ({"compute_budget": [1e25, *BASE.compute_budget[1:]]}, "compute_budget of 1 runs is put aside, such as 1e[+]25"),
     ({"compute_budget": [0, *BASE.compute_budget[1:]]}, "compute_budget of 1 runs is put aside")],
)  # fmt: skip
def test_an_optional_column_that_makes_no_sense_breaks_nothing(optional, said):
    runs = read_runs(BASE.assign(**optional))
    assert (len(runs), runs.excluded) == (len(BASE), ())
    assert runs.budget == pytest.approx(PLAIN.budget)
    assert any(re.search(said, note) for note in runs.notes)


def test_budgets_that_are_nearly_equal_are_one():
    nearly = BASE.compute_budget * np.where(np.arange(len(BASE)) % 2, 1.004, 1.0)
    assert len(read_runs(BASE.assign(compute_budget=nearly)).budgets) == 5


def test_of_a_log_the_last_row_of_each_run_is_taken_where_its_tokens_are_those_planned():
    steps = pd.concat([BASE.assign(step=step, loss=LOSS * (1 + 1 / step)) for step in (1, 10, 10**9)])
    runs = read_runs(steps.sample(frac=1, random_state=0))
    assert np.sort(runs.loss) == pytest.approx(np.sort(LOSS), rel=1e-6)
    assert "step 1 of a run that has a row at step 1e+09" in {
        item.reason.rpartition(" with")[0] for item in runs.excluded
    }
    growing = pd.concat([BASE.assign(step=step, num_tokens=D * step / 10, flops=C * step / 10) for step in (1, 10)])
    assert len(read_runs(growing)) == 2 * len(BASE), "checkpoints stay"


NAMES_OF = {
    "num_params": ["N", "Params", "model size", "config.n_params", "params_total"],
    "num_tokens": ["D", "train_tokens", "throughput/total_tokens", "tokens_trained"],
    "flops": ["C", "Train FLOPs", "total_flos"],
    "loss": ["L", "val loss", "final_loss", "eval/loss"],
    "status": ["State", "status"],
    "seed": ["random_seed", "seed"],
}
SCALES = {"num_params": [(1, ""), (1e6, " (M)"), (1e9, " (B)")], "num_tokens": [(1, ""), (1e9, " [B]"), (1e3, " (k)")],
          "flops": [(1, ""), (1e18, " (EFLOPs)"), (8.64e19, " (PF-days)")]}  # fmt: skip
LAW = fit_scaling_law(BASE, bootstraps=10).to_dict()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_any_order_of_rows_and_columns_and_any_names_give_the_same_law_to_the_last_digit(seed):
    chance = random.Random(seed)
    columns = [*BASE.columns]
    chance.shuffle(columns)
    table = BASE.sample(frac=1, random_state=seed)[columns]
    table = table.rename(columns={name: chance.choice(words) for name, words in NAMES_OF.items()})
    again = fit_scaling_law(table, bootstraps=10).to_dict()
    for content in (LAW, again):
        content["runs"].pop("notes", None)
    assert again == LAW


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_any_units_in_headings_or_as_given_are_the_same_runs(seed):
    chance = random.Random(seed)
    table, units = BASE.drop(columns="compute_budget"), {}
    for name, scales in SCALES.items():
        factor, said = chance.choice(scales)
        table[name] = table[name] / factor
        if chance.random() < 0.5:
            table = table.rename(columns={name: NAMES_OF[name][0] + said})
        else:
            units[name] = factor
    runs = read_runs(table, units=units)
    for quantity in ("num_params", "num_tokens", "flops", "loss", "budget"):
        assert getattr(runs, quantity) == pytest.approx(getattr(PLAIN, quantity), rel=1e-9)
    assert runs.doubts == ()
