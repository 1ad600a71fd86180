"""The IsoFLOP grid: which sizes and tokens a budget gets, what is left out and why, and what the ids promise."""

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
import warnings

import planning_models as models
import pytest
import torch
from paths import BENCHMARKS, DOCS
from torch.nn import functional

from flops_fit import Experiment, SizeMap, SweepPlan, build_size_map, plan_from_size_map, plan_sweep
from flops_fit.errors import FlopsFitWarning, PlanError
from flops_fit.sizes.size_map import SizeEntry
from flops_fit.sweep.counts import plan_from_counts
from flops_fit.sweep.experiment import parse_budget
from flops_fit.sweep.options import GridOptions

DEMO_BUDGETS = (2e9, 6e9, 2e10, 6e10)
DEMO_OPTIMA = (4.3e3, 7.7e3, 1.3e4, 2.1e4)  # found by training all of them


def made_map(counts, flops=lambda n: 6.0 * n, **options):
    """A size map of given parameter counts; the size is N in thousands, or N."""
    entries = tuple(SizeEntry(size=round(n), num_params=round(n), flops_per_token=flops(round(n))) for n in counts)
    return SizeMap(model_name="Made", size_param="width", entries=entries, **options)


def fine_map(low=1e3, high=1e11, ratio=1.1, **options):
    count = math.ceil(math.log(high / low) / math.log(ratio))
    return made_map([low * ratio**index for index in range(count)], **options)


def ids(plan):
    return [experiment.experiment_id for experiment in plan.experiments]


