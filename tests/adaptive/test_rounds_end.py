"""An adaptive study from the first round to its end: what it spends, what it repeats, when it stops."""

import dataclasses
import math
import re

import pytest
from played_rounds import TARGET, Played, adaptive_study, result_of

from flops_fit import TrainerSpec
from flops_fit.adaptive.next_round import FIRST_ROUND, widths
from flops_fit.adaptive.rounds import experiments_of
from flops_fit.distributed import planned_experiment
from flops_fit.stages import rounds_folder
from flops_fit.synthetic import CHINCHILLA

pytestmark = pytest.mark.slow  # many laws are fitted


@pytest.fixture(scope="module")
def played():
    """A study that ended, with every progress on the way."""
    story = Played(adaptive_study())
    steps = [story.step()]
    while not steps[-1].step.stopped:
        steps.append(story.step())
    return story, steps


def test_the_first_round_is_a_ladder_of_cheap_budgets(played):
    story, _ = played
    first = story.rounds[0]
    assert len(first.choices) == FIRST_ROUND
    assert len({item.compute_budget for item in first.experiments}) == 3
    assert first.flops < 0.1 * 1e20
    assert first.known is None


def test_what_is_spent_stays_within_the_total(played):
    story, steps = played
    assert sum(result.flops for result in story.results.values()) <= 1e20
    assert all(step.planned.flops <= 1e20 for step in steps)


def test_no_experiment_is_planned_twice(played):
    story, _ = played
    points = [(item.num_params, item.num_tokens) for item in experiments_of(story.rounds)]
    assert len(points) == len(set(points))


def test_it_ends_with_an_answer_that_holds(played):
    _, steps = played
    end = steps[-1]
    assert end.step.kind in ("certain", "spent")
    A, B, alpha, beta = CHINCHILLA.A, CHINCHILLA.B, CHINCHILLA.alpha, CHINCHILLA.beta
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))  # Hoffmann et al. 2022, eq. 4
    N = G * (TARGET / 6) ** (beta / (alpha + beta))
    loss = CHINCHILLA.E + A / N**alpha + B / (TARGET / 6 / N) ** beta
    assert end.answer.N_opt_low < N < end.answer.N_opt_high
    assert end.answer.loss_low < loss < end.answer.loss_high


def test_it_climbs_to_larger_budgets(played):
    story, _ = played
    largest = [max(item.compute_budget for item in round_.experiments) for round_ in story.rounds]
    assert max(largest) > 10 * largest[0]


def test_a_certain_answer_is_as_sure_as_was_asked_for(played):
    _, steps = played
    end = steps[-1]
    if end.step.kind == "certain":
        assert all(widths(end.answer)[name] <= width for name, width in end.options.wanted.items())


def test_the_same_results_plan_the_same_round(played):
    story, _ = played
    assert len(story.rounds) > 1
    for count in range(len(story.rounds)):
        rounds = story.rounds[:count]
        ids = {item.experiment_id for item in experiments_of(rounds)}
        results = {name: result for name, result in story.results.items() if name in ids}
        again = Played(story.study, rounds=rounds, results=results).look()
        assert again.step.planned == story.rounds[count]


def test_torchrun_finds_an_experiment_of_a_round(played):
    story, _ = played
    for experiment in story.rounds[-1].experiments:
        assert planned_experiment(story.study, experiment.experiment_id) == experiment


def test_rounds_belong_to_what_is_trained_and_not_to_what_is_asked(tmp_path):
    study = adaptive_study()
    other = dataclasses.replace(study, trainer=TrainerSpec(command="train_better {num_params} {result_path}"))
    assert rounds_folder(adaptive_study(target_budget=1e23), tmp_path) == rounds_folder(study, tmp_path)
    assert rounds_folder(other, tmp_path) != rounds_folder(study, tmp_path)


def test_nothing_is_planned_while_a_round_is_trained(played):
    story, _ = played
    first = story.rounds[:1]
    ids = [item.experiment_id for item in first[0].experiments]
    results = {name: story.results[name] for name in ids[:-1]}
    now = Played(story.study, rounds=first, results=results).look()
    assert (now.step.kind, now.step.planned) == ("train", None)
    assert now.step.reason == "round 1: 1 of 9 still to train"


def test_a_larger_total_only_adds(played):
    story, _ = played
    more = Played(adaptive_study(total_compute=3e20, N_opt_within=1.02), rounds=story.rounds, results=story.results)
    end = more.to_the_end()
    assert more.rounds[: len(story.rounds)] == story.rounds
    assert len(more.rounds) > len(story.rounds)
    assert end.spent.flops <= 3e20


