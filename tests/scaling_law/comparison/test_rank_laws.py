"""Several laws compared: the best of them, how sure that is, and whether the best value lies inside those tried."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import norm

from flops_fit import compare_laws, fit_scaling_law, rank_laws
from flops_fit.errors import FitError
from flops_fit.scaling_law.comparison.axis import Axis
from flops_fit.scaling_law.comparison.ranked_at import independent_probabilities
from flops_fit.synthetic import REPLICATION, synthetic_runs


def cheaper(times):
    """A recipe whose FLOPs per token are this much fewer: what it saves is the same share everywhere."""
    return dataclasses.replace(REPLICATION, flops_per_param_per_token=6 / times)


def exact(law):
    return fit_scaling_law(synthetic_runs(law), form="chinchilla", delta=1e-3, bootstraps=50)


def noisy(law, seed):
    return fit_scaling_law(synthetic_runs(law, noise=0.003, seed=seed), bootstraps=200)


@pytest.fixture(scope="module")
def exact_laws():
    return {"2": exact(cheaper(1.0)), "4": exact(cheaper(1.25)), "8": exact(cheaper(1.1))}


@pytest.fixture(scope="module")
def alike():
    return {str(2**seed): noisy(REPLICATION, seed) for seed in (1, 2, 3)}


def test_the_best_and_what_the_others_need(exact_laws):
    found = rank_laws(exact_laws, at=[1e21], axis="depth")
    (at,) = found.targets
    assert at.probabilities == (0, 1, 0)
    assert (at.best, at.told_apart, at.rivals) == (1, True, [])
    assert at.multipliers[1] is None
    assert [at.multipliers[place].value for place in (0, 2)] == pytest.approx([1.25, 1.25 / 1.1], rel=1e-4)
    assert found.sentences == (
        "depth 4 is the best at 1.00e+21 FLOPs with more than 99 %: 2 needs 1.25 times the compute (1.25 to 1.25), 8 "
        "needs 1.14 times the compute (1.14 to 1.14); the best depth lies inside those tried, between 2 and 8, with "
        "more than 99 %",
    )
    assert "add depth" not in found.summary()


def test_a_best_value_at_the_edge_says_what_to_add(exact_laws):
    two = {name: exact_laws[name] for name in ("2", "4")}
    said = rank_laws(two, at=1e21, axis="depth").summary()
    assert "4 is the largest depth tried, so that the optimum may lie beyond it" in said
    assert "  -> add depth = 8 to see whether the optimum lies there: depth = [2, 4, 8]" in said
    turned = rank_laws({"8": exact_laws["4"], "32": exact_laws["8"]}, at=1e21, axis="depth").summary()
    assert "8 is the smallest depth tried" in turned
    assert "add depth = 2 to see whether the optimum lies there: depth = [2, 8, 32]" in turned


def test_nothing_lies_below_zero(exact_laws):
    found = rank_laws({"0": exact_laws["4"], "0.1": exact_laws["8"]}, at=1e21, axis="decay")
    assert "0 is the smallest decay tried, and none lies beyond it" in found.sentences[0]
    assert "add decay" not in found.summary()


def test_values_without_an_order_have_no_edge(exact_laws):
    named = dict(zip(("gelu", "relu", "silu"), exact_laws.values(), strict=True))
    for axis, best in (("activation", "activation relu"), (None, "relu")):
        ranking = rank_laws(named, at=1e21, axis=axis)
        assert "inside" not in ranking.summary()
        assert "->" not in ranking.summary()
        assert ranking.sentences[0].startswith(f"{best} is the best at 1.00e+21 FLOPs")


def test_what_is_alike_cannot_be_told_apart(alike):
    found = rank_laws(alike, at=[1e20, 1e22])
    for at in found.targets:
        assert sum(at.probabilities) == pytest.approx(1)
        assert not at.told_apart
        assert at.rivals
    assert "cannot be told apart from" in found.sentences[0]
    assert "flops-fit suggest two.json --target 1e+20" in found.summary(
        dict.fromkeys(alike, "flops-fit suggest two.json")
    )


def test_two_laws_are_as_compared(alike):
    two = {name: alike[name] for name in ("2", "4")}
    ranked, compared = rank_laws(two, at=1e21).targets[0], compare_laws(two, at=1e21).targets[0]
    assert ranked.probabilities == (compared.probability, 1 - compared.probability)
    needed = next(one for one in ranked.multipliers if one is not None)
    assert needed == compared.multipliers[ranked.best]


def test_the_order_of_laws_changes_no_probability(alike):
    turned = dict(reversed(alike.items()))
    one, other = rank_laws(alike, at=1e21).targets[0], rank_laws(turned, at=1e21).targets[0]
    assert other.probabilities == pytest.approx(one.probabilities[::-1], abs=1e-12)


def test_probabilities_are_those_of_all_combinations():
    generator = np.random.default_rng(0)
    draws = [np.round(generator.normal(place, 1, 7), 1) for place in (0, 0.3, 0.1)]
    wins = np.zeros(3)
    for a in draws[0]:
        for b in draws[1]:
            for c in draws[2]:
                lowest = np.array([a, b, c]) == min(a, b, c)
                wins += lowest / lowest.sum()
    assert independent_probabilities(draws) == pytest.approx(wins / wins.sum(), abs=0.01)  # ties of three are shared so


def test_probabilities_of_normal_draws_are_the_integral():
    generator = np.random.default_rng(1)
    centres = (0.0, 0.4, 0.9)
    draws = [generator.normal(centre, 1, 40_000) for centre in centres]
    x = np.linspace(-6, 7, 4001)
    wanted = [
        np.trapezoid(norm.pdf(x, own) * np.prod([norm.sf(x, other) for other in centres if other != own], axis=0), x)
        for own in centres
    ]
    assert independent_probabilities(draws) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("laws", [3, 5])
def test_of_recipes_that_are_one_in_twenty_at_most_is_called_the_best(laws):
    """Each law's draws lie around its own estimate, which is off by as much as they are wide."""
    generator = np.random.default_rng(laws)
    spread = norm.ppf((np.arange(400) + 0.5) / 400)
    called = [
        max(independent_probabilities([estimate + spread for estimate in generator.normal(size=laws)])) >= 0.975
        for _ in range(400)
    ]
    assert np.mean(called) <= 0.05


