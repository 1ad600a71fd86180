"""Two laws compared: what they say of laws that are known in closed form, and of noise."""

import dataclasses
import json

import numpy as np
import pytest

from flops_fit import compare_laws, fit_scaling_law, fit_scaling_law_together
from flops_fit.errors import FitError
from flops_fit.scaling_law.comparison.multiplier import Multiplier
from flops_fit.scaling_law.comparison.paired import pair
from flops_fit.synthetic import REPLICATION, SYMMETRIC, KnownLaw, synthetic_runs

# at the optimum of such a law N = D = sqrt(C/6), so L(C) = E + 2·A·(C/6)^(-alpha/2)
STEEP = KnownLaw(E=1.7, A=1300.0, B=1300.0, alpha=0.35, beta=0.35)
FLAT = KnownLaw(E=1.9, A=900.0, B=900.0, alpha=0.35, beta=0.35)
CROSSING = 6 * (2 * (STEEP.A - FLAT.A) / (FLAT.E - STEEP.E)) ** (2 / 0.35)


def exact(law, **options):
    return fit_scaling_law(synthetic_runs(law), form="chinchilla", delta=1e-3, bootstraps=50, **options)


def noisy(law, seed, **options):
    return fit_scaling_law(synthetic_runs(law, noise=0.003, seed=seed), bootstraps=400, **options)


def compute_of(law, loss):
    """FLOPs at which a law of `STEEP`'s kind reaches `loss`."""
    return 6 * ((loss - law.E) / (2 * law.A)) ** (-2 / law.alpha)


def loss_of(law, compute):
    return law.E + 2 * law.A * (compute / 6) ** (-law.alpha / 2)


@pytest.fixture(scope="module")
def steep_and_flat():
    return compare_laws({"steep": exact(STEEP), "flat": exact(FLAT)}, at=[CROSSING / 100, CROSSING * 30])


@pytest.fixture(scope="module")
def noises():
    return noisy(REPLICATION, 1), noisy(dataclasses.replace(REPLICATION, flops_per_param_per_token=5.8), 2)


@pytest.fixture(scope="module")
def law():
    return exact(SYMMETRIC)


def test_a_cheaper_recipe_saves_the_same_share_of_compute_everywhere():
    cheaper = dataclasses.replace(REPLICATION, flops_per_param_per_token=6 / 1.05)
    found = compare_laws([exact(REPLICATION), exact(cheaper)], at=[1e19, 1e22], names=["now", "cheaper"])

    for at in found.targets:
        needed, spared = at.multipliers
        assert [needed.value, spared.value] == pytest.approx([1 / 1.05, 1.05], rel=1e-4)
        assert [spared.low, spared.high] == pytest.approx([1.05, 1.05], rel=1e-3)
        assert at.probability == 0
    assert found.crossings == ()
    assert found.sentences[0] == (
        "cheaper is better at 1.00e+19 FLOPs with more than 99 %: now needs 1.05 times the compute (1.05 to 1.05)"
    )


def test_curves_cross_where_they_are_equal(steep_and_flat):
    (crossing,) = steep_and_flat.crossings

    assert crossing.compute == pytest.approx(CROSSING, rel=1e-3)
    assert (crossing.better_below, crossing.better_above) == ("flat", "steep")
    assert crossing.beyond_runs == (CROSSING > 1e20)
    assert crossing.probability == 1


def test_losses_and_multipliers_are_those_of_the_closed_form(steep_and_flat):
    below, above = steep_and_flat.targets

    for at in (below, above):
        assert at.losses == pytest.approx((loss_of(STEEP, at.compute), loss_of(FLAT, at.compute)), rel=1e-5)
    wanted = compute_of(FLAT, loss_of(STEEP, below.compute)) / below.compute
    assert below.multipliers[0].value == pytest.approx(wanted, rel=1e-3)
    assert [below.multipliers[0].low, below.multipliers[0].high] == pytest.approx([wanted] * 2, rel=5e-3)
    assert (below.probability, above.probability) == (0, 1)


