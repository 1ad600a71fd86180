"""Tuning from the first round to its end: what it finds, what it spends, when it gives up."""

import dataclasses
import re

import pytest
from played_rounds import result_of
from played_trials import PlayedTuning, as_the_rule_says, best_rate, tuned_study
from tiny_study import tiny_size_map, tiny_study

from flops_fit.errors import FileError
from flops_fit.recipe_law.next_round import HOPELESS
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.recipe_law.rounds import TuningRound, load_tuning, save_tuning
from flops_fit.recipe_law.settling import TOLERATED_EXCESS
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit.stages import study_plan, tuning_folder


@pytest.fixture(scope="module")
def played():
    story = PlayedTuning(tuned_study())
    return story, story.play()


def test_it_finds_the_rule_where_it_will_be_used(played):
    story, end = played
    assert end.kind == "done"
    for N, D in story.design.targets:
        low, high = end.found.law.interval("learning_rate", N, D)
        assert low < best_rate(N, D) < high
        assert end.found.law.optimum("learning_rate", N, D) == pytest.approx(best_rate(N, D), rel=0.5)


def test_it_stays_within_its_trainings_and_its_share(played):
    story, end = played
    assert len(story.trials) <= story.design.trainings == TuningOptions().trainings
    assert end.found.flops <= 0.08 * story.design.study_flops * (1 + 1e-9)
    assert end.found.flops == pytest.approx(sum(result.flops for result in story.results.values()))
    dearest = max(item.planned_flops for item in story.trials)
    assert dearest <= 0.15 * 0.08 * story.design.study_flops * 1.02, "no trial takes most of what all may"


def test_trials_differ_in_size_and_tokens_and_none_is_trained_twice(played):
    story, _ = played
    assert len({item.num_params for item in story.trials}) > 1
    assert len({item.num_tokens for item in story.trials}) > 1
    assert len({item.experiment_id for item in story.trials}) == len(story.trials)


def test_the_same_results_give_the_same_rounds(played):
    story, end = played
    again = PlayedTuning(tuned_study())
    assert again.play().found.content_hash == end.found.content_hash
    assert [item.content_hash for item in again.rounds] == [item.content_hash for item in story.rounds]


def test_what_few_trials_leave_open_is_said():
    story = PlayedTuning(tuned_study(TuningOptions(trainings=4)))
    found = story.play().found
    dearest = [item for item in study_plan(tiny_study(), tiny_size_map()).experiments if item.compute_budget == 4e6]
    assert found.largest == (dearest[1].num_params, dearest[1].num_tokens), "the second of three sizes"
    (said,) = [doubt for doubt in found.doubts if "is expected to lose" in doubt]
    assert f"{found.excess_at_largest:.2%} of the loss" in said
    assert TunedRecipe.from_dict({**found.to_dict()}).excess_text == found.excess_text
    price = re.search(
        r"about (\d+) further trials, .* FLOPs, ([\d.]+)% of the study, would .*: settle = (0.\d+) in", said
    )
    assert float(price[2]) <= 100 * float(price[3]) <= 20


def test_what_diverged_counts_and_what_failed_is_left_out_with_its_reason():
    def train(experiment):
        if dict(experiment.tuned)["learning_rate"] > 0.04:
            return result_of(experiment, "diverged", "loss is nan")
        if len(story.results) == 4:
            return result_of(experiment, "out_of_memory", "not even one example fits")
        return None if len(story.results) == 6 and not story.lost else as_the_rule_says(experiment)

    story = PlayedTuning(tuned_study(), train)
    end = story.play()
    assert end.kind == "done"
    assert end.found.law.diverged > 0
    assert sorted(end.found.left_out.values()) == ["its process ended without a result", "not even one example fits"]
    assert len(end.found.trials) == len(story.trials) - 2


def test_where_all_diverge_it_gives_up_with_the_remedy():
    story = PlayedTuning(tuned_study(), lambda item: result_of(item, "diverged", "loss is nan"))
    end = story.play()
    assert end.kind == "failed"
    assert len(story.rounds) == HOPELESS
    assert "trials diverged (learning_rate from" in end.reason
    assert "lower the guess of learning_rate" in end.reason


