"""No field of a study, plan, map or result takes a value outside its limits; the refusal states field, value, limit."""

import math

import numpy as np
import pytest
import torch
from tiny_study import TinyMLP, held_out, train

from flops_fit import (
    DataSpec,
    Experiment,
    ExperimentResult,
    Hardware,
    LossSpec,
    ModelSpec,
    Recipe,
    SizeMap,
    Study,
    SweepOptions,
    SweepPlan,
    TrainerSpec,
    build_size_map,
    find_optimal,
    plan_from_counts,
    plan_from_size_map,
    plan_sweep,
)
from flops_fit.cost.hardware import measure_peak
from flops_fit.errors import FlopsFitError
from flops_fit.sizes.size_map import SizeEntry
from flops_fit.study.sections import ScheduleSpec
from flops_fit.sweep.experiment import DroppedPoint
from flops_fit.sweep.export import export_slurm

HUGE = 10**400  # beyond what a float can hold
NEVER_A_NUMBER = [math.nan, math.inf, -math.inf, True, "many", "1e3", "", [1], (), {}, 1j, HUGE, np.nan, torch.ones(1)]
NEVER_ABOVE_0 = [*NEVER_A_NUMBER, 0, -1, -0.5]
NEVER_AT_LEAST_0 = [*NEVER_A_NUMBER, -1, -1e-9]
NEVER_A_SHARE = [*NEVER_AT_LEAST_0, 1.5, 2]
NEVER_WHOLE = [*NEVER_A_NUMBER, -1, 0.5, 3.0]
NEVER_COUNTS = [*NEVER_WHOLE, 0]
NEVER_TEXT = [3, 1.5, True, "", "  ", ["a"], {}, b"a"]
NEVER_A_CHOICE = [*NEVER_TEXT, "none of these", None]
NEVER_SIZES = [5, "8", [], ["a"], [0], [-4], [2.5], [True], [math.nan], {8: 1}, [None], [[8]]]
NEVER_BUDGETS = [None, [], "1e18", 1e18, {}, [0], [-1.0], ["many"], [True], [math.nan], ["inf"], [None], [[1e18]]]
NEVER_BUDGETS += [[HUGE]]
NEVER_FLAGS = ["no", "False", 0, 1, None]
NEVER_ARGUMENTS = [3, "depth=4", ["depth"], {3: 4}]

ENTRY = SizeEntry(size=8, num_params=1000, flops_per_token=6000.0)
MAP = SizeMap(model_name="M", size_param="width", entries=(ENTRY,))
MODEL = {"factory": TinyMLP, "size_param": "width"}
GRID = {
    "num_sizes_per_budget": [*NEVER_COUNTS, None],
    "tokens_per_param": [*NEVER_ABOVE_0, None],
    "span": [*NEVER_ABOVE_0, 1, 0.5],
    "min_tokens_per_param": [*NEVER_ABOVE_0, None],
    "max_tokens_per_param": [*NEVER_ABOVE_0, None],
    "seeds": [3, "01", (), [1.5], [-1], [True], ["a"], [0, 0], None, {0: 1}, {1, 2}],
    "max_epochs": [*NEVER_ABOVE_0, None],
}
SIZES = {
    "min_size": NEVER_COUNTS,
    "max_size": NEVER_COUNTS,
    "size_values": NEVER_SIZES,
    "sizes": [3, "64*width", {}],
    "config": [3, "package:Config", {"width": 8}],
    "size_multiple": [0, -64, 6.5, 64.0, True, "64", "sixty-four", "", [64]],
    "max_params": [*NEVER_ABOVE_0, None],
    "flops": [3, True, "6n", "", None, ["6nd"]],
    "flops_per_param_per_token": [*NEVER_ABOVE_0, None],
    "attention_flops": NEVER_A_CHOICE,
    "param_count": NEVER_A_CHOICE,
}
NEVER_OPTIONAL_COUNT = [*NEVER_WHOLE]


def hand_made(**changes):
    given = {"experiment_id": "a", "compute_budget": 6e9, "size_param_value": 8, "num_params": 1000}
    return Experiment(**given | {"num_tokens": 1_000_000, "tokens_per_param": 1000.0} | changes)


def result(**changes):
    return ExperimentResult.of(
        hand_made(), **{"num_tokens": 1_000_000, "flops": 6e9, "status": "completed", "loss": 1.0} | changes
    )


