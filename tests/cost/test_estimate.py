"""What a plan costs: seconds, money, memory; before launch and after the first runs."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trunk_study import longest_trunk, plan_of, trunk_study

from flops_fit import Experiment, Hardware, Recipe, SweepPlan
from flops_fit.cost.accelerators import ACCELERATORS
from flops_fit.cost.calibration import calibrate
from flops_fit.cost.estimate import estimate
from flops_fit.cost.evaluation import evaluation_of
from flops_fit.cost.spending import spending
from flops_fit.cost.step_seconds import StepSeconds, TimedStep
from flops_fit.errors import StudyError
from flops_fit.recipe.steps import plan_steps
from flops_fit.recipe.trunk import own_parts
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.order import longest_first


def experiment(name="one", num_params=1_000_000, num_tokens=20_000_000, **options):
    given = {
        "experiment_id": name,
        "compute_budget": 6.0 * num_params * num_tokens,
        "size_param": "width",
        "size_param_value": 64,
        "num_params": num_params,
        "num_tokens": num_tokens,
        "flops_per_token": 6.0 * num_params,
    }
    return Experiment(**given | options)


def plan(*experiments):
    budgets = sorted({item.compute_budget for item in experiments})
    return SweepPlan(experiments=list(experiments), model_cls_name="M", size_param="width", compute_budgets=budgets)


def result(item, seconds, steps, status="completed"):
    shared = ("experiment_id", "compute_budget", "size_param", "size_param_value", "num_params", "num_tokens", "seed")
    given = {name: getattr(item, name) for name in shared}
    return ExperimentResult(
        **given, flops=item.planned_flops, flops_per_token=item.flops_per_token, status=status, steps=steps,
        seconds=seconds, loss=2.0 if status == "completed" else None,
    )  # fmt: skip


def test_before_launch_the_cost_is_flops_over_what_is_assumed():
    hardware = Hardware(peak_flops=1e12, utilisation=0.25, price_per_hour=36.0, workers=4)
    cost = estimate(plan(experiment("a"), experiment("b", num_tokens=40_000_000)), hardware)
    assert cost.seconds == pytest.approx({"a": 1.2e14 / 2.5e11, "b": 2.4e14 / 2.5e11})
    assert cost.device_hours == pytest.approx((480 + 960) / 3600)
    assert cost.money == pytest.approx(36.0 * (480 + 960) / 3600)
    assert cost.wall_seconds == pytest.approx(960)
    assert cost.basis == "assumed 25% of 1e+12 FLOP/s"
    assert cost.error is None


def test_the_wall_clock_is_shared_by_workers():
    cost = estimate(plan(*(experiment(str(index)) for index in range(8))), Hardware(peak_flops=1e12, workers=2))
    assert cost.wall_seconds == pytest.approx(sum(cost.seconds.values()) / 2)


def test_an_accelerator_brings_its_peak_and_memory():
    hardware = Hardware(accelerator="h100 sxm")
    assert hardware.peak == 989.4e12
    assert hardware.memory == 80e9
    assert Hardware(accelerator="A100-80GB", peak_precision="tf32").peak == 156e12
    assert Hardware(accelerator="T4", peak_flops=5e13).peak == 5e13


def test_every_accelerator_has_figures_and_a_source():
    assert len(ACCELERATORS) >= 15
    for accelerator in ACCELERATORS.values():
        assert 10e12 < accelerator.peak_flops["bf16"] < 1e16
        assert 10e9 < accelerator.memory_bytes < 1e12
        assert accelerator.source.startswith(("https://", "NVIDIA "))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"accelerator": "H100-SMX"},
            r"hardware.accelerator = 'H100-SMX' is not in the table; did you mean 'H100-SXM'\?",
        ),
        ({"accelerator": "TPU-v4", "peak_precision": "fp32"}, "peak_precision = 'fp32' has no figure for TPU-v4"),
        ({"workers": 0}, "hardware.workers = 0 must be a whole number of at least 1, or left out"),
        ({"peak_flops": -1}, "hardware.peak_flops = -1 must be a number above 0"),
        ({"utilisation": 1.5}, "hardware.utilisation = 1.5 must be a number above 0 and at most 1"),
        ({"price_per_hour": -1}, "hardware.price_per_hour = -1 must be a number of at least 0"),
        ({"memory_bytes": "80GB"}, "hardware.memory_bytes = '80GB' must be a number above 0"),
    ],
)
def test_bad_hardware_is_refused(options, message):
    with pytest.raises(StudyError, match=message):
        Hardware(**options)


def test_memory_is_sixteen_bytes_per_parameter_and_the_batchs_activations():
    item = experiment(total_params=1_000_000, activation_bytes_per_token=500.0)
    recipe = Recipe(batch_tokens=2048)
    needed = 16 * 1_000_000 + 2048 * 500
    assert estimate(plan(item), Hardware(), recipe=recipe).memory_bytes == {"one": needed}
    assert estimate(plan(experiment()), Hardware()).memory_bytes == {"one": None}


def test_what_does_not_fit_is_named():
    large = experiment("large", total_params=10**10)
    cost = estimate(plan(experiment("small", total_params=10**6), large), Hardware(accelerator="A100-80GB"))
    assert cost.too_large == ("large",)
    assert estimate(plan(large), Hardware(accelerator="MI300X")).too_large == ()
    assert estimate(plan(large), Hardware()).too_large == ()


def trained(count, seconds, steps=lambda tokens: round(2 * tokens**0.5)):
    """Experiments of equal compute whose training took `seconds(tokens, flops, steps)`."""
    items = [experiment(str(index), 2**index * 10_000, 2_000_000_000 // 2**index) for index in range(count)]
    return items, [
        result(item, seconds(item.num_tokens, item.planned_flops, steps(item.num_tokens)), steps(item.num_tokens))
        for item in items
    ]


def test_finished_runs_tell_how_long_the_others_take():
    """2 ms a step, 1 µs a token, 1e10 FLOP/s; a batch that grows with the square root of the tokens."""
    items, results = trained(7, lambda tokens, flops, steps: 2e-3 * steps + 1e-6 * tokens + 1e-10 * flops)
    larger = experiment("larger", num_params=5_000_000, num_tokens=3_000_000)
    cost = estimate(plan(*items, larger), Hardware(peak_flops=1e10), results)
    by_hand = 2e-3 * 2 * 3_000_000**0.5 + 1e-6 * 3_000_000 + 1e-10 * larger.planned_flops
    assert cost.seconds["larger"] == pytest.approx(by_hand, rel=0.01)
    assert cost.error < 0.01
    assert "measured on 7 finished runs, each predicted from the others within" in cost.basis


def test_a_constant_batch_is_learnt_too():
    _, results = trained(
        6, lambda tokens, flops, steps: 5e-3 * steps + 1e-11 * flops, steps=lambda tokens: tokens // 1000
    )
    calibration = calibrate(results, 1e11)
    assert calibration.power == pytest.approx(1.0, abs=1e-3)
    assert calibration.total(calibration.steps(10**7), 10**7, 1e12) == pytest.approx(5e-3 * 10**4 + 10, rel=0.01)


def test_short_runs_do_not_decide_what_a_flop_costs():
    """FLOPs are a hundredth of these runs' time; 5 % of noise on it must not become hours for a run full of FLOPs."""
    items, results = trained(7, lambda tokens, flops, steps: 2e-3 * steps + 1e-6 * tokens + 1e-13 * flops)
    noisy = [replace(run, seconds=run.seconds * (1.05 if index % 2 else 0.95)) for index, run in enumerate(results)]
    larger = experiment("larger", num_params=100_000_000, num_tokens=3_000_000)
    by_hand = 2e-3 * 2 * 3_000_000**0.5 + 3 + 1e-13 * larger.planned_flops
    cost = estimate(plan(*items, larger), Hardware(peak_flops=1e13), noisy)
    assert cost.seconds["larger"] == pytest.approx(by_hand, rel=0.2)