def test_a_loss_below_the_other_laws_E_is_never_reached():
    further = CROSSING * 1e4
    assert loss_of(STEEP, further) < FLAT.E
    found = compare_laws({"steep": exact(STEEP), "flat": exact(FLAT)}, at=further)

    assert found.targets[0].multipliers[0].value == np.inf
    assert found.sentences[0].endswith("flat comes to its loss with no amount of compute")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["targets"][0]["multipliers"][0]["value"] is None


def test_swapped_laws_give_the_opposite(noises):
    one, other = (compare_laws(laws, at=[1e20, 1e22]) for laws in (noises, noises[::-1]))

    for at, swapped in zip(one.targets, other.targets, strict=True):
        assert 0 < at.probability < 1
        assert at.probability == pytest.approx(1 - swapped.probability, abs=1e-12)
        assert at.multipliers == swapped.multipliers[::-1]
        assert at.told_apart == swapped.told_apart
        assert np.prod([each.value for each in at.multipliers]) == pytest.approx(1, rel=0.05)
        low, high = swapped.loss_ratio_interval
        assert at.loss_ratio_interval == pytest.approx((1 / high, 1 / low), rel=1e-6)


def test_two_seeds_of_one_recipe_are_not_told_apart():
    found = compare_laws({"one": noisy(REPLICATION, 3), "two": noisy(REPLICATION, 4)}, at=[1e20, 1e22])

    for at, said in zip(found.targets, found.sentences, strict=True):
        assert "cannot be told apart" in said
        assert at.multipliers[0].low < 1 < at.multipliers[0].high
    assert "next_experiments(5, target=1e+20)" in found.summary()


def test_a_law_and_itself_are_even():
    law = noisy(REPLICATION, 5)
    assert compare_laws([law, law], at=1e21).targets[0].probability == pytest.approx(0.5, abs=1e-12)


def test_errors_of_laws_fitted_apart_are_independent_though_their_seeds_are_the_same():
    short = [synthetic_runs(compute_budgets=(1e18, 2e18, 4e18), noise=0.001, seed=seed) for seed in (1, 2)]
    laws = [fit_scaling_law(runs, bootstraps=400) for runs in short]  # too short to show a bend: misfit is added
    assert np.corrcoef(*(np.log(law.draws_of("L_opt", 1e20)) for law in laws))[0, 1] > 0.3  # one by one
    first, second = pair(*laws).of("L_opt", 1e20)
    assert abs(np.corrcoef(np.log(first), np.log(second))[0, 1]) < 0.1


def test_the_width_of_the_difference_is_that_of_both_together(noises):
    at = compare_laws(noises, at=1e22).targets[0]
    own = [np.diff(np.log(interval))[0] for interval in at.loss_intervals]
    assert np.diff(np.log(at.loss_ratio_interval))[0] == pytest.approx(np.hypot(*own), rel=0.1)


def test_laws_with_unequal_numbers_of_resamples_are_compared(noises):
    few = fit_scaling_law(synthetic_runs(REPLICATION, noise=0.003, seed=1), bootstraps=150)
    at, all_of_them = (compare_laws([law, noises[1]], at=1e20).targets[0] for law in (few, noises[0]))
    assert at.loss_ratio_interval == pytest.approx(all_of_them.loss_ratio_interval, abs=0.005)


def test_laws_fitted_together_keep_their_pairs_and_tell_more():
    cheaper = dataclasses.replace(REPLICATION, flops_per_param_per_token=6 / 1.1)
    tables = {
        "now": synthetic_runs(REPLICATION, noise=0.003, seed=11),
        "cheaper": synthetic_runs(cheaper, noise=0.003, seed=12),
    }
    together = compare_laws(fit_scaling_law_together(tables, shared=("E", "alpha", "beta"), bootstraps=200), at=1e22)
    apart = compare_laws(
        {name: fit_scaling_law(runs, form="chinchilla", bootstraps=200) for name, runs in tables.items()}, at=1e22
    )

    assert together.together
    assert not apart.together
    joint, separate = (np.diff(np.log(found.targets[0].loss_ratio_interval))[0] for found in (together, apart))
    assert joint < separate / 2
    assert together.targets[0].told_apart