@pytest.fixture(scope="module")
def demo_map():
    batch = (torch.zeros(4, 8, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    return build_size_map(
        models.CharMLP, "width", max_size=1024, flops="measured", param_count="non_embedding", sample_batch=batch,
        loss_fn=functional.cross_entropy,
    )  # fmt: skip


def test_the_demo_gets_28_experiments_around_its_optima(demo_map):
    plan = plan_from_size_map(demo_map, DEMO_BUDGETS, dataset_tokens=8_500_000)
    assert plan.num_experiments == 28
    assert plan.dropped == []
    for budget, optimum in zip(DEMO_BUDGETS, DEMO_OPTIMA, strict=True):
        sizes = [e.num_params for e in plan.experiments if e.compute_budget == budget]
        assert len(set(sizes)) == 7
        assert sum(n < optimum / 1.5 for n in sizes) >= 2
        assert sum(n > optimum * 1.5 for n in sizes) >= 2
        assert optimum / 7 < min(sizes) < max(sizes) < optimum * 7
    for experiment in plan.experiments:
        weights = experiment.size_param_value**2 + 256 * experiment.size_param_value
        assert 6 * weights * experiment.num_tokens == pytest.approx(experiment.compute_budget, rel=0.001)


def test_sizes_are_even_in_log_n_around_20_tokens_per_parameter():
    plan = plan_from_size_map(fine_map(ratio=1.01), [1e20], span=4.0)
    counts = [experiment.num_params for experiment in plan.experiments]
    optimum = math.sqrt(1e20 / 120)
    for index, count in enumerate(counts):
        assert count == pytest.approx(optimum * 4 ** (-1 + index / 3), rel=0.006)
    assert plan.experiments[3].tokens_per_param == pytest.approx(20, rel=0.02)


def test_flops_are_tokens_times_flops_per_token():
    plan = plan_from_size_map(fine_map(), [1e18, 1e19])
    for experiment in plan.experiments:
        assert experiment.flops_per_token == 6 * experiment.num_params
        assert experiment.planned_flops == experiment.flops_per_token * experiment.num_tokens
        assert experiment.planned_flops == pytest.approx(experiment.compute_budget, rel=1e-6)
    assert plan.total_flops == sum(experiment.planned_flops for experiment in plan.experiments)


def test_where_flops_are_not_six_n_the_centre_still_sees_20_tokens_per_parameter():
    size_map = fine_map(ratio=1.02, flops=lambda n: 1000 * n**0.8)
    plan = plan_from_size_map(size_map, [1e18])
    assert plan.experiments[3].tokens_per_param == pytest.approx(20, rel=0.03)


def test_tokens_are_whole_examples():
    plan = plan_from_size_map(fine_map(), [1e16], tokens_per_example=1024)
    assert all(experiment.num_tokens % 1024 == 0 for experiment in plan.experiments)
    assert all(e.planned_flops == pytest.approx(1e16, rel=0.02) for e in plan.experiments)


def test_a_budget_too_small_for_whole_examples_drops_the_point():
    with pytest.warns(FlopsFitWarning, match="admits no size"):
        plan = plan_from_size_map(made_map([1e6]), [1e13], tokens_per_example=1_000_000, tokens_per_param=1.67)
    reasons = [point.reason for point in plan.dropped if point.size_param_value]
    assert any("whole examples of 1000000 tokens spend 1.20e+13 FLOPs, more than 2%" in reason for reason in reasons)


def test_no_size_twice_within_a_budget_but_in_several_budgets():
    plan = plan_from_size_map(made_map([1e6 * 2**index for index in range(8)]), [1e15, 2e15, 4e15])
    of_budget = {}
    for experiment in plan.experiments:
        of_budget.setdefault(experiment.compute_budget, []).append(experiment.size_param_value)
    assert all(len(sizes) == len(set(sizes)) for sizes in of_budget.values())
    assert set(of_budget[1e15]) & set(of_budget[4e15])


def test_every_target_is_planned_or_dropped_with_its_reason():
    size_map = made_map([2e6, 4e6, 8e6])
    plan = plan_from_size_map(size_map, [1e15], num_sizes_per_budget=9)
    assert plan.num_experiments + len(plan.dropped) == 9
    reasons = " | ".join(point.reason for point in plan.dropped)
    assert "the smallest is width=2000000, 2.00M parameters; raise the budget or allow smaller sizes" in reasons
    above = plan_from_size_map(size_map, [3e16], num_sizes_per_budget=9)
    assert any("the largest is width=8000000" in point.reason for point in above.dropped)


def test_a_gap_in_the_model_is_a_reason():
    plan = plan_from_size_map(made_map([1e6, 1e8]), [1.2e16], num_sizes_per_budget=7, span=30)
    assert any("none between its neighbours" in point.reason for point in plan.dropped)


def test_tokens_per_parameter_bounds_drop_points():
    plan = plan_from_size_map(fine_map(), [1e20], min_tokens_per_param=5, max_tokens_per_param=100)
    assert all(5 <= experiment.tokens_per_param <= 100 for experiment in plan.experiments)
    reasons = [point.reason for point in plan.dropped]
    assert any("below min_tokens_per_param = 5; raise the budget or lower it" in reason for reason in reasons)
    assert any("above max_tokens_per_param = 100; lower the budget or raise it" in reason for reason in reasons)
    assert plan.num_experiments + len(reasons) == 7


def test_a_budget_that_admits_nothing_is_warned_of_and_others_stay():
    with pytest.warns(
        FlopsFitWarning, match=r"budget 1.00e\+10 FLOPs admits no size: the smallest \(width=1000000, 1.00M"
    ):
        plan = plan_from_size_map(fine_map(1e6), [1e10, 1e18])
    assert {experiment.compute_budget for experiment in plan.experiments} == {1e18}
    assert plan.compute_budgets == [1e10, 1e18]
    assert len([point for point in plan.dropped if point.compute_budget == 1e10]) == 7


def test_the_warning_names_the_budget_that_would_do():
    with pytest.warns(
        FlopsFitWarning, match=r"would see 0.0017 tokens per parameter; raise the budget to at least 6.00e\+11"
    ):
        plan_from_size_map(fine_map(1e6), [1e10])


def test_data_that_would_be_repeated_is_not_planned():
    plan = plan_from_size_map(fine_map(), [1e18], dataset_tokens=2_000_000_000, max_epochs=1)
    assert all(experiment.num_tokens <= 2_000_000_000 for experiment in plan.experiments)
    reason = plan.dropped[0].reason
    assert re.search(
        r"needs 1[01].\d+B tokens, 5.\d+ epochs of the 2.00B there are, above max_epochs = 1; add data", reason
    )


def test_unless_told_data_is_seen_four_times_at_most_and_that_is_said():
    tokens = 2_000_000_000
    with pytest.warns(FlopsFitWarning, match=r"2 of 6 experiments see data more than once, up to 3.\d+ times") as said:
        plan = plan_from_size_map(fine_map(), [1e18], dataset_tokens=tokens)
    assert tokens < max(experiment.num_tokens for experiment in plan.experiments) <= 4 * tokens
    assert "above max_epochs = 4" in plan.dropped[0].reason
    assert plan.notes == (str(said[0].message),)


def test_repeated_data_that_was_asked_for_is_said():
    with pytest.warns(FlopsFitWarning, match=r"3 of 7 experiments see data more than once, up to 5.\d+ times"):
        plan = plan_from_size_map(fine_map(), [1e18], dataset_tokens=2_100_000_000, max_epochs=6)
    assert plan.num_experiments == 7


# -- identity -----------------------------------------------------------------------------------------------------


def test_ids_are_readable_and_safe_as_file_names():
    plan = plan_from_size_map(fine_map(), [6e10, 1.2e10, 1e18])
    assert all(re.fullmatch(r"c[\d.]+e\+\d\d-width\d+-s0-[0-9a-f]{8}", name) for name in ids(plan))
    assert any(name.startswith("c1.2e+10-") for name in ids(plan))
    assert len(set(ids(plan))) == plan.num_experiments


def test_a_plan_for_more_budgets_contains_the_plan_for_fewer():
    size_map = fine_map()
    fewer = plan_from_size_map(size_map, [1e17, 1e19])
    more = plan_from_size_map(size_map, [1e19, 3e18, 1e17, 1e21])
    assert set(ids(fewer)) < set(ids(more))
    assert [e for e in more.experiments if e.compute_budget in (1e17, 1e19)] == fewer.experiments


def test_budgets_stay_as_given_and_their_order_and_repetition_change_no_experiment():
    size_map = fine_map()
    plan = plan_from_size_map(size_map, [1e17, "1e19"])
    with pytest.warns(FlopsFitWarning, match=r"compute_budgets has 1.00e\+17 FLOPs 2 times; it is") as said:
        again = plan_from_size_map(size_map, ["1e19", 1e17, 1e17])
    assert len(said) == 1
    assert again.compute_budgets == [1e19, 1e17, 1e17]
    assert again.experiments == plan.experiments
    assert again.content_hash == plan.content_hash
    assert [note for note in again.notes if "do not ascend; they are kept as given" in note]
    assert list(again.by_budget()) == [1e19, 1e17]
    assert repr(again) == repr(plan)
    assert again.summary().count("| 1.00e+17 |") == 1
    assert SweepPlan.from_dict(json.loads(json.dumps(again.to_dict()))) == again
    assert plan.notes == ()
    assert plan.content_hash != plan_from_size_map(size_map, [1e17, 3e19]).content_hash


def test_budgets_that_print_alike_have_different_ids():
    size_map = fine_map()
    one, other = (plan_from_size_map(size_map, [budget]) for budget in (1e18, 1.0000001e18))
    assert not set(ids(one)) & set(ids(other))


@pytest.mark.parametrize("options", [{"identity": "other model"}, {"model_kwargs": {"depth": 3}}, {"seeds": (1,)}])
def test_ids_change_with_what_decides_the_outcome(options):
    size_map = fine_map()
    assert not set(ids(plan_from_size_map(size_map, [1e18]))) & set(
        ids(plan_from_size_map(size_map, [1e18], **options))
    )


def test_seeds_repeat_every_size():
    plan = plan_from_size_map(fine_map(), [1e18], seeds=(0, 5))
    assert plan.num_experiments == 14
    assert {experiment.seed for experiment in plan.experiments} == {0, 5}
    assert set(ids(plan_from_size_map(fine_map(), [1e18]))) < set(ids(plan))


def test_plan_sweep_does_both_and_ids_follow_the_source():
    options = {"compute_budgets": [1e12], "max_params": 1e8, "num_sizes_per_budget": 3}
    plan = plan_sweep(models.MLP, "width", {"depth": 1}, **options)
    assert plan.num_experiments == 3
    assert (plan.model_cls_name, plan.size_param, plan.model_kwargs) == ("MLP", "width", {"depth": 1})
    assert ids(plan) == ids(plan_sweep(models.MLP, "width", {"depth": 1}, **options))
    assert ids(plan) != ids(plan_sweep(models.partial_mlp, "width", **options))


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match=r"unknown option 'num_size_per_budget'; did you mean 'num_sizes_per_budget'\?"):
        plan_sweep(models.MLP, "width", compute_budgets=[1e12], num_size_per_budget=3)
    with pytest.raises(TypeError, match=r"unknown planning option 'spam'"):
        plan_from_size_map(fine_map(), [1e12], spam=1)


# -- the plan as an object ----------------------------------------------------------------------------------------


def test_repr():
    plan = plan_from_size_map(fine_map(), [1e18, 1e19, 1e20])
    assert repr(plan) == "SweepPlan(21 experiments, 3 budgets, total_flops=7.77e+20)"


def test_the_summary_has_a_row_per_budget_and_the_reasons():
    summary = plan_from_size_map(fine_map(), [1e18, 1e19], min_tokens_per_param=5).summary()
    assert summary.startswith("SweepPlan(10 experiments, 2 budgets, total_flops=")
    assert re.search(r"\| 1.00e\+18 \| 5 \| \d+ to \d+ \| 1[3456].\dM to .*M \| .*B to .*B \|", summary)
    assert summary.count("dropped at 1.00e+19: ") == 2


def test_what_a_unit_of_data_is_gets_named():
    images = {"sample_batch": (torch.zeros(2, 3, 32, 32), torch.zeros(2)), "loss_fn": lambda out, _: out.mean()}
    options = {"size_values": [4, 8, 16, 32], "flops": "measured", **images}
    size_map = build_size_map(models.ConvNet, "width", **options)
    assert size_map.data_unit == "example"
    assert build_size_map(models.ConvNet, "width", data_unit="image", **options).data_unit == "image"
    plan = plan_from_size_map(size_map, [1e12])
    assert plan.data_unit == "example"
    assert "| examples |" in plan.summary()


def test_a_plan_is_made_by_hand_too():
    experiments = [Experiment("a", 1.2e14, 64, 1e6, 2e7, 20.0), Experiment("b", 6e13, 32, 500_000, 20_000_000, 40)]
    plan = SweepPlan(experiments, "GPT", "width", [6e13, 1.2e14])
    assert repr(plan) == "SweepPlan(2 experiments, 2 budgets, total_flops=1.80e+14)"
    assert plan.by_budget() == {6e13: [experiments[1]], 1.2e14: [experiments[0]]}
    assert dataclasses.asdict(plan)["experiments"][1]["tokens_per_param"] == 40
    assert (plan.dropped, plan.notes, dict(plan.model_kwargs)) == ([], (), {})


@pytest.mark.parametrize(
    ("experiments", "budgets", "message"),
    [
        ([Experiment("a", 6e13, 64, 1e6, 1e7)], [1e14], r"experiment a is of 6e\+13 FLOPs, which are not among"),
        ([Experiment("a", 6e13, 64, 1e6, 1e7)] * 2, [6e13], "2 experiments have the id a"),
        ([{"experiment_id": "a"}], [6e13], "experiments = .* must be a list of Experiments"),
    ],
)
def test_a_plan_by_hand_that_contradicts_itself_is_refused(experiments, budgets, message):
    with pytest.raises(PlanError, match=message):
        SweepPlan(experiments, "GPT", "width", budgets)


def test_the_plan_survives_json():
    plan = plan_from_size_map(fine_map(), [1e18], model_kwargs={"depth": 3}, min_tokens_per_param=5)
    assert plan.dropped
    again = SweepPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.experiments[0] == Experiment.from_dict(plan.experiments[0].to_dict())


def test_a_foreign_dictionary_is_refused():
    with pytest.raises(ValueError, match=r"schema 'flops_fit.sweep_plan/1', not None; plan the sweep again"):
        SweepPlan.from_dict({})


def test_the_frame_has_a_row_per_experiment():
    frame = plan_from_size_map(fine_map(), [1e18]).to_frame()
    assert len(frame) == 7
    assert list(frame.columns)[:6] == [
        "experiment_id", "compute_budget", "size_param_value", "num_params", "num_tokens", "tokens_per_param",
    ]  # fmt: skip
    assert (frame["planned_flops"] == frame["flops_per_token"] * frame["num_tokens"]).all()


def test_diff():
    size_map = fine_map()
    before, after = plan_from_size_map(size_map, [1e17, 1e18]), plan_from_size_map(size_map, [1e18, 1e19])
    diff = before.diff(after)
    assert {e.compute_budget for e in diff.added} == {1e19}
    assert {e.compute_budget for e in diff.removed} == {1e17}
    assert {e.compute_budget for e in diff.kept} == {1e18}
    assert str(diff) == "7 added (7.00e+19 FLOPs), 7 removed (7.00e+17 FLOPs), 7 kept"


# -- budgets and options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "flops"), [("1e18", 1e18), (1e18, 1e18), (10**18, 1e18), (" 3.5e9 ", 3.5e9)])
def test_budgets_are_numbers_or_text(given, flops):
    assert parse_budget(given) == flops


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "0 must be above 0"),
        (-1e18, "-1e\\+18 must be above 0"),
        (float("nan"), "nan is not finite"),
        ("inf", "'inf' is not finite"),
        ("a lot", "'a lot' is text that is no number"),
        (True, "True is a bool, not a number"),
        (None, "None is a NoneType, not a number"),
        ([1e18], r"\[1e\+18\] is a list"),
        (1j, "1j is a complex"),
    ],
)
def test_what_is_no_budget_is_refused_with_value_limit_and_remedy(given, message):
    with pytest.raises(PlanError, match=f"compute budget {message}.*give training FLOPs as a positive finite number"):
        parse_budget(given)


