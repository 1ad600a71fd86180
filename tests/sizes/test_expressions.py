"""Expressions of sizes: arithmetic as on paper, exact, and nothing but arithmetic."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_fit.errors import ModelContractError
from flops_fit.sizes.expressions import Expression, NotWhole


def value(text, **known):
    expression = Expression.read("x", text)
    return expression.argument(expression.value({name: Fraction(str(number)) for name, number in known.items()}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64*depth", 448),
        ("depth", 7),
        (512, 512),
        ("512", 512),
        ("(depth + 1)//2", 4),
        ("depth % 4", 3),
        ("depth**2 - 1", 48),
        ("-depth + 10", 3),
        ("2**depth", 128),
        ("max(1, depth - 9)", 1),
        ("min(depth, 4, 5)", 4),
        ("round(depth/2)", 4),  # 3.5, half up
        ("round(2.5)", 3),
        ("ceil(depth/2)", 4),
        ("floor(depth/2)", 3),
        ("int(depth/2)", 3),
        ("sqrt(depth + 2)", 3),
        ("sqrt(0.25)*2", 1),
        ("log2(depth + 1)", 3),
        ("0.1*depth*10", 7),  # not 7.000000000000001
        ("1.1*64*10", 704),
        ("8*(64*depth)/3 rounded to 128", 1152),  # 1194.7 lies nearer to 9·128 than to 10·128
        ("8*(64*depth)/3 rounded up to 128", 1280),
        ("8*(64*depth)/3 rounded down to 128", 1152),
        ("192 rounded to 128", 256),  # half way, up
        ("100 + depth rounded to 10", 110),  # of the sum
        ("100 + (depth rounded to 10)", 110),
        ("max(128, 8*depth/3 rounded to multiples of 64)", 128),
        ("depth rounded to a multiple of 2 + 2", 8),
        ("depth rounded to 0.5*4", 8),
        ("abs(1 - depth)", 6),
    ],
)
def test_it_is_what_it_is_on_paper(text, expected):
    found = value(text, depth=7)
    assert found == expected
    assert type(found) is int


def test_a_model_that_takes_any_number_is_given_one():
    assert value("float(0.02/sqrt(2*depth))", depth=8) == pytest.approx(0.005)
    assert type(value("float(depth)", depth=8)) is float


@pytest.mark.parametrize("text", ["depth/2", "8*depth/3", "sqrt(depth)", "0.3*depth", "depth**0.5"])
def test_a_number_that_is_not_whole_is_refused_with_the_remedy(text):
    with pytest.raises(NotWhole, match=r"is not whole; write \"round\(") as caught:
        value(text, depth=7)
    assert f'"float({text})" if the model takes any number' in str(caught.value)


SIGNS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod,
}  # fmt: skip


def leaf(text):
    return text, (lambda known: known[text] if text in known else Fraction(text))


def joined(first, sign, second):
    """A pair of text and meaning from two such pairs."""
    return f"({first[0]} {sign} {second[0]})", lambda known: SIGNS[sign](first[1](known), second[1](known))


def largest(first, second):
    return f"max({first[0]}, {second[0]})", lambda known: max(first[1](known), second[1](known))


expressions = st.recursive(
    st.sampled_from([*"0123456789", "0.5", "1.25", "a", "b"]).map(leaf),
    lambda inner: st.builds(joined, inner, st.sampled_from(list(SIGNS)), inner) | st.builds(largest, inner, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(pair=expressions, a=st.integers(1, 50), b=st.integers(1, 50))
def test_it_agrees_with_fractions(pair, a, b):
    (text, meaning), known = pair, {"a": Fraction(a), "b": Fraction(b)}
    try:
        expected = Fraction(meaning(known))
    except ZeroDivisionError:
        with pytest.raises(ValueError, match="divides by zero"):
            Expression.read("x", text).value(known)
        return
    assert Expression.read("x", text).value(known) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').system('true')", "that is no function"),
        ("open('x')", "open is no function"),
        ("depth.real", "Attribute is no arithmetic"),
        ("[1, 2][0]", "Subscript is no arithmetic"),
        ("lambda: 1", "Lambda is no arithmetic"),
        ("1 if depth else 2", "IfExp is no arithmetic"),
        ("depth > 3", "Compare is no arithmetic"),
        ("depth and 3", "BoolOp is no arithmetic"),
        ("not depth", "it is no arithmetic"),
        ("(x := 3)", "NamedExpr is no arithmetic"),
        ("True", "True is no number"),
        ("'a'*9", "'a' is no number"),
        ("3j", "3j is no number"),
        ("64 depth", "it is no arithmetic"),
        ("64*depth)", "it is no arithmetic"),
        ("2^depth", r"\^ is no arithmetic \(a power is \*\*\)"),
        ("depth << 3", "LShift is no arithmetic"),
        ("depth @ 3", "MatMult is no arithmetic"),
        ("round(depth, 128)", 'round takes one number, such as "8\\*width/3 rounded to 128" for multiples of 128'),
        ("max()", "max takes at least one number"),
        ("min(*depth)", "min takes numbers alone"),
        ("round(number=3)", "round takes numbers alone"),
        ("1e31", "is no number that it may have"),
    ],
)
def test_what_is_no_arithmetic_is_refused_when_it_is_read(text, said):
    with pytest.raises(ModelContractError, match=said) as caught:
        Expression.read("width", text)
    assert str(caught.value).startswith(f'sizes.width = "{text}" cannot be read: ')
    assert '"rounded to"' in str(caught.value)


@pytest.mark.parametrize("content", [None, True, [3], {"a": 3}, "", "  ", "1+" * 300 + "1"])
def test_what_is_no_text_is_refused(content):
    with pytest.raises(ModelContractError, match=r"sizes.width = .* must be an expression"):
        Expression.read("width", content)


def test_deep_nesting_is_refused():
    with pytest.raises(ModelContractError, match="cannot be read"):
        Expression.read("width", "(" * 199 + "1" + ")" * 200)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/(depth - 7)", "divides by zero"),
        ("depth % 0", "divides by zero"),
        ("9**9**9", "is above 1e"),
        ("9.5**9.5**9.5", "is above 1e"),
        ("1e30*depth", "is above 1e"),
        ("(-depth)**0.5", "is no real number"),
        ("sqrt(-depth)", "square root of a negative number"),
        ("log2(depth - 7)", "logarithm"),
        ("depth rounded to 0", "rounds to multiples of 0, which must be above 0"),
    ],
)
def test_what_has_no_value_says_why(text, said):
    with pytest.raises(ValueError, match=said):
        value(text, depth=7)