def test_optima_that_differ_are_named():
    wide = KnownLaw(E=1.8, A=2500.0, B=400.0, alpha=0.35, beta=0.35)
    at = compare_laws([exact(SYMMETRIC), exact(wide)], at=1e21).targets[0]

    # G = (A/B)^(1/0.7) moves N_opt at the same exponents (Hoffmann et al. 2022, equation 4)
    assert at.size_ratio_interval == pytest.approx([(2500 / 400) ** (1 / 0.7)] * 2, rel=1e-2)
    assert at.optima_differ


def test_table_and_page_show_every_target(steep_and_flat):
    lines = steep_and_flat.table().splitlines()
    assert len(lines) == 2 + 2
    assert "flat needs" in lines[0]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    shown = steep_and_flat._repr_html_()
    assert shown.count("<tr>") == 3
    assert all(said in shown for said in steep_and_flat.sentences)


def test_what_is_not_said_is_asked_at_ten_times_the_runs():
    found = compare_laws([exact(STEEP), exact(FLAT)])
    assert found.names == ("A", "B")
    assert [at.compute for at in found.targets] == pytest.approx([1e21])


def test_what_is_asked_by_default_is_typed_in_three_digits():
    runs = synthetic_runs(STEEP, noise=0.002)
    runs["flops"] *= 1.00001  # whole tokens, whole steps
    law = fit_scaling_law(runs, bootstraps=20)
    found = compare_laws([law, law])
    assert [f"{at.compute:g}" for at in found.targets] == [f"{float(f'{10 * runs.flops.max():.3g}'):g}"]
    assert f"target={found.targets[0].compute:g})" in found.summary()
    assert len(f"{found.targets[0].compute:g}") <= len("1.23e+21")


class TestRefused:
    @pytest.mark.parametrize(
        ("others", "options", "said"),
        [
            (lambda law: [law], {}, "1 laws were given, and two"),
            (lambda law: [law, law, law], {}, "3 laws were given, and two"),
            (lambda law: [law, 3], {}, "'B' is int, no law"),
            (lambda law: law, {}, "1 laws were given"),
            (lambda law: [law, law], {"names": ["x", "x"]}, "must be 2 different ones"),
            (lambda law: {"a": law, "b": law}, {"names": ["x", "y"]}, "a mapping has names of its own"),
            (lambda law: [law, law], {"at": []}, "names no compute; give FLOPs"),
            (lambda law: [law, law], {"at": [1e21, -1]}, "must be a positive, finite number of FLOPs"),
        ],
    )
    def test_what_is_not_two_laws_and_a_compute(self, law, others, options, said):
        with pytest.raises(FitError, match=said):
            compare_laws(others(law), **options)

    def test_losses_in_two_units(self, law):
        bits = exact(SYMMETRIC, loss_unit="bits per byte")
        with pytest.raises(FitError, match=r"those of new in bits per byte, .* bring both to one unit"):
            compare_laws({"old": law, "new": bits})

    def test_losses_on_two_held_out_sets(self, law):
        web, code = (
            dataclasses.replace(law, options={**law.options, "held_out_set": name}) for name in ("web", "code")
        )
        with pytest.raises(FitError, match=r"on held-out set web, those of B on code, .*--eval-set web"):
            compare_laws([web, code])
        assert "a held-out set named web" in compare_laws([web, web]).summary()

    def test_a_unit_that_is_not_known_is_said(self, law):
        unknown = exact(SYMMETRIC, loss_unit="")
        assert "the unit of the losses of B is not known" in compare_laws([law, unknown]).summary()

    def test_a_law_that_its_runs_do_not_determine(self, law):
        runs = synthetic_runs(SYMMETRIC, compute_budgets=(1e18,), sizes_per_budget=8)
        loose = fit_scaling_law(runs, bootstraps=20)
        assert not loose.determined
        with pytest.raises(FitError, match="the runs of B do not determine a law"):
            compare_laws([law, loose])


def test_a_multiple_that_is_next_to_nothing_is_no_number_outside_of_its_interval():
    said = Multiplier(value=8.8e-11, low=1e-3, high=1e-3).words()
    assert said == "less than 0.001 times the compute"
