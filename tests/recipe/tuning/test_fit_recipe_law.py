"""The law of the best recipe, on surfaces that are known."""

import json
import math
import pickle
import random
from dataclasses import replace

import pytest
from made_trials import BATCH, RATE, MadeSurface

from flops_fit.errors import FileError, FitError, StudyError
from flops_fit.recipe.tuning import RecipeLaw, Trial, fit_recipe_law

CELLS = [(1e6, 1e7), (1e6, 8e7), (8e6, 4e7), (8e6, 2e8)]


def around(surface, cells=CELLS, factor=3.0):
    """Nine trials in every cell, about a point that is off by a factor 1.5 in both."""
    values = [
        (cell, 1.5 * rate * factor**up, 1.5 * batch * factor**right)
        for cell in cells
        for rate, batch in [surface.best(*cell)]
        for up in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    return [
        surface.train(
            Trial(num_params=cell[0], num_tokens=cell[1], values={"learning_rate": rate, "batch_tokens": batch})
        )
        for cell, rate, batch in values
    ]


@pytest.fixture(scope="module")
def law():
    return fit_recipe_law(around(MadeSurface()), (RATE, BATCH))


def test_the_best_values_and_exponents_are_found(law):
    surface = MadeSurface()
    for cell in [*CELLS, (1e8, 2e9)]:
        for name, best in zip(law.names, surface.best(*cell), strict=True):
            low, high = law.interval(name, *cell, level=0.99)
            assert low < best < high
            assert low < law.value(name, *cell) < high
    for name, of, truth in (("learning_rate", "num_params", -0.5), ("batch_tokens", "num_tokens", 0.5)):
        _, low, high = law.exponent(name, of, level=0.99)
        assert low < truth < high < low + 1


@pytest.mark.parametrize(("exponent", "edge"), [(-0.5, math.inf), (0.0, math.inf), (-0.5, 2.0)])
def test_exponents_lie_in_their_intervals_about_as_often_as_these_say(exponent, edge):
    """Width^-1 (N ~ width^2), flat as with muP, and an edge: of 5 intervals of 90 %, 3 at least (99 % sure)."""
    inside = 0
    for seed in range(5):
        surface = MadeSurface(rate=(0.01, exponent, 0.1), edge=edge, seed=seed)
        _, low, high = fit_recipe_law(around(surface), (RATE, BATCH)).exponent("learning_rate", "num_params")
        inside += low < exponent < high < low + 0.7
    assert inside >= 3


def test_a_flat_optimum_is_seen_to_be_flat():
    """Belief is -0.35 for N; a model whose best rate does not move with it overrules that."""
    surface = MadeSurface(rate=(0.01, 0.0, 0.0), noise=0.0005)
    law = fit_recipe_law(around(surface), (RATE, BATCH))
    middle, low, high = law.exponent("learning_rate", "num_params")
    assert "flat" in {finding.code for finding in law.findings}
    assert -0.2 < low < 0 < high
    assert middle == pytest.approx(0.0, abs=0.1)


def test_one_wrong_run_moves_little():
    trials = around(MadeSurface())
    spoilt = [replace(trial, loss=0.8 * trial.loss) if at == 4 else trial for at, trial in enumerate(trials)]
    clean, other = (fit_recipe_law(given, (RATE, BATCH)) for given in (trials, spoilt))
    for name in clean.names:
        low, high = clean.interval(name, 3e6, 5e7)
        assert low < other.optimum(name, 3e6, 5e7) < high


def test_near_an_edge_the_rate_is_lowered_where_it_is_uncertain():
    surface = MadeSurface(edge=1.6)
    law = fit_recipe_law(around(surface), (RATE, BATCH))
    assert law.diverged > 0
    assert law.edge[0] == pytest.approx(math.log(1.6), abs=0.4)
    assert law.edge[1] is None
    for cell in [(3e6, 5e7), (1e8, 2e9), (1e9, 2e10)]:
        assert law.value("learning_rate", *cell) < law.optimum("learning_rate", *cell)
        assert law.value("batch_tokens", *cell) == law.optimum("batch_tokens", *cell)
        assert surface.excess(*cell, *(law.value(name, *cell) for name in law.names)) < 0.02
    near, far = (
        law.value("learning_rate", *at) / law.optimum("learning_rate", *at) for at in ((3e6, 5e7), (1e9, 2e10))
    )
    assert far < near


def test_what_to_know_is_said():
    surface = MadeSurface()
    (one,) = around(surface, CELLS[:1])[4:5]
    low = [replace(one, values={**one.values, "learning_rate": 1e-4 * 4**step}, loss=None) for step in range(2)]
    law = fit_recipe_law([surface.train(trial) for trial in low], (RATE,))
    said = {finding.code: finding for finding in law.findings}
    assert "the best learning_rate lies at the upper end of what was tried" in said["at_edge"].message
    assert "higher learning_rate" in said["at_edge"].remedy
    assert said["exponent_from_belief"].severity == "info"
    assert "undetermined" in said
    assert said["at_edge"].message in law.summary()


def test_what_it_is_expected_to_cost_grows_with_the_distance(law):
    near, far = law.expected_excess(3e6, 5e7), law.expected_excess(1e11, 2e12)
    assert 0 < near < 1e-3 < far


def test_what_other_values_cost_is_told():
    surface = MadeSurface(noise=0.0002)
    law, cell = fit_recipe_law(around(surface), (RATE, BATCH)), CELLS[1]
    rate, batch = (law.optimum(name, *cell) for name in law.names)
    assert law.excess({"learning_rate": rate, "batch_tokens": batch}, *cell) == pytest.approx(0.0, abs=1e-12)
    values = {"learning_rate": 3 * rate, "batch_tokens": batch / 2}
    assert law.excess(values, *cell) == pytest.approx(surface.excess(*cell, *values.values()), rel=0.2)
    assert law.excess({"learning_rate": 2 * rate}, *cell) > 0.001


def test_the_order_of_trials_and_quantities_changes_nothing():
    trials = around(MadeSurface(edge=2.0))
    shuffled = random.Random(1).sample(trials, len(trials))
    first = fit_recipe_law(trials, (RATE, BATCH)).to_dict()
    assert first == fit_recipe_law(shuffled, (RATE, BATCH)).to_dict()
    assert first == fit_recipe_law(trials, (BATCH, RATE)).to_dict()


def test_it_is_kept_as_plain_json(law):
    kept = json.loads(json.dumps(law.to_dict()))
    assert RecipeLaw.from_dict(kept).to_dict() == law.to_dict()
    assert RecipeLaw.from_dict(kept).value("learning_rate", 1e8, 1e9) == law.value("learning_rate", 1e8, 1e9)
    assert pickle.loads(pickle.dumps(law)).to_dict() == law.to_dict()  # for worker processes; nothing keeps it so
    with pytest.raises(FileError, match="recipe law lacks dof"):
        RecipeLaw.from_dict({name: value for name, value in kept.items() if name != "dof"})


def test_where_nothing_completed_the_reason_is_said():
    trials = [trial for trial in around(MadeSurface(edge=1e-9)) if trial.loss is None]
    with pytest.raises(FitError, match=r"all 36 trials diverged .* lower the guess of learning_rate from 0.001"):
        fit_recipe_law(trials, (RATE, BATCH))
    with pytest.raises(FitError, match="no trial was given"):
        fit_recipe_law([], (RATE,))


def test_a_trial_without_a_tuned_value_is_refused():
    with pytest.raises(StudyError, match=r"N = 1e\+06, D = 1e\+07 has no value of batch_tokens"):
        fit_recipe_law([Trial(num_params=1e6, num_tokens=1e7, values={"learning_rate": 0.1}, loss=2.0)], (RATE, BATCH))


def test_values_stay_within_the_bounds():
    law = fit_recipe_law(around(MadeSurface()), (replace(RATE, high=0.002), BATCH))
    assert law.value("learning_rate", 1e6, 2e7) == 0.002
    assert law.interval("learning_rate", 1e6, 2e7)[0] > 0.002
