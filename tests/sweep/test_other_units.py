"""Units of data that are no tokens: of images 20 to a parameter is no centre, as one costs what many tokens do."""

import math

import pytest

from flops_fit import plan_from_size_map
from flops_fit.errors import FlopsFitWarning
from flops_fit.sizes.size_map import SizeEntry, SizeMap

COST = 450.0  # of an image, over 6 N, as of a small UNet
IMAGES = 60_000


def convolutions(unit="example", cost=COST):
    """Sizes whose parameters grow by a tenth each, from a thousand to a billion."""
    counts = [round(1000 * 1.1**index) for index in range(146)]
    entries = [
        SizeEntry(size=index + 1, num_params=count, flops_per_token=6.0 * count * cost)
        for index, count in enumerate(counts)
    ]
    return SizeMap(
        model_name="UNet", size_param="width", entries=tuple(entries), flops_method="measured", data_unit=unit
    )


BUDGETS = [1e13, 2e13, 5e13]
pytestmark = pytest.mark.filterwarnings("ignore:.* see data more than once")
MESSAGE = r"20 examples per parameter would leave 1.00e\+13.* FLOPs too few sizes .*there, C = 120 N\^2"


def test_a_model_of_images_gets_a_grid_around_as_much_compute_per_parameter_as_20_tokens():
    with pytest.warns(FlopsFitWarning, match=MESSAGE):
        plan = plan_from_size_map(convolutions(), BUDGETS, dataset_tokens=IMAGES)
    for budget, items in plan.by_budget().items():
        assert len(items) == 7
        middle = items[3]
        assert middle.num_params == pytest.approx(math.sqrt(budget / 120), rel=0.05)
        assert middle.num_tokens == pytest.approx(budget / (6 * middle.num_params * COST), rel=0.01)
        assert items[-1].num_params / items[0].num_params == pytest.approx(36, rel=0.1)


def test_each_budget_is_still_planned_as_if_it_were_the_only_one():
    with pytest.warns(FlopsFitWarning, match="20 examples per parameter"):
        whole = plan_from_size_map(convolutions(), BUDGETS, dataset_tokens=IMAGES)
    with pytest.warns(FlopsFitWarning, match="20 examples per parameter"):
        alone = plan_from_size_map(convolutions(), BUDGETS[1:2], dataset_tokens=IMAGES)
    assert alone.experiments == whole.by_budget()[BUDGETS[1]]


@pytest.mark.parametrize(
    ("size_map", "options"),
    [
        (convolutions("token"), {}),  # a centre of tokens is the study's own affair
        (convolutions(), {"tokens_per_param": 19.0}),  # asked for
        (convolutions(cost=1.0), {}),  # 20 to a parameter leave enough
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_else_is_centred_by_cost(size_map, options):
    plan = plan_from_size_map(size_map, BUDGETS, dataset_tokens=IMAGES * 10_000, **options)
    assert not any("per parameter would leave" in note for note in plan.notes)
    assert all(item.tokens_per_param < 1000 for item in plan.experiments)


def test_it_can_be_asked_for():
    plan = plan_from_size_map(convolutions(), BUDGETS, by_cost=True)
    assert [item.num_params for item in plan.experiments][3] == pytest.approx(math.sqrt(1e13 / 120), rel=0.05)