def entry(**changes):
    return SizeEntry(**vars(ENTRY) | changes)


def size_map(**changes):
    return SizeMap(**vars(MAP) | changes)


def study(**changes):
    sections = {"name": "tiny", "model": ModelSpec(**MODEL), "sweep": SweepOptions(compute_budgets=[2e6])}
    return Study(**sections | changes)


def plan(**changes):
    given = {"experiments": [], "model_cls_name": "M", "size_param": "width", "compute_budgets": [1e9]}
    return SweepPlan(**given | changes)


# what makes it → field → values that it must not take
FIELDS = {
    Hardware: {
        "name": [*NEVER_TEXT, None],
        "device": [*NEVER_A_CHOICE, "gpu", "cuda:", "cuda:one", "CPU", "cpu\n"],
        "workers": NEVER_COUNTS,
        "accelerator": [*NEVER_TEXT, "H100-SMX"],
        "peak_precision": [*NEVER_A_CHOICE, "bf32"],
        "peak_flops": NEVER_ABOVE_0,
        "utilisation": [*NEVER_ABOVE_0, 1.01, None],
        "memory_bytes": [*NEVER_ABOVE_0, "80GB"],
        "price_per_hour": [*NEVER_AT_LEAST_0, None],
        "max_hours": NEVER_ABOVE_0,
    },
    lambda **options: Hardware(price_per_hour=1.0, **options): {"max_cost": NEVER_ABOVE_0},
    Recipe: {
        "learning_rate": [math.nan, math.inf, 0, -1e-3, True, "fast", "1e-3", None, [1e-3], HUGE],
        "batch_tokens": [*NEVER_ABOVE_0, None, "2*log(tokens)", "0.5*tokens^2", "1.2.3*sqrt(tokens)"],
        "betas": [None, 0.9, "0.9", (), (0.9,), (0.9, 1.0), (0.9, "0.95"), (0.9, math.nan), (True, 0.9), (-0.1, 0.9)],
        "weight_decay": [*NEVER_AT_LEAST_0, None],
        "gradient_clip": NEVER_ABOVE_0,
        "warmup_fraction": [*NEVER_A_SHARE, 1, None],
        "schedule": NEVER_A_CHOICE,
        "final_fraction": [*NEVER_A_SHARE, None],
        "decay_fraction": [*NEVER_A_SHARE, 0, None],
        "precision": [*NEVER_A_CHOICE, "int8"],
        "eval_batch_examples": [*NEVER_COUNTS, None],
        "checkpoint_seconds": [*NEVER_AT_LEAST_0, None],
        "timeout_seconds": NEVER_ABOVE_0,
        "seed": [*NEVER_WHOLE, None],
    },
    lambda **options: ModelSpec(**MODEL | options): {
        "factory": [3, "GPT", None],
        "size_param": [3, "", "two words", "1st", None],
        "kwargs": [*NEVER_ARGUMENTS, None],
        "version": NEVER_TEXT,
        **SIZES,
    },
    lambda **options: DataSpec(**{"train": train} | options): {
        "train": [None],
        "kwargs": [*NEVER_ARGUMENTS, None],
        "tokens_per_example": [*NEVER_COUNTS, None],
        "eval_fraction": [*NEVER_ABOVE_0, 1, 1.0, 2],
        "eval_draws": [*NEVER_COUNTS, None],
        "version": NEVER_TEXT,
    },
    lambda **options: LossSpec(fn=torch.nn.MSELoss, **options): {
        "kwargs": NEVER_ARGUMENTS,
        "version": NEVER_TEXT,
        "unit": NEVER_TEXT,
    },
    lambda **options: TrainerSpec(**{"command": "train"} | options): {
        "command": [*NEVER_TEXT, None],
        "timeout_seconds": NEVER_ABOVE_0,
        "version": NEVER_TEXT,
        "study_dir": NEVER_TEXT,
        "loss_unit": NEVER_TEXT,
    },
    lambda **options: SweepOptions(**{"compute_budgets": [1e9]} | options): {
        "target_budgets": [None, "1e18", 1e18, [0], ["many"], [math.inf]],
        "centre_on_law": [1, "true", None],
        **GRID,
    },
    ScheduleSpec: {
        "cron": [3, None, "", "daily", "0 6 * *", "0 6 * * * *", "60 6 * * *", "0 24 * * *", "0 6 0 * *", "0 6 * 13 *",
                 "0 6 * * 8", "0 6 * * mnd", "-5 6 * * *", "*/0 6 * * *", "0;6 * * * *", "1,,2 6 * * *"],
    },
    study: {
        "name": [*NEVER_TEXT, None, "../tiny", "1st", "a" * 65, "tiny\n"],
        "owners": [3, None, "team:scaling", [3], [""]],
        "model": [None, 3, {}],
        "sweep": [None, 3, [1e9]],
        "data": [3, held_out],
        "loss": [3, torch.nn.MSELoss()],
        "training": [None, 3, {}],
        "hardware": [None, "cpu"],
        "schedule": [None, "0 6 * * *"],
        "trainer": ["train.py"],
    },
    lambda **options: plan_from_size_map(**{"size_map": MAP, "compute_budgets": [1e9]} | options): {
        "size_map": [None, 3, {}],
        "identity": [3, None, ["a"]],
        "model_kwargs": NEVER_ARGUMENTS,
        "dataset_tokens": NEVER_COUNTS,
        "tokens_per_example": [*NEVER_ABOVE_0, None],
        "centre": [3, "law"],
        **GRID,
    },
    lambda **options: plan_from_counts(**{"num_params": [1e6, 1e8], "compute_budgets": [1e15]} | options): {
        "num_params": [None, 3, "1e6", [], ["1e6"], [0], [math.nan], [True], [[1e6]], {1e6: 1}, [HUGE]],
        "flops_per_param_per_token": [*NEVER_ABOVE_0, None],
        "param_count": NEVER_A_CHOICE,
        "model_name": [*NEVER_TEXT, None],
    },
    lambda **options: build_size_map(**{"model_cls": TinyMLP, "size_param": "width"} | options): {
        "size_param": [3, "", None],
        "model_kwargs": NEVER_ARGUMENTS,
        "num_sizes": [*NEVER_COUNTS, None],
        "loss_fn": [3, "mse"],
        "tokens_per_example": [*NEVER_ABOVE_0, None],
        "data_unit": NEVER_TEXT,
        **SIZES,
    },
    lambda **options: plan_sweep(TinyMLP, "width", **{"compute_budgets": [1e9]} | options): {
        **SIZES,
        **GRID,
    },
    hand_made: {
        "experiment_id": [*NEVER_TEXT, None, "a/b", "..", ".a", "a\nb", "a\\b"],
        "size_param_value": [*NEVER_COUNTS, None],
        "num_params": [value for value in [*NEVER_COUNTS, None] if value != 3.0],  # 1e9 is a whole number here
        "num_tokens": [value for value in [*NEVER_COUNTS, None] if value != 3.0],
        "tokens_per_param": NEVER_ABOVE_0,
        "size_param": [*NEVER_TEXT, None],
        "flops_per_token": NEVER_ABOVE_0,
        "seed": [*NEVER_WHOLE, None],
        "measured_flops_per_token": NEVER_AT_LEAST_0,
        "total_params": NEVER_OPTIONAL_COUNT,
        "activation_bytes_per_token": NEVER_AT_LEAST_0,
    },
    lambda **options: DroppedPoint(**{"compute_budget": 1e9, "num_params": 1.0, "reason": "none"} | options): {
        "compute_budget": [*NEVER_ABOVE_0, None],
        "num_params": [*NEVER_ABOVE_0, None],
        "reason": [*NEVER_TEXT, None],
        "size_param_value": NEVER_COUNTS,
    },
    lambda **options: export_slurm(plan(experiments=[hand_made(compute_budget=1e9)]), **{"command": "t"} | options): {
        "command": [*NEVER_TEXT, None],
        "name": [*NEVER_TEXT, None],
        "options": [3, "gres=gpu:1", None],
        "max_parallel": NEVER_COUNTS,
    },
    measure_peak: {"device": [*NEVER_A_CHOICE, "mps"], "precision": [*NEVER_A_CHOICE, "float64"]},
    lambda **options: find_optimal(TinyMLP, "width", compute_budgets=[1e9], **options): {
        "train": NEVER_FLAGS,
        "resume": NEVER_FLAGS,
        "progress": NEVER_FLAGS,
        "on_log": [3, "print"],
        "output_dir": [3, None, ["runs"]],
        "workers": NEVER_COUNTS,
        "learning_rate": [0, "fast", None],
        "max_epochs": [*NEVER_ABOVE_0, None],
    },
    plan: {
        "experiments": [None, 3, {}, "a", [3]],
        "model_cls_name": [*NEVER_TEXT, None],
        "size_param": [*NEVER_TEXT, None],
        "model_kwargs": [*NEVER_ARGUMENTS, None],
        "param_count": NEVER_A_CHOICE,
        "flops_method": NEVER_A_CHOICE,
        "data_unit": [*NEVER_TEXT, None],
    },
    entry: {
        "size": [*NEVER_COUNTS, None],
        "num_params": [*NEVER_COUNTS, None],
        "flops_per_token": [*NEVER_ABOVE_0, None],
        "total_params": NEVER_OPTIONAL_COUNT,
        "measured_flops_per_token": NEVER_AT_LEAST_0,
        "own_num_params": NEVER_COUNTS,
    },
    size_map: {
        "model_name": [*NEVER_TEXT, None],
        "entries": [(), [], None, 3, [3]],
        "param_count": NEVER_A_CHOICE,
        "flops_method": NEVER_A_CHOICE,
        "flops_per_param_per_token": [*NEVER_ABOVE_0, None],
    },
    result: {
        "status": NEVER_A_CHOICE,
        "source": NEVER_A_CHOICE,
        "loss": [*NEVER_A_NUMBER, None],
        "train_loss": NEVER_A_NUMBER,
        "flops": [*NEVER_AT_LEAST_0, None],
        "num_tokens": [*NEVER_WHOLE, None],
        "steps": [*NEVER_WHOLE, None],
        "seconds": [*NEVER_AT_LEAST_0, None],
    },
}  # fmt: skip
CASES = [
    pytest.param(make, field, values, id=f"{index}-{field}")
    for index, (make, fields) in enumerate(FIELDS.items())
    for field, values in fields.items()
]
BUDGETED = [
    SweepOptions,
    lambda **given: plan_from_size_map(MAP, **given),
    lambda **given: plan_from_counts([1e6], **given),
    lambda **given: plan_sweep(TinyMLP, "width", **given),
    plan,
]


