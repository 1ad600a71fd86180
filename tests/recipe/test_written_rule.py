"""Rules as they are written: read the way a person means them, or not at all."""

import pytest

from flops_fit.recipe.written_rule import WrittenRule

NAMES = ("params", "tokens", "batch")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5*sqrt(tokens)", 0.5 * 400),
        ("2 * tokens ** 0.5", 2 * 400),
        ("3*tokens", 3 * 160_000),
        ("1e-2*batch^1.5*params^-1", 0.01 * 64**1.5 / 10_000),
        ("0.1*sqrt(batch/params)", 0.1 * 0.08),
        ("0.1*sqrt(batch)*sqrt(batch)", 6.4),
        ("min(0.02, 5*sqrt(batch/params))", 0.02),
        (" min( 0.5 , 5*sqrt(batch/params) ) ", 0.4),
    ],
)
def test_a_rule_is_the_number_that_it_says(text, expected):
    rule = WrittenRule.read(text, NAMES)
    assert rule(params=10_000, tokens=160_000, batch=64) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    ["", "3", "tokens", "0*tokens", "-1*tokens", "1e999*tokens", "1.2.3*tokens", "2*tokens^", "2*tokens+1",
     "2*log(tokens)", "min(0, 1*tokens)", "min(1, 2*tokens", "2*depth", "2*sqrt(tokens/depth)", "2*tokens*"],
)  # fmt: skip
def test_what_is_no_rule_is_none(text):
    assert WrittenRule.read(text, NAMES) is None


def test_only_the_quantities_that_are_known_may_stand_in_it():
    assert WrittenRule.read("2*params", ("tokens",)) is None
