"""`size_multiple`: only multiples of a number, or powers of two, are sizes; nothing else of a study changes."""

import planning_models as models
import pytest

from flops_fit import Study, build_size_map, plan_from_size_map, plan_sweep
from flops_fit.errors import ModelContractError, PlanError
from flops_fit.study import ModelSpec, SweepOptions

BUDGETS = [1e11, 1e12]


def hidden(width):
    """N of `models.CharMLP` without its embedding."""
    return width**2 + 258 * width + 128


@pytest.mark.parametrize("multiple", [2, 48, 64, 100])
def test_every_size_is_a_multiple_and_counts_as_it_should(multiple):
    size_map = build_size_map(models.CharMLP, "width", size_multiple=multiple, max_params=1e9)
    assert size_map.entries[0].size == multiple
    assert size_map.entries[-1].num_params > 0.7e9
    for entry in size_map.entries:
        assert entry.size % multiple == 0
        assert entry.num_params == hidden(entry.size)
    assert size_map.size_multiple == multiple


def test_powers_of_two_are_all_there_are():
    size_map = build_size_map(models.CharMLP, "width", size_multiple="powers of two", max_params=2e7)
    assert [entry.size for entry in size_map.entries] == [2**power for power in range(13)]  # 4096: 1.8e7
    (above,) = size_map.skipped
    assert (above.size, above.num_params) == (8192, hidden(8192))
    assert size_map == type(size_map).from_dict(size_map.to_dict())


def test_powers_of_two_that_the_model_refuses_are_skipped():
    size_map = build_size_map(models.GPT, "width", {"heads": 8}, size_multiple="power of 2", max_params=1e9)
    assert [entry.size for entry in size_map.entries][:3] == [8, 16, 32]
    assert size_map.size_multiple == "powers of two"


def test_a_model_that_takes_other_sizes_gets_those_that_are_both():
    size_map = build_size_map(models.OnlyMultiplesOf24, "width", size_multiple=64, max_params=1e9)
    assert size_map.entries[0].size == 192
    assert all(entry.size % 192 == 0 for entry in size_map.entries)


def test_sizes_stay_within_the_range_asked_for():
    size_map = build_size_map(models.CharMLP, "width", size_multiple=64, min_size=100, max_size=1000)
    sizes = [entry.size for entry in size_map.entries]
    assert sizes == list(range(128, 961, 64))


def test_one_is_as_if_it_were_left_out():
    one, none = (build_size_map(models.CharMLP, "width", size_multiple=m, max_params=1e7) for m in (1, None))
    assert one == none


def test_experiments_at_sizes_that_were_there_before_keep_their_ids():
    plans = [
        plan_sweep(models.CharMLP, "width", None, BUDGETS, size_values=values, size_multiple=multiple, max_params=1e9)
        for values, multiple in ((None, 64), ([64, 128, 192, 256, 320, 448, 512], None))
    ]
    ids = [{item.experiment_id for item in plan.experiments} for plan in plans]
    assert len(ids[0] & ids[1]) > 5
    assert all(item.size_param_value % 64 == 0 for item in plans[0].experiments)


@pytest.mark.filterwarnings("ignore:multiples of", "ignore:budget .* admits")
def test_a_budget_with_too_few_multiples_says_which_has_enough():
    size_map = build_size_map(models.CharMLP, "width", size_multiple=256, max_params=1e9)
    plan = plan_from_size_map(size_map, [3e11, 1e17])
    (note,) = plan.notes
    assert note.startswith("multiples of 256 leave 3.00e+11 FLOPs too few sizes (")
    advised = int(note.partition("size_multiple = ")[2].partition(",")[0])
    assert 256 % advised == 0
    finer = build_size_map(models.CharMLP, "width", size_multiple=advised, max_params=1e9)
    advised_plan = plan_from_size_map(finer, [3e11, 1e17])
    assert not advised_plan.notes
    assert all(len(items) >= 4 for items in advised_plan.by_budget().values())
    assert "give a size_multiple below 256" in plan.dropped[0].reason


@pytest.mark.filterwarnings("ignore:powers of two leave")
def test_too_few_powers_of_two_are_told_of_a_number():
    size_map = build_size_map(models.CharMLP, "width", size_multiple="powers of two", max_params=1e9)
    plan = plan_from_size_map(size_map, [1e15])
    (note,) = plan.notes
    assert note.startswith("powers of two leave 1.00e+15 FLOPs too few sizes (")
    assert note.endswith("or a larger span")
    assert "give a size_multiple that is a number" in plan.too_few


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size_multiple": 64, "size_values": (64, 100)}, "size_values has 100 where size_multiple allows multiples"),
        ({"size_multiple": 64, "min_size": 65, "max_size": 100}, "no size from min_size = 65 to max_size = 100"),
        ({"size_multiple": "powers of two", "min_size": 65, "max_size": 100}, "one of the powers of two"),
        ({"size_multiple": "multiples"}, r"size_multiple = 'multiples' must be .* such as 64, or \"powers of two\""),
        ({"size_multiple": 0}, "size_multiple = 0 must be a whole number of at least 1"),
        ({"size_multiple": 6.5}, "size_multiple = 6.5 must be"),
    ],
)
def test_what_it_cannot_be_is_said(given, said):
    with pytest.raises(PlanError, match=said):
        build_size_map(models.CharMLP, "width", **given)


def test_a_model_that_takes_none_of_them_says_which_were_tried():
    with pytest.raises(ModelContractError, match=r"only multiples of 5 are tried, by size_multiple.*no multiple of 4"):
        build_size_map(models.GPT, "width", {"heads": 4}, size_multiple=5, max_size=15)


def test_it_is_part_of_the_model_section_and_of_the_map_alone():
    def study(**more):
        spec = ModelSpec(factory=models.CharMLP, size_param="width", **more)
        return Study(name="tiny", model=spec, sweep=SweepOptions(compute_budgets=BUDGETS))

    plain, even = study(), study(size_multiple=64)
    assert plain.outcome_fingerprint() == even.outcome_fingerprint()
    assert plain.model_fingerprint() != even.model_fingerprint()
    assert even.model.request().options.size_multiple == 64
