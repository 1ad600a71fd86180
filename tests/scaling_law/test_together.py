"""Tables fitted together: the best law of each with what they share the same, nearer to the truth than apart."""

import numpy as np
import pytest
from scipy.optimize import minimize

from flops_fit import fit_scaling_law_together
from flops_fit.errors import FitError
from flops_fit.scaling_law import ScalingLaw, fit_scaling_law
from flops_fit.scaling_law.fitting.objective import huber
from flops_fit.synthetic import DATA_HEAVY, REPLICATION, KnownLaw, synthetic_runs

OTHER = KnownLaw(E=1.87, A=600.0, B=1700.0, alpha=REPLICATION.alpha, beta=REPLICATION.beta)
TABLES = {"a": synthetic_runs(REPLICATION, noise=0.005, seed=1), "b": synthetic_runs(OTHER, noise=0.008, seed=2)}


@pytest.fixture(scope="module")
def laws():
    return fit_scaling_law_together(TABLES, bootstraps=200)


def logs(runs):
    return tuple(np.log(runs[name].to_numpy(dtype=float)) for name in ("num_params", "num_tokens", "loss"))


def test_one_table_is_fitted_as_it_is_alone():
    together = fit_scaling_law_together({"a": TABLES["a"]}, bootstraps=50)
    alone = fit_scaling_law(TABLES["a"], form="chinchilla", bootstraps=50)
    assert together["a"].to_dict() == alone.to_dict()


def test_a_table_and_its_copy_give_what_it_gives_alone():
    together = fit_scaling_law_together({"a": TABLES["a"], "again": TABLES["a"]}, bootstraps=2)
    alone = fit_scaling_law(TABLES["a"], form="chinchilla", bootstraps=2)
    for law in together.values():
        assert law.parameters == pytest.approx(alone.parameters, rel=1e-6)


@pytest.mark.parametrize("shared", [("alpha", "beta"), ("E", "alpha", "beta"), ("alpha",), ("E",)])
def test_another_optimiser_finds_nothing_lower(shared):
    found = fit_scaling_law_together(TABLES, shared=shared, delta=0.005, bootstraps=2)
    first, second = (law.parameters for law in found.values())
    names = ("E", "A", "B", "alpha", "beta")
    assert [first[names.index(name)] for name in shared] == pytest.approx(
        [second[names.index(name)] for name in shared]
    )
    places = np.arange(10).reshape(2, 5)
    for name in shared:
        places[1, names.index(name)] = places[0, names.index(name)]

    tables = [logs(runs) for runs in TABLES.values()]

    def value_and_gradient(x):
        total, gradient = 0.0, np.zeros(10)
        for at, (N, D, loss) in zip(places, tables, strict=True):
            log_e, log_a, log_b, alpha, beta = x[at]
            terms = np.array([np.full(len(N), log_e), log_a - alpha * N, log_b - beta * D])
            predicted = np.logaddexp.reduce(terms)
            total += huber(predicted - loss, 0.005).sum()
            e, a, b = np.exp(terms - predicted) * np.clip(predicted - loss, -0.005, 0.005)
            np.add.at(gradient, at, [e.sum(), a.sum(), b.sum(), -(a * N).sum(), -(b * D).sum()])
        return 1e4 * total, 1e4 * gradient

    best, start = np.inf, np.tile([np.log(1.8), np.log(500.0), np.log(2000.0), 0.35, 0.36], 2)
    for seed in range(3):
        x = start * np.random.default_rng(seed).normal(1, 0.05, 10)
        for _ in range(4):
            ended = minimize(value_and_gradient, x, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 1000})
            x = ended.x
        best = min(best, ended.fun / 1e4)
    assert sum(law.objective for law in found.values()) <= best * (1 + 1e-8)


@pytest.mark.slow
def test_the_exponents_and_the_ratio_of_the_optima_come_nearer_to_the_truth():
    truth = np.array([REPLICATION.alpha, REPLICATION.beta, np.log(REPLICATION.N_opt(1e22) / OTHER.N_opt(1e22))])
    off = {"apart": [], "together": []}
    for seed in range(8):
        tables = {
            "a": synthetic_runs(REPLICATION, noise=0.005, seed=seed),
            "b": synthetic_runs(OTHER, noise=0.005, seed=100 + seed),
        }
        apart = {name: fit_scaling_law(runs, form="chinchilla", bootstraps=2) for name, runs in tables.items()}
        for way, found in (("apart", apart), ("together", fit_scaling_law_together(tables, bootstraps=2))):
            ratio = np.log(found["a"].N_opt(1e22) / found["b"].N_opt(1e22))
            off[way].append(np.array([found["a"].alpha, found["a"].beta, ratio]) - truth)
    apart, together = (np.sqrt(np.mean(np.square(off[way]), axis=0)) for way in ("apart", "together"))
    assert (together < [0.9 * apart[0], 0.9 * apart[1], 0.5 * apart[2]]).all()


