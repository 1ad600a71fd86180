"""Arithmetic on names, such as `"64*depth"` or `"8*width/3 rounded to 128"`, evaluated exactly and without `eval`."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flops_fit.errors import ModelContractError

Number = Fraction | float  # a fraction as long as it can be one

MAX_LENGTH = 400
MAX_DIGITS = 600  # in binary, of what a power gives
LARGEST = 1e30
HOW = (
    "give numbers, names, + - * / // % ** and parentheses, min, max, round, ceil, floor, sqrt, log2, float, and "
    '"rounded to", "rounded up to" or "rounded down to" with a number after it'
)

_ROUNDED = re.compile(r"\brounded(?:\s+(up|down))?\s+to\b(?:\s+(?:a\s+)?multiples?\s+of\b)?")
_SIGN = {None: " | ", "up": " ^ ", "down": " & "}  # operators that bind less than all arithmetic


class NotWhole(ValueError):
    """An expression that is not a whole number at this size."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """One expression, read and checked.

    Attributes:
        name: what it gives the value of.
        text: as it was written.
        names: that it refers to.
    """

    name: str
    text: str
    names: frozenset[str]

    @classmethod
    def read(cls, name: str, content: Any) -> Expression:
        """The expression in `content`, text or a number; raises `ModelContractError` for anything else."""
        if isinstance(content, int | float) and not isinstance(content, bool):
            content = repr(content)
        if not isinstance(content, str) or not content.strip() or len(content) > MAX_LENGTH:
            raise ModelContractError(
                f'sizes.{name} = {content!r:.120} must be an expression, such as "64*depth", of at most {MAX_LENGTH} '
                "characters"
            )
        names = {node.id for node in ast.walk(_tree(name, content)) if isinstance(node, ast.Name)}
        return cls(name=name, text=content, names=frozenset(names - _FUNCTIONS.keys()))

    def value(self, known: Mapping[str, Number]) -> Number:
        """What it is where names are as `known`; raises `ValueError` where it has no value."""
        try:
            found = _value(_tree(self.name, self.text), known)
            if not abs(float(found)) <= LARGEST:
                raise OverflowError
        except ZeroDivisionError as error:
            raise ValueError(f"{self.name} = {self.text!r} divides by zero") from error
        except OverflowError as error:
            raise ValueError(f"{self.name} = {self.text!r} is above {LARGEST:g}") from error
        except _NoValue as error:
            raise ValueError(f"{self.name} = {self.text!r} {error}") from error
        return found

    def argument(self, found: Number) -> int | float:
        """`found` as it is given to a model: a whole number, or what `float(...)` gives; raises `NotWhole`."""
        if _gives_float(_tree(self.name, self.text)):
            return float(found)
        if isinstance(found, float) and found.is_integer():
            found = Fraction(found)
        if isinstance(found, float) or found.denominator != 1:
            raise NotWhole(
                f'{self.name} = "{self.text}" is {float(found):.6g}, which is not whole; write '
                f'"{self._rounded_text()}", or "float({self.text})" if the model takes any number'
            )
        return int(found)

    def _rounded_text(self) -> str:
        return f"round({self.text})"


class _NoValue(Exception):
    """Why an expression has no value."""


def _tree(name: str, text: str) -> ast.expr:
    """The syntax tree of `text`, of allowed parts alone."""
    refused = next((sign for sign in "|^&" if sign in text), None)
    if refused:
        raise _unreadable(name, text, f"{refused} is no arithmetic (a power is **)")
    try:
        tree = ast.parse(_ROUNDED.sub(lambda found: _SIGN[found.group(1)], text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(name, text, "it is no arithmetic") from error
    for node in ast.walk(tree):
        if problem := _problem(node):
            raise _unreadable(name, text, problem)
    return tree


def _unreadable(name: str, text: str, problem: str) -> ModelContractError:
    return ModelContractError(f'sizes.{name} = "{text}" cannot be read: {problem}; {HOW}')


def _problem(node: ast.AST) -> str | None:
    """What is wrong with one part of an expression."""
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
            return None
        return f"{value!r:.40} is no number that it may have"
    if isinstance(node, ast.Call):
        return _problem_of_call(node)
    if isinstance(node, ast.BinOp):
        return None if type(node.op) in _OPERATORS else f"{type(node.op).__name__} is no arithmetic"
    if isinstance(node, ast.UnaryOp):
        return None if isinstance(node.op, ast.USub | ast.UAdd) else "it is no arithmetic"
    if isinstance(node, ast.Name | ast.operator | ast.unaryop | ast.expr_context):
        return None
    return f"{type(node).__name__} is no arithmetic"


def _problem_of_call(node: ast.Call) -> str | None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in _FUNCTIONS:
        return f"{name or 'that'} is no function that it may have"
    if node.keywords or any(isinstance(item, ast.Starred) for item in node.args):
        return f"{name} takes numbers alone"
    least, most = (1, math.inf) if name in ("min", "max") else (1, 1)
    if least <= len(node.args) <= most:
        return None
    hint = ', such as "8*width/3 rounded to 128" for multiples of 128' if name in ("round", "ceil", "floor") else ""
    return f"{name} takes {'at least one number' if most > 1 else 'one number'}{hint}"


def _gives_float(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "float"


def _value(node: ast.expr, known: Mapping[str, Number]) -> Number:
    if isinstance(node, ast.Constant):
        return Fraction(repr(node.value))  # 0.1 is a tenth
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, known)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, known), _value(node.right, known))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return _FUNCTIONS[node.func.id](*(_value(argument, known) for argument in node.args))


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        digits = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
        if digits * abs(exponent) > MAX_DIGITS:
            raise OverflowError
        return base ** int(exponent)
    return _real(float(base) ** float(exponent))


def _real(value: Any) -> float:
    if isinstance(value, complex) or not math.isfinite(value):
        raise _NoValue("is no real number")
    return float(value)


def _half_up(value: Number) -> Fraction:
    return Fraction(math.floor(value + Fraction(1, 2)))


def _to_multiple(way: Callable[[Number], Number]) -> Callable[[Number, Number], Number]:
    def rounded(value: Number, unit: Number) -> Number:
        if unit <= 0:
            raise _NoValue(f"rounds to multiples of {float(unit):g}, which must be above 0")
        return way(value / unit) * unit

    return rounded


def _root(value: Number) -> Number:
    if value < 0:
        raise _NoValue("takes the square root of a negative number")
    if isinstance(value, Fraction):
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if root**2 == value:
            return root
    return math.sqrt(value)


def _log2(value: Number) -> Number:
    if value <= 0:
        raise _NoValue("takes the logarithm of a number that is not above 0")
    if isinstance(value, Fraction) and value.denominator == 1 and value.numerator.bit_count() == 1:
        return Fraction(value.numerator.bit_length() - 1)
    return math.log2(value)


_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "round": _half_up,
    "ceil": lambda value: Fraction(math.ceil(value)),
    "floor": lambda value: Fraction(math.floor(value)),
    "int": lambda value: Fraction(math.trunc(value)),
    "abs": lambda value: abs(value),
    "sqrt": _root,
    "log2": _log2,
    "float": lambda value: value,
}
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
    ast.Mod: lambda left, right: left % right,
    ast.Pow: _power,
    ast.BitOr: _to_multiple(_half_up),
    ast.BitXor: _to_multiple(lambda value: Fraction(math.ceil(value))),
    ast.BitAnd: _to_multiple(lambda value: Fraction(math.floor(value))),
}