def test_a_wrong_peak_is_overruled():
    items, results = trained(7, lambda tokens, flops, steps: 2e-3 * steps + 1e-15 * flops)
    cost = estimate(plan(*items), Hardware(peak_flops=5e10), results)
    assert all(cost.seconds[run.experiment_id] == pytest.approx(run.seconds, rel=0.2) for run in results)


def test_a_few_runs_give_a_rate():
    item = experiment()
    cost = estimate(plan(item, experiment("double", num_tokens=40_000_000)), Hardware(), [result(item, 12.0, 100)])
    assert cost.seconds == pytest.approx({"one": 12.0, "double": 24.0})
    assert cost.basis == "measured on 1 finished run"


def test_runs_that_did_not_complete_do_not_count():
    item = experiment()
    cost = estimate(plan(item), Hardware(), [result(item, 1.0, 10, status="diverged")])
    assert cost.basis.startswith("assumed")


def test_this_machine_is_measured():
    threads = torch.get_num_threads()
    hardware = Hardware.local(device="cpu", price_per_hour=1.0)
    assert 1e8 < hardware.peak < 1e13
    assert hardware.memory > 1e8
    assert (hardware.name, hardware.price_per_hour) == ("this machine", 1.0)
    assert torch.get_num_threads() == threads


def test_a_guess_has_the_steps_of_small_models_in_it():
    """20 million tokens in batches of 20,000 are 1,000 steps, 0.5 ms each on a CPU beside their FLOPs."""
    item, recipe = experiment(), Recipe(batch_tokens=20_000)
    without, with_steps = estimate(plan(item), Hardware()), estimate(plan(item), Hardware(), recipe=recipe)
    assert with_steps.seconds["one"] - without.seconds["one"] == pytest.approx(0.5)
    assert "0.5 ms a step; flops-fit check measures it" in with_steps.basis
    of_sequences = estimate(plan(item), Hardware(), recipe=recipe, tokens_per_example=40_000)
    assert of_sequences.seconds["one"] - without.seconds["one"] == pytest.approx(0.25)


