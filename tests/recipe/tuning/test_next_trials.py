"""Which trials are chosen next."""

import random
from dataclasses import replace

import pytest
from made_trials import BATCH, RATE, MadeSurface

from flops_fit.errors import StudyError
from flops_fit.recipe.tuning import Trial, fit_recipe_law, next_trials

CELLS = [(1e6, 1e7), (1e6, 4e7), (4e6, 4e7)]


def test_the_first_round_goes_up_and_down_from_the_guess_at_the_cheapest_cell():
    chosen = next_trials([], CELLS, (RATE, BATCH), count=9)
    assert {trial.cell for trial in chosen} == {(1e6, 1e7)}
    assert [tuple(trial.values.values()) for trial in chosen] == [
        (1e-3, 3e4), (4e-3, 3e4), (2.5e-4, 3e4), (1e-3, 1.2e5), (1e-3, 7.5e3)
    ]  # fmt: skip


def test_the_same_trials_in_another_order_give_the_same_choice():
    surface = MadeSurface(edge=3.0)
    trials = [surface.train(trial) for trial in next_trials([], CELLS, (RATE, BATCH), count=5)]
    chosen = next_trials(trials, CELLS, (RATE, BATCH), count=3)
    assert chosen == next_trials(random.Random(0).sample(trials, 5), CELLS[::-1], (RATE, BATCH), count=3)
    assert len({trial.key for trial in chosen}) == 3


def test_a_guess_that_is_off_by_ten_is_corrected():
    """The guess is a tenth of the best rate at the cheapest cell; trials one round after the other find it."""
    surface, trials = MadeSurface(), []
    while len(trials) < 30:
        trials += map(surface.train, next_trials(trials, CELLS, (RATE, BATCH), count=5))
    law = fit_recipe_law(trials, (RATE, BATCH))
    best = surface.best(1e6, 1e7)[0]
    assert law.value("learning_rate", 1e6, 1e7) == pytest.approx(best, rel=0.3)


def test_a_guess_far_too_high_is_left_downwards():
    """All of the first round diverge; what is chosen next goes down until something is completed."""
    surface, trials = MadeSurface(edge=3.0), []
    guess = replace(RATE, guess=100 * surface.best(1e6, 1e7)[0])
    while len(trials) < 25:
        trials += map(surface.train, next_trials(trials, CELLS, (guess, BATCH), count=5))
    assert all(trial.loss is None for trial in trials[:4])
    best = surface.best(1e6, 1e7)[0]
    assert fit_recipe_law(trials, (guess, BATCH)).optimum("learning_rate", 1e6, 1e7) == pytest.approx(best, rel=0.5)


def test_several_sizes_and_lengths_are_tried():
    """Or nothing would be learnt of the exponents, although the cheapest cell is the cheapest."""
    surface, trials, flops = MadeSurface(), [], 3e16
    while chosen := next_trials(trials, CELLS, (RATE,), count=4, trials_left=16 - len(trials), flops_left=flops):
        trials += map(surface.train, chosen)
        flops -= sum(6 * trial.num_params * trial.num_tokens for trial in chosen)
    assert len({trial.num_params for trial in trials}) > 1
    assert len({trial.num_tokens for trial in trials}) > 1


def test_no_more_is_chosen_than_is_left():
    surface = MadeSurface()
    trials = [surface.train(trial) for trial in next_trials([], CELLS, (RATE,), count=3)]
    cheapest = 6 * 1e6 * 1e7
    some = next_trials(trials, CELLS, (RATE,), count=5, flops_left=2.5 * cheapest)
    assert [trial.cell for trial in some] == [(1e6, 1e7)] * 2
    assert len(next_trials(trials, CELLS, (RATE,), count=5, trials_left=2)) == 2
    assert next_trials(trials, CELLS, (RATE,), count=5, trials_left=0) == ()
    assert next_trials(trials, CELLS, (RATE,), count=5, flops_left=0.5 * cheapest) == ()


def test_it_can_choose_from_what_there_is():
    surface = MadeSurface()
    offered = [
        Trial(num_params=N, num_tokens=D, values={"learning_rate": 1e-4 * 3**step})
        for N, D in CELLS
        for step in range(6)
    ]
    trials = []
    while chosen := next_trials(trials, CELLS, (RATE,), count=2, candidates=offered):
        assert {trial.key for trial in chosen} <= {trial.key for trial in offered}
        trials += map(surface.train, chosen)
    assert len(trials) == len(offered)


def test_one_is_asked_for_at_least_and_cells_are_needed():
    with pytest.raises(StudyError, match="count = 0 and 3 cells"):
        next_trials([], CELLS, (RATE,), count=0)
    with pytest.raises(StudyError, match="0 cells"):
        next_trials([], [], (RATE,))


def test_a_new_cell_is_entered_where_the_best_value_is_thought_to_be():
    """Its first trial teaches only its level, for which a value far off, where the form is wrong, is of no use."""
    surface, trials, flops = MadeSurface(), [], 3e16
    while chosen := next_trials(trials, CELLS, (RATE, BATCH), count=5, trials_left=24 - len(trials), flops_left=flops):
        trials += map(surface.train, chosen)
        flops -= sum(6 * trial.num_params * trial.num_tokens for trial in chosen)
    entries = {}
    for trial in trials[5:]:
        entries.setdefault(trial.cell, trial)
    del entries[CELLS[0]]
    assert entries
    for cell, trial in entries.items():
        rate, batch = surface.best(*cell)
        assert 1 / 4 < trial.values["learning_rate"] / rate < 4
        assert 1 / 6 < trial.values["batch_tokens"] / batch < 6
