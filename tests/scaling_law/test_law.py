"""The fitted law: known laws come back, inputs are read, answers keep to their own compute."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from flops_fit import scaling_law
from flops_fit.basics.files import write_value
from flops_fit.errors import FileError, FitError
from flops_fit.scaling_law import ScalingLaw, approaches_table, fit_scaling_law
from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, SYMMETRIC, KnownLaw, synthetic_runs

LAWS = {
    "chinchilla": CHINCHILLA,
    "replication": REPLICATION,
    "symmetric": SYMMETRIC,
    "data": DATA_HEAVY,
    "model": MODEL_HEAVY,
}


@pytest.fixture(scope="module")
def noisy():
    return fit_scaling_law(synthetic_runs(noise=0.003, seed=1), bootstraps=200)


@pytest.mark.parametrize("truth", LAWS.values(), ids=LAWS)
def test_a_noise_free_law_comes_back_to_a_millionth(truth):
    law = fit_scaling_law(synthetic_runs(truth), bootstraps=10)
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(law, name) == pytest.approx(getattr(truth, name), rel=1e-6)
    assert law.N_opt(1e22) == pytest.approx(float(truth.N_opt(1e22)), rel=1e-6)
    assert law.a == pytest.approx(truth.a, rel=1e-6)


def test_noisy_runs_recover_the_law_and_are_trusted(noisy):
    assert noisy.verdict == "trustworthy"
    assert pytest.approx(REPLICATION.E, abs=0.06) == noisy.E
    assert noisy.N_opt(1e20) == pytest.approx(float(REPLICATION.N_opt(1e20)), rel=0.1)
    low, high = noisy.interval("N_opt", 1e21)
    assert low < noisy.N_opt(1e21) < high


def test_the_optimum_keeps_to_its_own_compute():
    truth = KnownLaw(E=1.8, A=400.0, B=900.0, alpha=0.33, beta=0.36)
    table = synthetic_runs(truth)
    per_token = 6 * table["num_params"] + 3000 * np.sqrt(table["num_params"])  # measured FLOPs: not 6·N
    table["num_tokens"] = table["flops"] / per_token
    table["loss"] = truth.loss(table["num_params"].to_numpy(), table["num_tokens"].to_numpy())
    law = fit_scaling_law(table, bootstraps=10)
    N = np.geomspace(1e7, 1e10, 200_001)
    for compute in (1e19, 1e21):
        losses = truth.loss(N, compute / (6 * N + 3000 * np.sqrt(N)))
        assert law.N_opt(compute) == pytest.approx(N[losses.argmin()], rel=2e-3)
        assert law.flops_per_token(law.N_opt(compute)) * law.D_opt(compute) == pytest.approx(compute, rel=1e-12)


def test_each_budget_has_its_minimum_near_the_truth(noisy):
    assert len(noisy.isoflops) == 5
    for minimum in noisy.isoflops:
        assert minimum.interior
        assert pytest.approx(float(REPLICATION.N_opt(minimum.compute_budget)), rel=0.15) == minimum.N
        assert pytest.approx(minimum.compute_budget, rel=1e-6) == minimum.N * minimum.D * 6


def test_excluded_runs_are_listed_with_reasons():
    table = synthetic_runs(noise=0.001)
    table.loc[0, "status"] = "diverged"
    table.loc[1, "loss"] = np.nan
    table.loc[2, "num_tokens"] = -5.0
    law = fit_scaling_law(pd.concat([table, table.iloc[[9]]]), bootstraps=10)
    assert {item.row: item.reason for item in law.runs.excluded} == {
        0: "status is diverged",
        1: "loss is missing",
        2: "num_tokens = -5 is not positive",
        35: "repeats another row exactly (same N, D and loss)",
    }
    assert len(law.runs) == 32


def test_column_synonyms_paths_and_results_are_read(tmp_path):
    table = synthetic_runs()
    other = table.rename(
        columns={"num_params": "N", "num_tokens": "Tokens", "flops": "train FLOPs", "loss": "val_loss"}
    )
    other.to_csv(tmp_path / "runs.csv", index=False)
    table.to_json(tmp_path / "runs.jsonl", orient="records", lines=True)

    class Result:
        def __init__(self, row):
            self.row = row

        def to_dict(self):
            return self.row

    expected = fit_scaling_law(table, bootstraps=10).E
    for runs in (
        tmp_path / "runs.csv",
        str(tmp_path / "runs.jsonl"),
        [Result(row) for row in table.to_dict("records")],
    ):
        assert pytest.approx(expected, rel=1e-9) == fit_scaling_law(runs, bootstraps=10).E


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(num_params=t["num_params"] / 1e9), "num_params goes up to"),
        (lambda t: t.assign(flops=t["flops"] / 1e18), "flops is .* times num_params"),
        (lambda t: t.drop(columns="flops").assign(num_tokens=t["num_tokens"] / 1e9), "num_tokens goes up to"),
        (
            lambda t: t.assign(
                flops=t["flops"] / 1e18, num_params=t["num_params"] / 1e9, num_tokens=t["num_tokens"] / 1e9
            ),
            "num_params goes up to .* billions",
        ),
        (lambda t: t.drop(columns="loss"), "no column loss"),
        (lambda t: t.drop(columns=["num_tokens", "flops", "compute_budget"]), "no column num_tokens"),
        (lambda t: t.assign(loss=np.nan), "none of 35 runs can be used"),
        (lambda t: t.head(5), "5 usable runs cannot fix"),
    ],
)
def test_implausible_tables_are_refused_with_the_reason(change, message):
    with pytest.raises(FitError, match=message):
        fit_scaling_law(change(synthetic_runs()))


def test_small_counts_with_flops_to_match_are_taken_as_they_are():
    truth = KnownLaw(E=1.0, A=8.0, B=20.0, alpha=0.5, beta=0.4)
    runs = synthetic_runs(truth, compute_budgets=(1e6, 2e6, 5e6))
    assert runs["num_params"].max() < 1000
    assert fit_scaling_law(runs, bootstraps=2).a == pytest.approx(truth.a, rel=1e-6)


def test_no_runs_and_unreadable_runs_are_refused():
    for empty in ([], pd.DataFrame(), {}):
        with pytest.raises(FitError, match="no column num_params"):
            fit_scaling_law(empty)
    with pytest.raises(FitError, match="is not a DataFrame"):
        fit_scaling_law(3)
    with pytest.raises(FitError, match="no to_dict"):
        fit_scaling_law([1, 2])
    with pytest.raises(FitError, match="method = 'magic'"):
        fit_scaling_law(synthetic_runs(), method="magic")
    with pytest.raises(FitError, match="weighting = 'odd'"):
        fit_scaling_law(synthetic_runs(), weighting="odd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bootstraps": 0}, "bootstraps = 0 must be a whole number of at least 1"),
        ({"seed": -1}, "seed = -1 must be a whole number of at least 0"),
        ({"delta": "small"}, "delta = 'small' must be one of auto, or a number of at least 0"),
        ({"flops_per_token": 6}, "flops_per_token = 6 must be a FlopsPerToken or a size map"),
        ({"units": "billions"}, "units = 'billions' must be left out, or a factor by column"),
        ({"units": {"loss": "bits"}}, "units of 'loss' = 'bits' must be a number above 0"),
        ({"units": {"status": 2}}, "units name 'status', which is no number"),
    ],
)
def test_options_that_no_fit_has_are_refused_with_the_limit(options, message):
    with pytest.raises(FitError, match=message):
        fit_scaling_law(synthetic_runs(), **options)


def test_a_loss_that_is_no_measurement_is_excluded_by_name():
    runs = synthetic_runs(noise=0.003)
    runs.loc[3, "loss"] = 1e300
    law = fit_scaling_law(runs, bootstraps=10)
    (excluded,) = law.runs.excluded
    assert "1 run was excluded" in law.summary()
    assert excluded.row == 3
    assert excluded.reason.startswith("loss = 1e+300 is not between 1e-15 and 1e+15")


@pytest.mark.parametrize("value", [0, np.inf])
def test_a_budget_that_is_none_is_that_of_the_FLOPs(value):
    runs = synthetic_runs(noise=0.003)
    whole = fit_scaling_law(runs, bootstraps=10)
    runs.loc[3, "compute_budget"] = value
    law = fit_scaling_law(runs, bootstraps=10)
    assert law.parameters.tolist() == whole.parameters.tolist()
    assert [m.compute_budget for m in law.isoflops] == [m.compute_budget for m in whole.isoflops]
    assert any("compute_budget of 1 runs" in note for note in law.runs.notes)


def test_an_infinite_number_is_not_taken_for_the_largest_finite_one():
    runs = synthetic_runs(noise=0.003)
    runs.loc[[0, 1, 2], "num_params"] = np.inf
    excluded = fit_scaling_law(runs, bootstraps=10).runs.excluded
    assert [(each.row, each.reason) for each in excluded] == [(row, "num_params is infinite") for row in range(3)]


def test_a_column_that_is_there_twice_is_refused():
    runs = synthetic_runs()
    with pytest.raises(FitError, match="more than one column loss; keep one"):
        fit_scaling_law(pd.concat([runs, runs[["loss"]]], axis=1))


def test_ways_that_point_nowhere_are_no_approach():
    close = synthetic_runs(noise=0.03, seed=3, compute_budgets=(1e18, 1.0001e18))
    assert "inf" not in approaches_table(fit_scaling_law(close, bootstraps=10))
    low = synthetic_runs(noise=0.003).assign(loss=lambda table: 0.001 * table["loss"])
    assert "Akima" in approaches_table(fit_scaling_law(low, bootstraps=10))


def test_units_can_be_given():
    table = synthetic_runs()
    law = fit_scaling_law(table.assign(num_params=table["num_params"] / 1e9), units={"num_params": 1e9}, bootstraps=10)
    assert pytest.approx(REPLICATION.A, rel=1e-6) == law.A


def test_a_saved_law_comes_back_the_same(noisy, tmp_path):
    again = ScalingLaw.load(noisy.save(tmp_path / "law.json"))
    assert again.to_dict() == noisy.to_dict()
    assert again.interval("N_opt", 1e22) == noisy.interval("N_opt", 1e22)
    assert again.summary() == noisy.summary()
    (tmp_path / "law.json").write_text(json.dumps({"schema": "other/1"}))
    with pytest.raises(FileError, match="other/1"):
        ScalingLaw.load(tmp_path / "law.json")


@pytest.mark.parametrize(
    "change",
    [lambda law: law.pop("runs"), lambda law: law.update(colour="blue"), lambda law: law.update(draws=[])],
)
def test_a_law_of_another_versions_layout_is_refused_by_name(noisy, tmp_path, change):
    path = noisy.save(tmp_path / "law.json")
    content = json.loads(path.read_text())
    change(content)
    write_value(path, {name: value for name, value in content.items() if name != "sha256"})
    with pytest.raises(
        FileError, match=r"law.json: law:? (lacks runs|has an unknown field 'colour'|draws must be rows of 5)"
    ):
        ScalingLaw.load(path)


def test_a_law_that_has_been_asked_can_be_sent_to_another_process(noisy):
    before = noisy.summary()
    assert pickle.loads(pickle.dumps(noisy)).summary() == before


def test_the_same_seed_gives_the_same_interval():
    table = synthetic_runs(noise=0.003)
    first, second = (fit_scaling_law(table, bootstraps=50, seed=3).interval("E") for _ in range(2))
    assert first == second != fit_scaling_law(table, bootstraps=50, seed=4).interval("E")


def test_predictions_and_tables_read_as_people_expect(noisy):
    answer = noisy.predict(1e21)
    assert answer["optimal_tokens"] * answer["optimal_params"] * 6 == pytest.approx(1e21)
    assert answer["tokens_per_param"] == pytest.approx(answer["optimal_tokens"] / answer["optimal_params"])
    assert answer["expected_loss"] == pytest.approx(noisy.loss(answer["optimal_params"], answer["optimal_tokens"]))
    table = noisy.chinchilla_table([1e20, 1e21]).splitlines()
    assert table[0] == "| Compute Budget | Optimal N | Optimal D | D/N Ratio | Predicted Loss |"
    assert len(table) == 4
    assert "1.00e+21" in table[3]
    assert "N_opt ~ C^a" in noisy.summary()
    for wrong in (-1.0, float("nan"), 0, "much", None):
        with pytest.raises(FitError, match="positive, finite"):
            noisy.predict(wrong)


def test_the_package_is_light_and_hands_on_its_names():
    code = (
        "import sys, flops_fit.scaling_law as package, flops_fit.basics.diagnostic\n"
        "assert not {'numpy', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert all(callable(getattr(package, name)) for name in package.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'fit_law'"):
        _ = scaling_law.fit_law


def test_targets_are_counted_from_a_larger_run_that_stands_alone():
    """A run at three times the largest budget has no curve of its own, but nothing beyond the runs begins below it."""
    runs = synthetic_runs(REPLICATION, compute_budgets=np.geomspace(1e18, 1e20, 5))
    alone = runs.iloc[[-1]].assign(
        num_params=1e9, num_tokens=5e10, flops=3e20, compute_budget=3e20, experiment_id="one"
    )
    alone["loss"] = REPLICATION.loss(1e9, 5e10)
    laws = [fit_scaling_law(table, bootstraps=2) for table in (runs, pd.concat([runs, alone], ignore_index=True))]
    assert [law.default_budgets()[-2:] for law in laws] == [pytest.approx([1e21, 1e22]), pytest.approx([3e21, 3e22])]
    assert laws[1].default_budgets()[:-2] == laws[0].default_budgets()[:-2]
