"""The optimum is the optimum, intervals agree with each other and cover, approaches are what they say."""

import sys

import numpy as np
import pandas as pd
import pytest
from paths import BENCHMARKS

from flops_fit.errors import FitError
from flops_fit.scaling_law import fit_scaling_law, isoflop_minima, read_runs
from flops_fit.scaling_law.all_approaches import approaches_table, compare_approaches
from flops_fit.scaling_law.approaches.envelope import envelope
from flops_fit.scaling_law.fitting.objective import centre, derivatives, objective
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, REPLICATION, SYMMETRIC, synthetic_runs

sys.path.insert(0, str(BENCHMARKS))
import accuracy
import coverage
import never_beaten
import tables


def columns(runs):
    return tuple(runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "loss"))


def test_gradient_and_hessian_are_the_objectives():
    runs = synthetic_runs(noise=0.01)
    data, weights = centre(*columns(runs)), np.linspace(0.5, 2, len(runs))
    theta = np.array([0.5, -0.4, -0.3, 0.4, 0.3])
    _, gradient, hessian = derivatives(theta[None], data, weights, 0.02, np.zeros(1))
    steps = 1e-6 * np.eye(5)
    up = objective(theta + steps, data, weights, 0.02)
    down = objective(theta - steps, data, weights, 0.02)
    np.testing.assert_allclose(gradient[0], (up - down) / 2e-6, rtol=1e-6, atol=1e-9)
    for k in range(5):
        ends = [derivatives((theta + sign * steps[k])[None], data, weights, 0.02, np.zeros(1))[1] for sign in (1, -1)]
        np.testing.assert_allclose(hessian[0, k], (ends[0] - ends[1])[0] / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["epoch 240", "gemstones", "llama 3, all rows"])
@pytest.mark.parametrize("delta", ["auto", 1e-3])
def test_random_starts_of_another_optimiser_find_nothing_lower_on_public_tables(name, delta):
    runs = tables.public_tables().get(name)
    if runs is None:
        pytest.skip("the public tables are not available")
    assert never_beaten.compare(name, runs, delta, starts=8) <= 1e-9


def test_random_starts_of_another_optimiser_find_nothing_lower_on_synthetic_tables():
    for name, runs in tables.synthetic_tables(6):
        assert never_beaten.compare(name, runs, "auto", starts=8) <= 1e-9


@pytest.mark.parametrize("delta", [0, 1e-3, 0.1, "auto"])
def test_any_delta_recovers_a_noise_free_law(delta):
    law = fit_scaling_law(synthetic_runs(CHINCHILLA), delta=delta, bootstraps=2)
    assert pytest.approx(406.4, rel=1e-6) == law.A
    assert law.weighting.kind == "plain"


@pytest.mark.parametrize("delta", [-1, float("nan"), float("inf")])
def test_impossible_deltas_are_refused(delta):
    with pytest.raises(FitError, match="delta"):
        fit_scaling_law(synthetic_runs(), delta=delta)


def test_no_irreducible_loss_is_named():
    runs = synthetic_runs(noise=0.002)
    N, D = runs["num_params"].to_numpy(), runs["num_tokens"].to_numpy()
    law = fit_scaling_law(runs.assign(loss=480 * N**-0.35 + 2000 * D**-0.36), bootstraps=20)
    assert law.at_bound == ("E",)
    assert pytest.approx(0, abs=1e-6) == law.E
    assert any(finding.code == "at_bound" for finding in law.diagnostics)
    assert "at its bound" in law.summary()


def test_a_weight_of_two_is_a_run_counted_twice():
    runs = synthetic_runs(noise=0.01)
    weights = np.where(np.arange(len(runs)) % 3 == 0, 2.0, 1.0)
    twice = pd.concat([runs, runs[::3].assign(seed=1)], ignore_index=True)
    once = fit_scaling_law(runs.assign(weight=weights), delta=0.01, bootstraps=2)
    np.testing.assert_allclose(once.parameters, fit_scaling_law(twice, delta=0.01, bootstraps=2).parameters, rtol=1e-7)


def test_repeated_seeds_are_one_cluster_of_the_bootstrap():
    runs = read_runs(synthetic_runs(seeds=3))
    assert len(np.unique(runs.cluster)) == 35
    single = fit_scaling_law(synthetic_runs(noise=0.003, span=6.0), bootstraps=400).interval("a")
    copies = pd.concat([synthetic_runs(noise=0.003, span=6.0).assign(seed=seed) for seed in range(3)])
    repeated = fit_scaling_law(copies, bootstraps=400).interval("a")
    assert np.ptp(repeated) == pytest.approx(np.ptp(single), rel=0.25)  # no false confidence from copies