@pytest.mark.parametrize("budgets", [None, [], "1e18", 1e18])
def test_budgets_must_be_a_list(budgets):
    with pytest.raises(PlanError, match="must be a list of at least one number of training FLOPs"):
        plan_from_size_map(fine_map(), budgets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sizes_per_budget": 0}, "num_sizes_per_budget = 0 must be a whole number of at least 1"),
        ({"num_sizes_per_budget": 2.5}, "num_sizes_per_budget = 2.5"),
        ({"tokens_per_param": -1}, "tokens_per_param = -1 must be a number above 0"),
        ({"tokens_per_param": "20"}, "tokens_per_param = '20'"),
        ({"span": 1}, "span = 1 must be a number above 1"),
        ({"min_tokens_per_param": 50, "max_tokens_per_param": 5}, "min_tokens_per_param = 50 is above"),
        ({"seeds": ()}, r"seeds = \(\) must be different whole numbers"),
        ({"seeds": (1, 1)}, r"seeds = \(1, 1\)"),
        ({"seeds": 3}, "seeds = 3"),
        ({"max_epochs": float("inf")}, "max_epochs = inf"),
        ({"dataset_tokens": 0}, "dataset_tokens = 0"),
        ({"centre": lambda budget: -1}, "centre gives -1.0 parameters"),
    ],
)
def test_options_out_of_their_limits_are_refused(options, message):
    with pytest.raises(PlanError, match=message):
        plan_from_size_map(fine_map(), [1e18], **options)