@pytest.mark.parametrize(("make", "field", "values"), CASES)
def test_a_value_outside_its_limits_is_refused_by_its_name(make, field, values):
    for value in values:
        with pytest.raises(FlopsFitError) as refused:
            pytest.fail(f"{field} = {value!r} was taken: {make(**{field: value})!r}")
        message, shown = str(refused.value), repr(value)
        assert field in message or field.rstrip("s").replace("_", " ") in message
        assert len(message) < 700
        assert len(shown) > 100 or shown.strip("[](),") in message or any(repr(item) in message for item in value)


@pytest.mark.parametrize("make", BUDGETED)
def test_budgets_that_are_none_are_refused(make):
    for value in NEVER_BUDGETS:
        with pytest.raises(FlopsFitError, match=r"compute.budget") as refused:
            make(compute_budgets=value)
        assert len(str(refused.value)) < 700


def test_numbers_of_numpy_are_as_good_as_pythons_own():
    study = (
        Recipe(seed=np.int64(3), learning_rate=np.float32(0.5)),
        Hardware(workers=np.int64(2), peak_flops=np.float64(1)),
    )
    kinds = [type(value) for value in (study[0].seed, study[0].learning_rate, study[1].workers, study[1].peak_flops)]
    assert kinds == [int, float, int, float]
    spec = ModelSpec(**MODEL, size_values=np.array([4, 8]), max_size=np.int32(8))
    assert (spec.size_values, spec.max_size) == ((4, 8), 8)


@pytest.mark.parametrize(
    "line", ["0 6 * * *", "*/15 * * * *", "0 0,12 1-15 jan-JUN mon-fri", "5 4 l * 7", "00 06 01 12 0"]
)
def test_a_schedule_is_a_cron_line_that_dagster_takes(line):
    from dagster._utils.schedules import is_valid_cron_schedule

    assert ScheduleSpec(cron=line).cron == line
    assert is_valid_cron_schedule(line)