@pytest.fixture(scope="module")
def law():
    return fit_scaling_law(synthetic_runs(noise=0.003, seed=1, span=6.0), bootstraps=600)


@pytest.mark.parametrize("quantity", ["E", "A", "alpha", "a", "N_opt", "L_opt", "tokens_per_param"])
def test_instant_intervals_agree_with_the_bootstrap(law, quantity):
    compute = 1e21 if quantity in ("N_opt", "L_opt", "tokens_per_param") else None
    bands = {name: law.interval(quantity, compute, method=name) for name in ("bootstrap", "profile", "delta")}
    width = np.ptp(bands["bootstrap"])
    for band in bands.values():
        assert np.ptp(band) == pytest.approx(width, rel=0.45)  # of L_opt 0.41, with 1,000 resamples of any seed
        assert abs(np.mean(band) - np.mean(bands["bootstrap"])) < 0.3 * width
    np.testing.assert_allclose(bands["profile"], bands["delta"], atol=0.12 * width)


@pytest.mark.slow
def test_a_new_run_falls_into_its_prediction_interval():
    inside = []
    for seed in range(25):
        law = fit_scaling_law(synthetic_runs(noise=0.003, seed=seed, span=6.0), bootstraps=100, seed=seed)
        low, high = law.interval("new_run", num_params=1e9, num_tokens=2e10)
        new = REPLICATION.loss(1e9, 2e10) * np.exp(0.003 * np.random.default_rng(900 + seed).standard_normal())
        inside.append(low < new < high)
        assert low < law.interval("loss", num_params=1e9, num_tokens=2e10)[0]
    assert 0.78 <= np.mean(inside) <= 1.0


@pytest.mark.long
@pytest.mark.parametrize("kind", coverage.NOISES)
@pytest.mark.parametrize("truth", [SYMMETRIC, DATA_HEAVY], ids=["symmetric", "asymmetric"])
def test_intervals_cover_what_they_say(kind, truth):
    shares, ratios = coverage.coverage(truth, kind, studies=100, bootstraps=200)
    assert (np.abs(shares - 0.9) <= 0.1).all()  # 100 studies: standard error 0.03
    assert (ratios <= {"gaussian": 1.12, "t3": 1.1, "outliers": 0.75}[kind]).all()


@pytest.mark.slow
def test_intervals_cover_in_a_few_studies_too():
    shares, ratios = coverage.coverage(SYMMETRIC, "outliers", studies=25, bootstraps=100)
    assert (shares >= 0.72).all()
    assert (ratios <= 1.0).all()


@pytest.mark.long
@pytest.mark.parametrize("broken", [0.0, 0.05])
@pytest.mark.parametrize("truth", accuracy.LAWS.values(), ids=accuracy.LAWS)
def test_the_optimum_far_out_is_accurate(truth, broken):
    error = accuracy.errors(truth, studies=100, span=6.0, broken=broken)
    assert np.median(error) <= (0.06 if broken else 0.046)
    assert np.quantile(error, 0.9) <= (0.12 if broken else 0.1)


def test_lucky_diverged_and_missing_runs_move_the_optimum_little():
    assert np.median(accuracy.errors(REPLICATION, studies=12, span=6.0, broken=0.05)) <= 0.08


def test_parabolas_are_unbiased_on_a_symmetric_law_and_say_so_elsewhere():
    fair = fit_scaling_law(synthetic_runs(SYMMETRIC), bootstraps=2)
    assert all(minimum.bias == pytest.approx(1.0, abs=2e-3) for minimum in fair.isoflops)
    skewed = fit_scaling_law(synthetic_runs(DATA_HEAVY, span=12.0, off_centre=0.5), bootstraps=2)
    for minimum in skewed.isoflops:
        assert minimum.N / minimum.bias == pytest.approx(float(DATA_HEAVY.N_opt(minimum.compute_budget)), rel=1e-6)
        assert abs(np.log(minimum.bias)) > 0.05


@pytest.mark.parametrize("curve", ["parabola", "cubic", "akima"])
def test_each_curve_finds_the_minimum_of_a_fine_grid(curve):
    minima = isoflop_minima(read_runs(synthetic_runs(REPLICATION, sizes_per_budget=15, span=3.0)), curve=curve)
    for minimum in minima:
        assert minimum.interior
        assert pytest.approx(float(REPLICATION.N_opt(minimum.compute_budget)), rel=0.02) == minimum.N