# -- centre, counts, conventions ----------------------------------------------------------------------------------


def test_the_centre_may_come_from_a_law():
    class Law:
        def N_opt(self, compute):
            return 1e-1 * compute**0.5

    plan = plan_from_size_map(fine_map(ratio=1.01), [1e18, 1e20], centre=Law())
    for budget in (1e18, 1e20):
        middle = [e.num_params for e in plan.experiments if e.compute_budget == budget][3]
        assert middle == pytest.approx(1e-1 * budget**0.5, rel=0.006)


def test_planning_from_counts():
    plan = plan_from_counts((1e6, 1e10), [1e19])
    assert plan.num_experiments == 7
    assert all(e.num_params == e.size_param_value for e in plan.experiments)
    assert plan.experiments[3].tokens_per_param == pytest.approx(20, rel=0.05)
    given = plan_from_counts([1e8, 2e8, 4e8, 8e8], [1e19])
    assert {e.num_params for e in given.experiments} == {10**8, 2 * 10**8, 4 * 10**8, 8 * 10**8}
    with pytest.raises(PlanError, match="each of num_params = 0 must be a number of at least 1"):
        plan_from_counts([0, 5], [1e19])
    with pytest.raises(PlanError, match=r"num_params = \[\] must be a list"):
        plan_from_counts([], [1e19])