def test_where_all_fail_it_gives_up_after_a_round_with_the_reason():
    story = PlayedTuning(tuned_study(), lambda item: result_of(item, "failed", "ValueError: no such layer"))
    end = story.play()
    assert (end.kind, len(story.rounds)) == ("failed", 1)
    assert "none of the 3 first trials was completed (ValueError: no such layer); mend that" in end.reason


def test_two_numbers_are_tuned_at_once_within_the_bounds_given():
    bounds = {"learning_rate": (0.005, 0.1), "batch_tokens": (16, 256)}
    tuning = TuningOptions(trainings=10, bounds=bounds, start={"learning_rate": 0.01, "batch_tokens": 32})
    story = PlayedTuning(tuned_study(tuning, batch_tokens="tune"))
    end = story.play()
    assert set(end.found.values(1e3, 1e5)) == {"learning_rate", "batch_tokens"}
    for item in story.trials:
        for name, value in item.tuned:
            assert bounds[name][0] <= value <= bounds[name][1]


def test_rounds_are_kept_once_and_a_changed_one_is_refused(played, tmp_path):
    story, end = played
    assert load_tuning(tmp_path) == (None, ())
    for item in story.rounds:
        save_tuning(tmp_path, story.design, item)
    assert load_tuning(tmp_path) == (story.design, story.rounds)
    with pytest.raises(FileError, match="holds another round 2; what was planned once is not changed"):
        save_tuning(tmp_path, story.design, dataclasses.replace(story.rounds[1], planned_from="else"))
    path = tmp_path / "round_002.json"
    path.write_text(path.read_text().replace('"number": 2', '"number": 3'))
    with pytest.raises(FileError, match="restore it from a copy, or rename the folder"):
        TuningRound.load(path)
    kept = TunedRecipe.load(end.found.save(tmp_path / "recipe_law.json"))
    assert kept.content_hash == end.found.content_hash
    assert kept.values(1e3, 1e5) == end.found.values(1e3, 1e5)


def test_what_settling_may_cost_is_spent_on_further_trials_and_no_more():
    """Four trials leave much open; with `settle` they stay, and others follow until the rule is sure, or paid."""
    options = TuningOptions(trainings=4)
    first = PlayedTuning(tuned_study(options))
    before = first.play().found
    assert before.excess_at_largest > TOLERATED_EXCESS
    settled = PlayedTuning(tuned_study(dataclasses.replace(options, settle=0.2)))
    settled.rounds, settled.results = first.rounds, dict(first.results)
    found = settled.play(settle=0.2).found
    assert settled.rounds[: len(first.rounds)] == first.rounds
    assert settled.trials[:4] == first.trials
    assert len(settled.trials) > 4
    assert found.excess_at_largest <= TOLERATED_EXCESS
    assert found.settling is None
    assert found.flops <= (0.08 + 0.2) * found.study_flops
    dear, usual = ([item.planned_flops for item in of] for of in (settled.design.dear, settled.design.cells))
    assert min(dear) > max(usual), "some that may be chosen are nearer to the experiments"
    little = PlayedTuning(tuned_study(options))
    little.rounds, little.results = first.rounds, dict(first.results)
    assert little.play(settle=0.001).found.flops <= (0.08 + 0.001) * found.study_flops


def test_what_settling_may_cost_tunes_nothing_anew(tmp_path):
    studies = [tuned_study(TuningOptions(trainings=4, settle=settle)) for settle in (0.0, 0.1)]
    folders = {tuning_folder(study, tmp_path) for study in studies}
    assert len(folders) == 1
    assert len({study.sweep_fingerprint() for study in studies}) == 2, "the plan follows from what is found then"


def test_the_price_is_about_what_settling_takes():
    """Played trials against real ones, whose surface is another than the law that plays them."""
    first = PlayedTuning(tuned_study(TuningOptions(trainings=6)))
    before = first.play().found
    real = PlayedTuning(tuned_study(TuningOptions(trainings=6)))
    real.rounds, real.results = first.rounds, dict(first.results)
    found = real.play(settle=0.2).found
    taken = (found.flops - before.flops) / found.study_flops
    assert before.settling.share / 4 < taken < before.settling.share * 4
