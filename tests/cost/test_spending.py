"""What is left to spend against what may be spent, and that neither it nor owners and targets change an experiment."""

import dataclasses

import pytest
from tiny_study import held_out, tiny_study, train

import flops_fit
from flops_fit import Hardware, SweepOptions, SweepPlan
from flops_fit.cost.estimate import estimate
from flops_fit.cost.spending import over_limit, spending
from flops_fit.errors import StudyError
from flops_fit.results.results import ExperimentResult, failed_result
from flops_fit.stages import study_plan, study_size_map

HARDWARE = Hardware(workers=2, peak_flops=1e6, utilisation=0.5, price_per_hour=3.0)


@pytest.fixture(scope="module")
def plan():
    return study_plan(tiny_study(), study_size_map(tiny_study()))


def done(item, seconds):
    names = {field.name for field in dataclasses.fields(ExperimentResult)}
    given = {name: value for name, value in item.to_dict().items() if name in names}
    return ExperimentResult(**given, status="completed", loss=1.0, flops=item.planned_flops, seconds=seconds)


def test_what_is_done_is_as_measured_and_the_rest_as_planned(plan):
    first, second, *others = plan.experiments
    results = {first.experiment_id: done(first, 720.0), second.experiment_id: failed_result(second, "broke")}
    spent = spending(plan, estimate(plan, HARDWARE), results, HARDWARE)
    left = second.planned_flops + sum(item.planned_flops for item in others)
    assert spent.left_experiments == len(plan.experiments) - 1, "what failed is to be trained again"
    assert spent.done_flops == first.planned_flops
    assert spent.done_money == pytest.approx(0.2 * 3.0)
    assert spent.left_flops == pytest.approx(left)
    assert spent.left_hours == pytest.approx(left / 5e5 / 3600)
    assert spent.left_money == pytest.approx(3.0 * left / 5e5 / 3600)
    assert spent.left_wall_hours == pytest.approx(spent.left_hours / 2)
    assert spent.planned_flops == pytest.approx(spent.done_flops + spent.left_flops)


@pytest.mark.parametrize(("share", "refused"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("limit", ["max_cost", "max_hours"])
def test_the_limit_is_on_what_is_left(plan, limit, share, refused):
    spent = spending(plan, estimate(plan, HARDWARE), {}, HARDWARE)
    value = share * (spent.left_money if limit == "max_cost" else spent.left_wall_hours)
    found = over_limit(spent, dataclasses.replace(HARDWARE, **{limit: value}))
    assert (found is not None) is refused
    if found:
        assert f"more than {limit} = " in found
        assert f"raise {limit} in [hardware]" in found
    assert over_limit(spent, HARDWARE) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_cost": 5.0}, "max_cost = 5.0 must be given together with price_per_hour"),
        ({"max_cost": -1.0, "price_per_hour": 1.0}, "max_cost = -1.0 must be a number above 0"),
        ({"max_hours": 0}, "max_hours = 0 must be a number above 0"),
    ],
)
def test_limits_out_of_their_limits_are_refused(options, message):
    with pytest.raises(StudyError, match=message):
        Hardware(**options)


def test_find_optimal_refuses_before_training(tmp_path):
    from tiny_study import TinyMLP
    from torch.nn.functional import cross_entropy

    with pytest.raises(StudyError, match=r"nothing was trained: .* more than max_hours = 1e-12"):
        flops_fit.find_optimal(
            TinyMLP, "width", None, train(), cross_entropy, [2e6, 6e6], eval_dataset=held_out(), max_size=64,
            device="cpu", max_hours=1e-12, output_dir=tmp_path, progress=False,
        )  # fmt: skip
    assert not list(tmp_path.glob("runs/*"))


def test_limits_owners_and_targets_change_no_experiment(plan):
    sweep = SweepOptions(compute_budgets=(2e6, 4e6), num_sizes_per_budget=3, target_budgets=["1e24", 1e22])
    hardware = Hardware(device="cpu", workers=2, price_per_hour=1.0, max_cost=10.0, max_hours=2.0)
    study = tiny_study(sweep=sweep, hardware=hardware, owners=["team:scaling"])
    planned = study_plan(study, study_size_map(study))
    assert dataclasses.replace(planned, target_budgets=()).to_dict() == plan.to_dict()
    assert planned.target_budgets == SweepPlan.from_dict(planned.to_dict()).target_budgets == (1e22, 1e24)
    assert study.sweep.target_budgets == (1e22, 1e24)
    assert study.sweep_fingerprint() != tiny_study().sweep_fingerprint(), "a changed limit is judged anew"
    cheaper = tiny_study(sweep=sweep, hardware=dataclasses.replace(hardware, price_per_hour=0.5))
    more = tiny_study(sweep=sweep, hardware=dataclasses.replace(hardware, workers=3))
    assert len({item.sweep_fingerprint() for item in (study, cheaper, more)}) == 3, "and so is what it limits"
    plain = dataclasses.replace(sweep, target_budgets=())
    unlimited = tiny_study(sweep=plain, owners=["a@b.org"], hardware=Hardware(device="cpu", price_per_hour=3.0))
    assert unlimited.sweep_fingerprint() == tiny_study().sweep_fingerprint()
