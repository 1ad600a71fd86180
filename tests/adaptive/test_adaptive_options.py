"""[adaptive]: what may be asked, and the budgets that follow."""

import itertools
import math
import re

import pytest
from pipeline_study import write_study

from flops_fit.adaptive.options import AdaptiveOptions, wished
from flops_fit.errors import PlanError, StudyError
from flops_fit.study.study import Study


def options(**changes):
    return AdaptiveOptions(**{"target_budget": 1e22, "total_compute": 1e20} | changes)


def test_budgets_are_four_in_a_decade_and_the_same_for_every_total():
    budgets = options().budgets()
    assert budgets[-1] == 1.8e19, "the largest of the lattice within three tenths of the total"
    ratios = [after / before for before, after in itertools.pairwise(budgets)]
    assert all(1.7 < ratio < 1.9 for ratio in ratios)
    more = options(total_compute=7e20).budgets()
    assert set(budgets) & set(more) == set(budgets[4:]), "a larger total moves the window, not the budgets"


def test_no_experiment_is_larger_than_the_target():
    assert options(target_budget=2e18).budgets()[-1] == 1.8e18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_compute": None}, "none of total_compute, max_cost, max_hours"),
        ({"quantity": "size"}, "adaptive.quantity = 'size'"),
        ({"N_opt_within": 1.0}, "adaptive.N_opt_within = 1.0"),
        ({"loss_within": 1.5}, "adaptive.loss_within = 1.5"),
        ({"round_size": 0}, "adaptive.round_size = 0"),
        ({"max_hours": -1}, "adaptive.max_hours = -1"),
    ],
)
def test_what_is_out_of_its_limits_is_refused_by_name(changes, message):
    with pytest.raises(StudyError, match=message):
        options(**changes)


@pytest.mark.parametrize("name", ["target_budget", "total_compute"])
def test_flops_that_are_no_number_are_refused(name):
    with pytest.raises(PlanError, match=f"adaptive.{name} 'a lot' is text that is no number"):
        options(**{name: "a lot"})


def test_what_is_wanted_are_half_widths_in_logarithms():
    assert options().wanted == pytest.approx({"N_opt": math.log(1.5), "loss": math.log(1.02)})
    assert options(quantity="loss").wanted.keys() == {"loss"}


def study_with(tmp_path, adaptive, without=("[sweep]", "compute_budgets", "num_sizes", "target_budgets"), more=""):
    path = write_study(tmp_path)
    kept = [line for line in path.read_text().splitlines() if not line.startswith(without)]
    path.write_text("\n".join([*kept, more, "[adaptive]", adaptive]))
    return path


def test_a_study_file_may_leave_out_the_sweep(tmp_path):
    study = Study.from_toml(study_with(tmp_path, "target_budget = 1e9\ntotal_compute = 1e7"))
    assert study.sweep.compute_budgets == study.adaptive.budgets()


def test_a_sweep_may_leave_out_the_budgets(tmp_path):
    path = study_with(tmp_path, "target_budget = 1e9\ntotal_compute = 1e7", more="[sweep]\ntokens_per_param = 40")
    study = Study.from_toml(path)
    assert (study.sweep.tokens_per_param, study.sweep.compute_budgets) == (40, study.adaptive.budgets())


@pytest.mark.parametrize(
    ("adaptive", "more", "message"),
    [
        ("target_budget = 1e9\nmax_hours = 2", "", "without total_compute does not say how large an experiment may be"),
        ("target_budget = 1e9", "", "has none of total_compute, max_cost, max_hours"),
        ("total_compute = 1e9", "", "target_budget"),
        ("target_budget = 1e9\ntotal = 1e7", "", r"\[adaptive\] has an unknown key .total."),
        ("target_budget = 1e9\ntotal_compute = 1e7", "[sweep]\nseeds = [0, 1]", "which trains each size once"),
        ("target_budget = 1e9\ntotal_compute = 1e7", "[sweep]\ncentre_on_law = true", "every round follows the law"),
    ],
)
def test_a_study_file_that_is_not_valid_says_why(tmp_path, adaptive, more, message):
    with pytest.raises(StudyError, match=message):
        Study.from_toml(study_with(tmp_path, adaptive, more=more))


def test_what_it_asks_changes_the_plan_and_no_experiment(tmp_path):
    one, other = (
        Study.from_toml(study_with(tmp_path, f"target_budget = {target}\ntotal_compute = 1e7")) for target in (1e9, 2e9)
    )
    assert one.sweep_fingerprint() != other.sweep_fingerprint()
    assert one.outcome_fingerprint() == other.outcome_fingerprint()


def test_another_wish_is_about_what_it_names():
    asked = wished(options(), ["N_opt=1.2"])
    assert (asked.quantity, asked.N_opt_within, asked.total_compute) == ("N_opt", 1.2, 1e20)
    assert asked.wanted == {"N_opt": pytest.approx(math.log(1.2))}
    both = wished(options(quantity="loss"), ["loss=0.01", "N_opt=1.3"])
    assert both.wanted == {"N_opt": pytest.approx(math.log(1.3)), "loss": pytest.approx(math.log1p(0.01))}


@pytest.mark.parametrize(
    ("until", "message"),
    [
        (["1.2"], "--until '1.2' must be N_opt=FACTOR"),
        (["N_opt=twice"], "--until 'N_opt=twice' must be N_opt=FACTOR"),
        (["size=1.2"], "--until 'size=1.2' must be N_opt=FACTOR"),
        (["loss=0.01", "loss=0.02"], "--until 'loss=0.02' must be"),
        (["N_opt=0.8"], "adaptive.N_opt_within = 0.8"),
        (["loss=2"], "adaptive.loss_within = 2.0"),
    ],
)
def test_a_wish_that_says_nothing_is_refused(until, message):
    with pytest.raises(StudyError, match=re.escape(message)):
        wished(options(), until)


def test_a_study_without_rounds_has_no_wish():
    with pytest.raises(StudyError, match=r"give it a section \[adaptive\] with target_budget and total_compute"):
        wished(None, ["N_opt=1.2"])