def test_another_target_plans_on_from_the_same_rounds(played):
    story, _ = played
    study = adaptive_study(target_budget=1e23, N_opt_within=1.02, total_compute=2e20)
    other = Played(study, rounds=story.rounds, results=story.results)
    now = other.look()
    assert now.step.planned.number == len(story.rounds) + 1
    assert now.step.planned.target_budget == 1e23
    assert now.answer.target_budget == 1e23


def test_a_total_below_what_is_spent_plans_nothing(played):
    story, _ = played
    now = Played(adaptive_study(total_compute=1e18), rounds=story.rounds[:3], results=story.results).look()
    assert now.step.stopped
    assert now.planned.share_of(now.options) > 1


def test_a_wish_that_is_met_stops_at_once():
    story = Played(adaptive_study(N_opt_within=100, loss_within=0.9))
    end = story.to_the_end()
    assert end.step.kind == "certain"
    assert len(story.rounds) == 1
    assert re.search(r"N_opt within a factor [\d.]+ \(asked for 100\)", end.step.reason)


def test_only_what_is_asked_for_has_to_be_known():
    story = Played(adaptive_study(quantity="loss", loss_within=0.5, N_opt_within=1.0001))
    end = story.to_the_end()
    assert end.step.kind == "certain"
    assert "N_opt" not in end.step.reason


def test_a_round_of_which_nothing_is_completed_stops_the_study():
    story = Played(adaptive_study(), train=lambda item: result_of(item, "failed", "no such file: data.bin", 0.0))
    story.step()
    end = story.step()
    assert end.step.kind == "failed"
    assert "none of the 9 experiments of round 1 was completed (no such file: data.bin)" in end.step.reason


def test_those_that_diverge_are_replaced_and_not_tried_again():
    def train(experiment):
        diverges = experiment.num_params > 1.5e8
        return result_of(experiment, "diverged", "loss is nan", 0.1) if diverges else result_of(experiment)

    story = Played(adaptive_study(), train=train)
    end = story.to_the_end()
    assert end.step.kind in ("certain", "spent", "exhausted")
    points = [(item.num_params, item.num_tokens) for item in experiments_of(story.rounds)]
    assert len(points) == len(set(points))
    statuses = [result.status for result in story.results.values()]
    assert statuses.count("completed") > 10
    assert 2 <= statuses.count("diverged") <= 8, "those of the round that found it out, and no more"


def test_two_rounds_of_which_nothing_is_completed_stop_the_study():
    def train(experiment):
        done = len(story.rounds) == 1
        return result_of(experiment) if done else result_of(experiment, "failed", "the disk is gone", 0.0)

    story = Played(adaptive_study(N_opt_within=1.01), train=train)
    end = story.to_the_end()
    assert end.step.kind == "failed"
    assert len(story.rounds) == 3
    assert "of round 2 and round 3 was completed (the disk is gone)" in end.step.reason


def test_sizes_above_one_that_fails_are_not_tried():
    limit = 1.5e8

    def train(experiment):
        fits = experiment.num_params < limit
        return result_of(experiment) if fits else result_of(experiment, "out_of_memory", "12 GB of 8 GB", 0.0)

    story = Played(adaptive_study(), train=train)
    story.to_the_end()
    failed = [item for item in experiments_of(story.rounds) if item.num_params >= limit]
    first = next(item.number for item in story.rounds if any(of.num_params >= limit for of in item.experiments))
    assert failed
    smallest = min(of.num_params for of in story.rounds[first - 1].experiments if of.num_params >= limit)
    later = [of.num_params for item in story.rounds[first:] for of in item.experiments]
    assert max(later) < smallest


def test_hours_and_money_limit_it_too():
    study = adaptive_study(total_compute=1e20, max_hours=30 / 3600)  # every training takes a second, as measured
    story = Played(study)
    end = story.to_the_end()
    assert end.spent.hours <= 30 / 3600 * 1.5
    assert len(story.results) < 50
    assert "device-hours" in end.spent.text(study.adaptive)


@pytest.mark.parametrize("round_size", [1, 5])
def test_a_round_is_as_large_as_was_asked_for(round_size):
    story = Played(adaptive_study(round_size=round_size, N_opt_within=1.01))
    for _ in range(3):
        story.step()
    assert [len(item.choices) for item in story.rounds] == [FIRST_ROUND, round_size, round_size]


def test_rows_say_what_each_round_taught(played):
    story, steps = played
    rows = steps[-1].rows()
    assert len(rows) == len(story.rounds)
    assert rows[0][:2] == ("1", "9")
    assert math.isfinite(steps[-1].answer.N_opt)
    assert all("within x" in row[5] for row in rows)