def test_first_steps_count_until_a_run_is_finished(tmp_path):
    item, recipe = experiment(), Recipe(batch_tokens=20_000)
    flops = item.planned_flops / 1000
    steps = (TimedStep(tokens=1, flops=2 * flops, seconds=3.0), TimedStep(tokens=1, flops=flops / 2, seconds=1.5))
    timed = StepSeconds(timed=steps, device="cpu", outcome="abc")
    cost = estimate(plan(item), Hardware(), recipe=recipe, timed=timed)
    assert cost.seconds["one"] == pytest.approx(1000 * (1.5 + 1.5 / 3))
    assert cost.basis == "from first steps timed on cpu"
    finished = [result(item, 7.0, 1000)]
    assert estimate(plan(item), Hardware(), finished, recipe=recipe, timed=timed).seconds["one"] == pytest.approx(7.0)
    timed.save(tmp_path)
    kept = StepSeconds.load(tmp_path, "abc")
    assert kept == timed
    assert kept.costs == pytest.approx((1.0, 0.0, 1 / flops))
    assert kept.seconds(1, flops) == timed.seconds(1, flops) == pytest.approx(2.0)
    assert StepSeconds.load(tmp_path, "edited") is None
    (tmp_path / ".step_seconds.json").write_text("{")
    assert StepSeconds.load(tmp_path, "abc") is None