def test_approaches_agree_on_a_clean_study_and_the_table_says_so():
    law = fit_scaling_law(synthetic_runs(REPLICATION, noise=0.0005, span=3.0), bootstraps=20)
    ways = compare_approaches(law)
    assert {"parabola per budget", "cubic per budget", "Akima per budget"} <= {way.name for way in ways}
    assert all(way.agrees for way in ways)
    assert approaches_table(law).count("| yes |") == len(ways)


def test_the_envelope_of_training_curves_finds_the_frontier():
    N = np.geomspace(1e7, 3e9, 25)
    rows = [
        {"experiment_id": f"m{i}", "num_params": n, "num_tokens": d, "flops": 6 * n * d, "loss": REPLICATION.loss(n, d)}
        for i, n in enumerate(N)
        for d in np.geomspace(n, 400 * n, 60)
    ]
    found = envelope(pd.DataFrame(rows))
    middle = (found.compute > 1e18) & (found.compute < 1e20)
    np.testing.assert_allclose(found.N[middle], REPLICATION.N_opt(found.compute[middle]), rtol=0.3)
    np.testing.assert_allclose(6 * found.N * found.D, found.compute, rtol=1e-6)
    with pytest.raises(FitError, match="no column flops"):
        envelope(pd.DataFrame(rows).drop(columns="flops"))


def test_weighting_is_chosen_where_the_law_bends_and_improves_the_hold_out():
    def bend(N, D, loss):
        return loss * (1 + 0.03 * np.log(N / REPLICATION.N_opt(6 * N * D)) ** 2 * (REPLICATION.N_opt(6 * N * D) < N))

    runs = synthetic_runs(noise=0.001, span=9.0, sizes_per_budget=11, transform=bend)
    auto, plain = fit_scaling_law(runs, bootstraps=2), fit_scaling_law(runs, weighting="plain", bootstraps=2)
    assert auto.weighting.kind == "valley"
    assert auto.weighting.other == pytest.approx(tuple(plain.parameters))
    assert auto.holdout.error < plain.holdout.error
    assert fit_scaling_law(synthetic_runs(noise=0.003, seed=1), bootstraps=2).weighting.kind == "plain"


@pytest.mark.slow
def test_the_default_extrapolates_better_than_the_plain_fit_on_public_tables():
    public = tables.public_tables()
    if not public:
        pytest.skip("the public tables are not available")
    gains = []
    for name, runs in public.items():
        default, plain = (fit_scaling_law(runs, weighting=way, bootstraps=2).holdout for way in ("auto", "plain"))
        if plain.error > 1e-6:  # one table is noise-free
            gains.append(plain.error / default.error)
            assert gains[-1] >= 1 / 1.1, name
    assert np.exp(np.mean(np.log(gains))) >= 1.15


def test_speed_leaves_the_usual_way_far_behind():
    import time

    runs = synthetic_runs(compute_budgets=np.geomspace(1e18, 1e21, 15), sizes_per_budget=16, noise=0.005)
    took = []
    for _ in range(5):
        began = time.process_time()
        fit_parametric(*columns(runs))
        took.append(time.process_time() - began)
    assert min(took) <= 0.05  # 10 ms on an idle machine; see benchmarks/fitting.py


@pytest.mark.parametrize(
    "loss",
    [
        lambda t: 2.0 + 0 * t["num_params"],
        pytest.param(lambda t: 2 + 1e-10 * t["num_params"], marks=pytest.mark.slow),
        lambda t: t["loss"] * np.exp(0.5 * np.random.default_rng(0).standard_normal(35)),
    ],
    ids=["constant", "rising with N", "mostly noise"],
)
def test_losses_without_a_law_are_not_supported_and_nothing_breaks(loss, tmp_path):
    """A wave, which takes longest, is in `test_report`."""
    runs = synthetic_runs()
    law = fit_scaling_law(runs.assign(loss=loss(runs)), bootstraps=30)
    assert law.verdict == "not supported"
    assert law.summary()
    assert law.chinchilla_table()
    assert law.save(tmp_path / "law.json").exists()


def test_exact_copies_of_rows_count_once():
    runs = synthetic_runs(noise=0.003, span=6.0)
    law = fit_scaling_law(pd.concat([runs, runs]), bootstraps=20)
    assert len(law.runs) == len(law.runs.excluded) == 35
    assert {finding.severity for finding in law.diagnostics} <= {"info"}
