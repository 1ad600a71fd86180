"""What is known of a parameter is kept to: the best fit within it, in every form, resample and interval."""

import numpy as np
import pytest
from bent_studies import bent_runs
from scipy import stats
from scipy.optimize import minimize

from flops_fit.errors import FitError
from flops_fit.scaling_law import ScalingLaw, fit_scaling_law
from flops_fit.scaling_law.fitting.held import checked, from_text
from flops_fit.scaling_law.fitting.objective import PARAMETERS, huber
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.synthetic import DATA_HEAVY, REPLICATION, synthetic_runs

RUNS = synthetic_runs(noise=0.003, span=6.0, seed=3)
EACH = [
    {"E": 1.75},
    {"E": 0},
    {"E": (1.5, 1.7)},
    {"alpha": 0.34},
    {"beta": (0.37, 0.5)},
    {"A": (100.0, 300.0)},
    {"B": 2085.43, "alpha": 0.3478},
    {"E": 1.8, "A": (300.0, 450.0), "beta": 0.36},
    {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
]


def columns(runs):
    return tuple(runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "loss"))


def by_another_optimiser(runs, fix, delta, starts=5):
    """The lowest objective that L-BFGS-B finds with these parameters within these ranges, from many starts."""
    N, D, loss = (np.log(values) for values in columns(runs))
    ends = {name: np.broadcast_to(np.asarray(value, dtype=float), 2) for name, value in fix.items()}
    inside = {name: (np.log(np.maximum(own, 1e-13)) if name in "EAB" else own) for name, own in ends.items()}
    bounds = [tuple(inside.get(name, (-30, 30) if name in "EAB" else (1e-3, 5))) for name in PARAMETERS]

    def value_and_gradient(x):
        terms = np.array([np.full(len(N), x[0]), x[1] - x[3] * N, x[2] - x[4] * D])
        predicted = np.logaddexp.reduce(terms)
        e, a, b = np.exp(terms - predicted) * np.clip(predicted - loss, -delta, delta)
        gradient = np.array([e.sum(), a.sum(), b.sum(), -(a * N).sum(), -(b * D).sum()])
        return 1e4 * huber(predicted - loss, delta).sum(), 1e4 * gradient

    generator, best = np.random.default_rng(0), np.inf
    for _ in range(starts):
        guess = generator.normal([0.5, 6.0, 7.5, 0.34, 0.36], [0.1, 1.0, 1.0, 0.05, 0.05])
        start = np.clip(guess, *np.transpose(bounds))
        for _ in range(3):
            options = {"maxiter": 2000, "ftol": 1e-15}
            found = minimize(value_and_gradient, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
            start = found.x
        best = min(best, found.fun / 1e4)
    return best


@pytest.mark.parametrize("fix", EACH, ids=str)
def test_another_optimiser_finds_nothing_lower_within_what_is_held(fix):
    found = fit_parametric(*columns(RUNS), delta=1e-3, held=checked(fix, 2.0))
    for name, value in fix.items():
        low, high = np.broadcast_to(np.asarray(value, dtype=float), 2)
        assert low * (1 - 1e-9) <= found.parameters[PARAMETERS.index(name)] <= high * (1 + 1e-9) + 1e-12
    assert found.objective <= by_another_optimiser(RUNS, fix, 1e-3) * (1 + 1e-9)


@pytest.mark.parametrize("fix", [{"E": (1.0, 2.5)}, {"alpha": (0.1, 1.0), "A": (1.0, 1e6)}], ids=str)
def test_a_range_that_is_not_reached_changes_nothing(fix):
    plain, ranged = (fit_scaling_law(RUNS, form="chinchilla", bootstraps=50, fix=each) for each in (None, fix))
    assert ranged.parameters == pytest.approx(plain.parameters, rel=1e-6)
    assert ranged.at_bound == ()
    for method in ("bootstrap", "profile", "delta"):
        own, other = (law.interval("N_opt", 1e22, method=method) for law in (ranged, plain))
        assert own == pytest.approx(other, rel=1e-4)


def test_what_is_held_has_no_width_and_leaves_less_to_the_rest():
    law, free = (fit_scaling_law(RUNS, fix=fix, bootstraps=400) for fix in ({"E": 1.8172}, None))
    for method in ("bootstrap", "profile", "delta"):
        assert law.interval("E", method=method) == pytest.approx((1.8172, 1.8172), rel=1e-12)
        narrow, wide = (np.ptp(np.log(each.interval("A", method=method))) for each in (law, free))
        assert narrow < 0.8 * wide
    assert law.sigma == pytest.approx(free.sigma, rel=0.3)


@pytest.mark.parametrize("fix", [{}, {"E": 1.8172}, {"E": 1.8, "beta": 0.36}], ids=str)
def test_a_profile_ends_where_refits_with_the_parameter_held_there_are_as_much_worse(fix):
    law = fit_scaling_law(RUNS, delta=1.0, fix=fix, bootstraps=2)  # all residuals within delta: least squares
    free = 5 - len(fix)
    rise = stats.t.ppf(0.95, len(RUNS) - free) ** 2 * (law.residual**2).sum() / (len(RUNS) - free) / 2
    for end in law.interval("alpha", method="profile"):
        refit = fit_parametric(*columns(RUNS), delta=1.0, held=checked(fix | {"alpha": end}, 2.0))
        assert refit.objective - law.objective == pytest.approx(rise, rel=0.02)


def test_knowing_the_exponents_brings_the_optimum_nearer_to_the_truth():
    off = {"free": [], "held": []}
    for seed in range(12):
        runs = synthetic_runs(DATA_HEAVY, noise=0.005, seed=seed)
        for name, fix in (("free", None), ("held", {"alpha": DATA_HEAVY.alpha, "beta": DATA_HEAVY.beta})):
            law = fit_scaling_law(runs, form="chinchilla", fix=fix, bootstraps=2)
            off[name].append(np.log(law.N_opt(1e22) / DATA_HEAVY.N_opt(1e22)))
    assert np.std(off["held"]) < 0.5 * np.std(off["free"])


def test_a_range_whose_end_is_reached_is_said():
    law = fit_scaling_law(RUNS, fix={"E": (1.5, 1.7)}, bootstraps=50)
    assert law.at_bound == ("E",)
    assert pytest.approx(1.7) == law.E
    said = {finding.code: finding for finding in law.diagnostics}
    assert "E = 1.7 is an end of the range given" in said["range_end"].message
    assert "at_bound" not in said
    summary = law.summary()
    assert "held        E in 1.5 to 1.7" in summary
    assert "at the end of its range" in summary


def test_every_form_has_the_e_that_is_held():
    law = fit_scaling_law(bent_runs(), fix={"E": 1.6}, bootstraps=20)
    assert law.form == "bent"
    assert {candidate.form for candidate in law.candidates} == {"chinchilla", "bent"}
    assert [candidate.parameters[0] for candidate in law.candidates] == pytest.approx([1.6] * len(law.candidates))
    assert law.member_draws[:, :, 0] == pytest.approx(1.6)
    assert law.irreducible == pytest.approx(1.6)


def test_exponents_belong_to_the_five_parameter_law():
    law = fit_scaling_law(bent_runs(), fix={"alpha": 0.34, "beta": (0.2, 0.5)}, bootstraps=20)
    assert law.form == "chinchilla"
    assert "since alpha and beta are held" in law.prediction.description
    assert "law_bends" in {finding.code for finding in law.diagnostics}


def test_a_law_keeps_what_it_was_held_to(tmp_path):
    law = fit_scaling_law(RUNS, fix={"E": 1.75, "alpha": (0.2, 0.4)}, bootstraps=20)
    again = ScalingLaw.load(law.save(tmp_path / "law.json"))
    assert again.options["fix"] == {"E": 1.75, "alpha": [0.2, 0.4]}
    assert again.summary() == law.summary()
    assert again.interval("alpha", method="profile") == pytest.approx(law.interval("alpha", method="profile"), rel=1e-6)


def test_fewer_free_parameters_need_fewer_runs():
    few = REPLICATION.loss(np.geomspace(1e8, 1e9, 4), np.geomspace(3e10, 1e9, 4))
    runs = [np.geomspace(1e8, 1e9, 4), np.geomspace(3e10, 1e9, 4), few]
    held = checked({"E": 1.8172, "alpha": 0.3478, "beta": 0.3658}, 2.0)
    assert fit_parametric(*runs, held=held).parameters[1:3] == pytest.approx([482.01, 2085.43], rel=1e-6)
    with pytest.raises(FitError, match="4 usable runs cannot fix the law's 5 parameters; give at least 6"):
        fit_parametric(*runs)


@pytest.mark.parametrize(
    ("fix", "said"),
    [
        ({"gamma": 1.0}, "'gamma', which is no parameter of the law; give E, A, B, alpha, beta"),
        ({"E": (1.8, 1.5)}, r"range from high to low; give \(1.5, 1.8\)"),
        ({"E": -0.1}, r"must be at least 0 and at most 1e\+100"),
        ({"A": 0.0}, r"must be above 0 and at most 1e\+100"),
        ({"alpha": 7}, "must be at least 1e-06 and at most 5"),
        ({"beta": float("nan")}, "beta = nan must be"),
        ({"B": 1e300}, r"B = 1e\+300 must be above 0 and at most"),
        ({"B": float("inf")}, "B = inf must be"),
        ({"E": 9.0}, r"E = 9 is not below the lowest loss of the runs, 2\.\d+"),
        ({"E": "1.69"}, "must be a number, or a range of two such as"),
        ({"E": True}, "must be a number"),
        ({"E": (1.5, 1.6, 1.7)}, "must be a number, or a range of two"),
        (["E"], "must be a mapping, such as"),
    ],
)
def test_what_no_law_can_be_held_to_is_refused(fix, said):
    with pytest.raises(FitError, match=said):
        fit_scaling_law(RUNS, fix=fix, bootstraps=2)


def test_text_of_the_command_line_says_the_same():
    assert from_text(["E=1.69", "alpha=0.3:0.4"]) == {"E": 1.69, "alpha": (0.3, 0.4)}
    for text in ("E", "E=", "E=a", "E=1:2:3"):
        with pytest.raises(FitError, match=r"must be a value such as E=1\.69"):
            from_text([text])


def test_a_parameter_is_held_once():
    with pytest.raises(FitError, match="gives E a second time"):
        from_text(["E=1.7", "E=1.8"])