def test_resamples_are_paired_so_that_a_difference_is_surer_than_either_law(laws):
    sizes = {name: np.log(law.draws_of("N_opt", 1e22, parts=("sampling",))) for name, law in laws.items()}
    assert np.std(sizes["a"] - sizes["b"]) < 0.7 * np.hypot(np.std(sizes["a"]), np.std(sizes["b"]))
    assert laws["a"].draws_of("alpha") == pytest.approx(laws["b"].draws_of("alpha"))
    assert np.std(laws["a"].draws_of("alpha")) > 0


@pytest.mark.parametrize("irreducible", [1.8, 0.0])
def test_answers_and_their_differences_are_widened_alike_within_the_runs_and_beyond(irreducible):
    """An E of next to nothing in the fit makes no other answers: they are widened, not the parameters."""
    recipe = KnownLaw(E=irreducible, A=400.0, B=400.0, alpha=0.3, beta=0.3)
    tables = {name: synthetic_runs(recipe, noise=0.01, seed=seed) for name, seed in (("a", 1), ("b", 2))}
    laws = fit_scaling_law_together(tables, bootstraps=1000)
    largest = float(laws["a"].runs.flops.max())
    for compute in (largest / 10, largest, 100 * largest):
        for quantity in ("L_opt", "N_opt"):
            wide, resampled = (
                np.log([law.draws_of(quantity, compute, parts=parts) for law in laws.values()])
                for parts in (("sampling", "misfit"), ("sampling",))
            )
            for after, before in (*zip(wide, resampled, strict=True), (wide[0] - wide[1], resampled[0] - resampled[1])):
                assert np.std(after) / np.std(before) == pytest.approx(1.15, abs=0.06)


def test_each_law_is_complete_and_says_what_it_shares(laws, tmp_path):
    law = laws["b"]
    assert law.alpha == laws["a"].alpha
    assert "alpha and beta shared by a, b" in law.summary()
    assert law.holdout is not None
    assert law.interval("N_opt", 1e22)[0] < law.N_opt(1e22) < law.interval("N_opt", 1e22)[1]
    again = ScalingLaw.load(law.save(tmp_path / "law.json"))
    assert again.options["shared"] == ["alpha", "beta"]
    assert again.summary() == law.summary()
    for method in ("profile", "delta"):
        with pytest.raises(FitError, match="knows this table alone"):
            law.interval("N_opt", 1e22, method=method)
    with pytest.raises(FitError, match="compare its draws"):
        law.sensitivity_to_E(1e22)


def test_tables_that_do_not_share_the_exponents_are_told_so(laws):
    assert "not_shared" not in {finding.code for law in laws.values() for finding in law.diagnostics}
    different = {"a": TABLES["a"], "b": synthetic_runs(DATA_HEAVY, noise=0.005, seed=3)}
    for law in fit_scaling_law_together(different, bootstraps=20).values():
        (finding,) = [finding for finding in law.diagnostics if finding.code == "not_shared"]
        assert "alpha and beta are hardly the same in a, b" in finding.message
        assert law.verdict != "trustworthy"


def test_what_is_known_of_all_is_held():
    found = fit_scaling_law_together(TABLES, fix={"E": (1.7, 1.75), "beta": 0.36}, bootstraps=20)
    assert [law.beta for law in found.values()] == [0.36, 0.36]
    assert pytest.approx(1.75) == found["b"].E
    assert found["b"].options["fix"] == {"E": [1.7, 1.75], "beta": 0.36}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tables": {}}, "at least one name"),
        ({"tables": [TABLES["a"]]}, "at least one name"),
        ({"shared": ("A",)}, "must name some of E, alpha, beta"),
        ({"shared": ()}, "must name some of E, alpha, beta"),
        ({"shared": "alpha"}, "must name some of E, alpha, beta"),
        ({"flops_per_token": {"c": None}}, "names 'c', which is no table; give a, b"),
        ({"weighting": "none"}, "weighting = 'none' is unknown"),
    ],
)
def test_what_cannot_be_fitted_together_is_refused(arguments, said):
    with pytest.raises(FitError, match=said):
        fit_scaling_law_together(**{"tables": TABLES, "bootstraps": 2, **arguments})


def test_the_summary_says_by_how_much_answers_are_widened(laws):
    alone = fit_scaling_law(TABLES["a"], form="chinchilla", bootstraps=50)
    wider = "as wide as their resamples"
    assert f"answers {laws['a'].prediction.misfit.widening:g} times {wider}" in laws["a"].summary()
    assert wider not in alone.summary()
