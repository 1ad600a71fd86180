"""A plan that no law can be fitted to is refused before anything is trained: five parameters need six trainings."""

import re
import warnings

import pytest
import torch
from tiny_study import OPTIONS, TinyMLP, held_out, train

from flops_fit import Experiment, SweepPlan, find_optimal, fit_scaling_law, plan_from_size_map
from flops_fit.errors import FitError, FlopsFitWarning, StudyError
from flops_fit.sizes.size_map import SizeEntry, SizeMap
from flops_fit.sweep.enough import refuse_too_few
from flops_fit.synthetic import synthetic_runs


def plan_of(*pairs, seeds=(0,)):
    """Experiments of these parameters and tokens, each with these seeds."""
    items = [Experiment(f"{n}-{d}-{seed}", 1e9, n, n, d, seed=seed) for n, d in pairs for seed in seeds]
    return SweepPlan(items, "Model", "width", [1e9])


def test_six_different_trainings_are_enough_and_five_are_not():
    pairs = [(100, 1000), (100, 2000), (200, 1000), (200, 2000), (300, 1000), (300, 2000)]
    assert plan_of(*pairs).too_few is None
    assert plan_of(*pairs[:5]).too_few == (
        "the plan has 5 experiments that differ in size or tokens, too few for a law of 5 parameters, which needs at "
        "least 6; give more compute_budgets or a larger num_sizes_per_budget"
    )


def test_one_budget_is_too_few_however_many_its_sizes_are():
    plan = plan_of(*((100 * size, 60_000 // size) for size in range(1, 10)))
    assert plan.too_few.startswith("the plan has one compute budget, at which tokens follow from the size")
    law = fit_scaling_law(synthetic_runs(compute_budgets=(1e18,), sizes_per_budget=9, noise=0.002), bootstraps=10)
    assert not law.determined, "which is why"


def test_other_seeds_of_the_same_training_do_not_count():
    assert "has 2 experiments that differ" in plan_of((100, 1000), (200, 1000), seeds=(0, 1, 2, 3)).too_few


def train_on(folder, budgets, **changes):
    return find_optimal(
        TinyMLP, "width", None, train(), torch.nn.functional.cross_entropy, budgets,
        eval_dataset=held_out(), output_dir=folder, **OPTIONS | changes,
    )  # fmt: skip


def test_find_optimal_refuses_before_it_trains_and_trains_when_told(tmp_path):
    with pytest.raises(StudyError, match=r"nothing was trained: the plan has 4 .*; train_anyway=True trains it"):
        train_on(tmp_path, [4e6])
    assert not list(tmp_path.iterdir())
    with pytest.raises(FitError, match="4 usable runs cannot fix the law's 5 parameters"):
        train_on(tmp_path, [4e6], train_anyway=True)
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 4


def test_a_recipe_is_not_tuned_for_what_is_refused(tmp_path):
    with pytest.raises(StudyError, match="nothing was trained: the plan has 4"):
        train_on(tmp_path, [4e6], learning_rate="tune")
    assert not list(tmp_path.iterdir())


# -- an empty plan says one thing to change -------------------------------------------------------------------------

MAP = SizeMap(
    model_name="Model",
    size_param="width",
    entries=tuple(SizeEntry(size=2**k, num_params=10**3 * 4**k, flops_per_token=6e3 * 4**k) for k in range(5)),
)


@pytest.mark.parametrize(
    ("budgets", "options", "problem"),
    [
        (  # 0.1 · 6 · 1000² = 6e5
            [1e4, 1e5], {},
            r"the smallest \(width=1, 1.00k parameters\) would see 0.017 tokens per parameter; raise the budget to at "
            r"least 6.00e\+05 or add smaller sizes",
        ),
        (  # 1000 · 6 · 256,000² = 3.93e14
            [1e16, 1e17], {},
            r"the largest \(width=16, 256k parameters\) would see 2.5e\+05 tokens per parameter; lower the budget to "
            r"at most 3.93e\+14 or allow larger sizes",
        ),
        ([1e10, 1e11], {"dataset_tokens": 1000}, r"needs .* tokens, .* epochs of the 1.00k there are, .*; add data"),
    ],
)  # fmt: skip
def test_an_empty_plan_says_one_thing_to_change(budgets, options, problem):
    with pytest.warns(FlopsFitWarning, match="admits no size"):
        plan = plan_from_size_map(MAP, budgets, **options)
    said = plan.too_few
    assert plan.num_experiments == 0
    assert said.startswith("the plan has no experiments to train: budget ")
    assert said.count("budget to at") + said.count("add data") == 1
    assert re.search(problem, said), said
    assert said in plan.summary()
    assert len(plan.notes) == 1


FINE = SizeMap(
    model_name="Fine",
    size_param="width",
    entries=tuple(
        SizeEntry(size=10 + k, num_params=round(1000 * 1.4**k), flops_per_token=6e3 * 1.4**k) for k in range(25)
    ),
)


@pytest.mark.parametrize(
    ("budgets", "options"), [([1e3, 1e4, 1e5], {}), ([1e18, 1e19], {}), ([1e14], {"dataset_tokens": 1_000_000})]
)
def test_an_empty_plan_names_budgets_that_would_do_and_they_do(budgets, options):
    with pytest.warns(FlopsFitWarning, match="admits no size"):
        said = plan_from_size_map(FINE, budgets, **options).too_few
    named = re.search(r"; budgets from (\S+) to (\S+) FLOPs would have at least 4 sizes each$", said)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)  # of data that is repeated
        plan = plan_from_size_map(FINE, named.groups(), **options)
    assert all(len(items) >= 4 for items in plan.by_budget().values())
    assert plan.too_few is None
    with pytest.raises(StudyError) as refused:
        refuse_too_few(said, "--train-anyway")
    assert "--train-anyway" not in str(refused.value)