def test_what_was_kept_of_timed_steps_needs_no_scipy(tmp_path):
    """Every training tells how long it was said to take."""
    steps = (TimedStep(tokens=1, flops=2.0, seconds=3.0), TimedStep(tokens=1, flops=1.0, seconds=2.0))
    StepSeconds(timed=steps, device="cpu", outcome="abc").save(tmp_path)
    code = f"""
import sys
from flops_fit.cost.step_seconds import StepSeconds
assert abs(StepSeconds.load({str(tmp_path)!r}, "abc").seconds(1, 3.0) - 4.0) < 1e-9
assert "scipy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


STEPS = ((468, 1.5e6), (1270, 2.7e7), (120, 9e7), (245, 2e7))  # tokens and FLOPs of steps as the demo has them


@pytest.mark.parametrize("costs", [(5e-4, 1e-6, 1e-11), (5e-4, 0.0, 1e-11), (0.0, 1e-6, 0.0), (2e-3, 0.0, 0.0)])
def test_what_a_step_costs_is_found_again(costs):
    def took(tokens, flops):
        return costs[0] + costs[1] * tokens + costs[2] * flops

    timed = [TimedStep(tokens=tokens, flops=flops, seconds=took(tokens, flops)) for tokens, flops in STEPS]
    found = StepSeconds(timed=tuple(timed), device="cpu", outcome="")
    for tokens, flops in (*STEPS, (50, 1e6), (5000, 1e9)):
        assert found.seconds(tokens, flops) == pytest.approx(took(tokens, flops), rel=1e-6)


def test_two_steps_are_joined_by_their_flops_and_one_is_in_proportion():
    low, high = TimedStep(tokens=5, flops=10.0, seconds=3.0), TimedStep(tokens=7, flops=20.0, seconds=4.0)
    two = StepSeconds(timed=(high, low), device="cpu", outcome="")
    assert [two.seconds(6, flops) for flops in (5.0, 15.0, 40.0)] == pytest.approx([2.5, 3.5, 6.0])
    one = StepSeconds(timed=(high,), device="cpu", outcome="")
    assert one.seconds(7, 40.0) == pytest.approx(8.0)


@given(st.lists(st.tuples(*[st.floats(1, 1e6)] * 2, st.floats(1e-6, 1e3)), min_size=1, max_size=5))
def test_a_step_never_takes_less_than_nothing(steps):
    timed = [TimedStep(tokens=tokens, flops=flops, seconds=seconds) for tokens, flops, seconds in steps]
    found = StepSeconds(timed=tuple(timed), device="cpu", outcome="")
    seconds = [found.seconds(tokens, flops) for tokens, flops, _ in steps]
    assert min(seconds) > 0
    assert all(found.seconds(2 * tokens, 2 * flops) >= found.seconds(tokens, flops) for tokens, flops, _ in steps)


def test_the_evaluation_at_the_end_is_counted():
    """Two sets of 3,000 and 1,000 examples of 10 tokens, twice, in batches of 1,024: forward, a third of the FLOPs."""
    item, recipe = experiment(), Recipe(batch_tokens=20_000)
    evaluation = evaluation_of([3000, None, 1000], recipe, 10, passes=2)
    assert (evaluation.tokens, evaluation.batches) == (80_000, 8)
    flops = 80_000 * item.flops_per_token / 3
    without, counted = (estimate(plan(item), Hardware(), recipe=recipe, evaluation=each) for each in (None, evaluation))
    extra = flops / Hardware().flops_per_second + 8 * 0.5e-3
    assert counted.seconds["one"] - without.seconds["one"] == pytest.approx(extra)
    step = item.planned_flops / 1000
    timed = StepSeconds(timed=(TimedStep(tokens=2e4, flops=step, seconds=2.0),), device="cpu", outcome="")
    both = (estimate(plan(item), recipe=recipe, timed=timed, evaluation=each) for each in (None, evaluation))
    before, after = (each.seconds["one"] for each in both)
    assert after - before == pytest.approx(2.0 * flops / step)


def test_steps_of_a_trunk_are_taken_once():
    items = longest_trunk(plan_of(trunk_study()))
    recipe = trunk_study().training
    ways = [plan_steps(recipe, item, 1) for item in items]
    taken = ways[-1].branch + sum(steps.steps - steps.branch for steps in ways)
    timed = StepSeconds(  # each step takes a second, whatever is in it
        timed=(TimedStep(tokens=1, flops=1, seconds=1), TimedStep(tokens=9, flops=9e9, seconds=1)),
        device="",
        outcome="",
    )
    cost = estimate(plan(*items), recipe=recipe, timed=timed)
    assert sum(cost.seconds.values()) == pytest.approx(taken, rel=1e-6)
    longest = next(steps for steps in ways[::-1])
    assert cost.seconds[items[-1].experiment_id] == pytest.approx(longest.steps, rel=1e-6), "it trains the trunk"
    assert len(items) > 2
    assert taken < sum(steps.steps for steps in ways)


def as_trained(recipe, order, each=0.01):
    """Results of experiments trained one after the other in this order, where every step takes `each` seconds; the
    seconds of a trunk are in those of all that branch from it."""
    done = {}
    for number, item in enumerate(order, start=1):
        own = own_parts(recipe, order[:number], taken={name: found.trunk_tokens for name, found in done.items()})
        part, steps = own[item.experiment_id], plan_steps(recipe, item, 1).steps
        of_others = {
            "trunk": item.trunk, "trunk_tokens": item.num_tokens - part.examples,
            "trunk_steps": steps - part.steps, "trunk_seconds": each * (steps - part.steps),
        }  # fmt: skip
        done[item.experiment_id] = replace(result(item, each * steps, steps), **of_others)
    return done


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_left_of_trunks_goes_on_from_what_is_done_in_seconds_and_flops(reverse):
    study = trunk_study()
    recipe, whole = study.training, plan_of(study)
    items, before = whole.experiments, estimate(whole, recipe=recipe)
    planned = sum(map(before.own_flops, items))
    assert planned < 0.8 * sum(item.planned_flops for item in items)
    order = longest_first(items)[::-1] if reverse else longest_first(items)
    done = as_trained(recipe, order)
    steps = {name: found.steps - found.trunk_steps for name, found in done.items()}
    for count in range(4, len(items)):
        some = {item.experiment_id: done[item.experiment_id] for item in order[:count]}
        cost = estimate(whole, Hardware(peak_flops=1e12), some.values(), recipe=recipe)
        spent = spending(whole, cost, some, Hardware())
        assert spent.done_flops + spent.left_flops == pytest.approx(planned, rel=1e-6)
        assert spent.done_hours * 3600 == pytest.approx(0.01 * sum(steps[name] for name in some))
        left = 0.01 * sum(steps[item.experiment_id] for item in order[count:])
        assert spent.left_hours * 3600 == pytest.approx(left, rel=1e-3)


def test_without_learning_from_them_runs_say_only_what_of_the_trunks_is_there():
    study = trunk_study()
    whole = plan_of(study)
    done = as_trained(study.training, longest_first(whole.experiments)[::-1], each=1.0)
    before = estimate(whole, recipe=study.training)
    same = estimate(whole, results=done.values(), recipe=study.training, learn=False)
    assert same.basis == before.basis
    assert sum(same.seconds.values()) == pytest.approx(sum(before.seconds.values()))
    shares = {name: found.own_share for name, found in done.items()}
    assert same.shares == pytest.approx(shares)
    assert before.shares != pytest.approx(shares), "those of another order"