def test_six_n_far_from_what_is_measured_is_warned_of():
    tokens = torch.zeros(1, 8192, dtype=torch.long)

    def loss(outputs, targets):
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    long_context = {"sample_batch": (tokens, tokens), "loss_fn": loss, "tokens_per_example": 8192}
    kwargs, sizes = {"context": 8192, "vocabulary": 64}, [128, 256, 512, 1024]
    size_map = build_size_map(models.GPT, "width", kwargs, size_values=sizes, flops="6nd", **long_context)
    with pytest.warns(FlopsFitWarning, match=r'far from .* are \d[\d.]* times as many .* give flops = "measured"'):
        plan_from_size_map(size_map, [1e16])
    images = {"sample_batch": (torch.zeros(2, 3, 32, 32), torch.zeros(2)), "loss_fn": lambda out, _: out.mean()}
    conv_map = build_size_map(models.ConvNet, "width", max_params=1e6, **images)
    with pytest.warns(FlopsFitWarning, match=r"6 FLOPs per parameter and example are far .* \d{3} times as many"):
        plan_from_size_map(conv_map, [1e12])


def test_six_n_close_to_what_is_measured_is_not():
    batch = (torch.zeros(4, 8, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    size_map = build_size_map(
        models.CharMLP, "width", min_size=64, max_size=2048, sample_batch=batch, loss_fn=functional.cross_entropy
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = plan_from_size_map(size_map, [1e13])
    assert all(e.measured_flops_per_token == pytest.approx(e.flops_per_token, rel=0.1) for e in plan.experiments)


@pytest.mark.parametrize("exponent", range(12, 25))
def test_a_gpt_gets_sizes_on_both_sides_of_the_prior(gpt_map, exponent):
    budget = 10.0**exponent
    plan = plan_from_size_map(gpt_map, [budget])
    counts = [experiment.num_params for experiment in plan.experiments]
    ratios = [experiment.tokens_per_param for experiment in plan.experiments]
    smallest, largest = gpt_map.entries[0], gpt_map.entries[-1]
    assert all(large / small <= 2.5 for small, large in itertools.pairwise(counts))
    assert len(counts) >= 5 or plan.dropped
    if budget > smallest.flops_per_token * smallest.num_params * 20:
        assert max(ratios) > 20
    if budget < largest.flops_per_token * largest.num_params * 20:
        assert min(ratios) < 20
    for point in plan.dropped:
        reasons = "the smallest is|the largest is|above max_params|too few sizes|tokens per parameter, above"
        assert re.search(reasons, point.reason)
    if 16 <= exponent <= 22:
        assert len(counts) == 7


@pytest.fixture(scope="module")
def gpt_map():
    return build_size_map(models.GPT, "width", param_count="total")


def test_importing_the_planner_does_not_import_torch():
    modules = "flops_fit.sweep.sweep_plan, flops_fit.sweep.counts, flops_fit.cost.estimate"
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documentation_shows_what_is_printed(capsys):
    text = (DOCS / "planning.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```\n+```\n(.*?)```", text, re.DOTALL).groups()
    exec(compile(code, "docs/planning.md", "exec"), {})
    assert capsys.readouterr().out == shown


@pytest.mark.long
@pytest.mark.parametrize("law", ["replication", "model-heavy", "alpha = 2 beta", "200 tokens/param", "2 tokens/param"])
def test_the_default_grid_finds_the_optimum_at_100x(law, monkeypatch):
    """The evidence of docs/planning.md for the default grid, on laws that make it hard; 0.3 % noise on the loss."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from planning import error_at_100x, laws

    error, experiments = error_at_100x(laws()[law], GridOptions.span, GridOptions.num_sizes_per_budget, 0.003, 24)
    assert experiments == 35
    assert error <= 0.05