def test_a_law_that_its_runs_do_not_determine_is_left_out(exact_laws):
    few = fit_scaling_law(synthetic_runs(REPLICATION, compute_budgets=(1e18,), sizes_per_budget=8), bootstraps=20)
    assert not few.determined
    found = rank_laws({"2": exact_laws["2"], "3": few, "4": exact_laws["4"]}, at=1e21, axis="depth")
    assert found.names == ("2", "4")
    assert "note: 3 is left out: its runs do not determine a law" in found.summary()
    with pytest.raises(FitError, match="of 2 laws 1 is determined by the runs"):
        rank_laws({"3": few, "4": exact_laws["4"]}, at=1e21)


def test_what_it_gives_is_plain_and_drawn(alike):
    found = rank_laws(alike, at=[1e20, 1e22], axis="depth")
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["axis"] == {"name": "depth", "values": [2, 4, 8]}
    assert [at["best"] in alike for at in content["targets"]] == [True, True]
    assert found.table().count("\n") == 1 + 2 * 3
    assert found._repr_html_().count("<tr>") == 1 + len(found.rows)
    curves, values = found.plot().axes
    assert [line.get_label() for line in curves.get_lines() if not line.get_label().startswith("_")] == [
        "depth 2", "depth 4", "depth 8"
    ]  # fmt: skip
    assert [tick.get_text() for tick in values.get_xticklabels()] == ["2", "4", "8"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"laws": {"a": "law"}}, "must be two or more laws by name"),
        ({"laws": {"a": 1, "b": 2}}, "'a' is int, no law; give what fit_scaling_law returns"),
        ({"values": [1, 2, 3]}, "without axis, what they are of"),
        ({"axis": "depth", "values": [1]}, r"values = \[1\] are 1 for 3 laws"),
        ({"at": []}, "names no compute"),
    ],
)
def test_what_cannot_be_meant_is_refused(exact_laws, given, message):
    with pytest.raises(FitError, match=message):
        rank_laws(**{"laws": exact_laws, "at": 1e21} | given)


@pytest.mark.parametrize(
    ("values", "place", "new"),
    [
        ([32, 64, 128], 2, 256),
        ([32, 64, 128], 0, 16),
        ([1, 2], 0, None),
        ([0.1, 0.2], 1, 0.4),
        ([0, 1, 2], 2, 4),
        ([0, 1, 2], 0, None),
        ([0.0, 0.1], 1, 0.2),
        ([-2.0, -1.0], 0, -3.0),
        ([3, 1, 2], 0, 4),
    ],
)
def test_what_lies_beyond(values, place, new):
    assert Axis(name="depth", values=values).beyond(place) == new
