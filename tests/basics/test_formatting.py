"""Numbers as people read them."""

import pytest

from flops_fit.basics.formatting import (
    format_count,
    format_flops,
    format_loss,
    format_money,
    format_seconds,
    markdown_table,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (999_999, "1.00M"),
        (21_300, "21.3k"),
        (7e9, "7.00B"),
        (1.4e12, "1.40T"),
        (0.5, "0.50"),
        (7.1449e38, "7.14e+38"),
        (3e-57, "3.00e-57"),
    ],
)
def test_counts(count, text):
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (9.9, "9.9 s"),
        (75, "75 s"),
        (600, "10 min"),
        (5000, "83 min"),
        (7500, "2 h 5 min"),
        (400_000, "4.6 days"),
    ],
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


def test_flops_money_and_tables():
    assert format_flops(6e10) == "6.00e+10"
    assert format_money(1234.5) == "$1,234.50"
    assert markdown_table(["a", "b"], [[1, "x|y"]]) == "| a | b |\n|---|---|\n| 1 | x\\|y |"


def test_losses_far_from_one_are_powers_and_never_seventy_digits():
    assert [format_loss(x) for x in (2.1, 0.0, 0.0123, 3.2e-12, 1e70)] == [
        "2.1000", "0.0000", "0.0123", "3.2000e-12", "1.0000e+70",
    ]  # fmt: skip
