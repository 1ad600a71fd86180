"""What a size sets: one argument of the model, several by expressions, or those of a row in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from flops_fit.basics.arguments import did_you_mean, is_list, is_number, plain_number
from flops_fit.basics.formatting import safe_text
from flops_fit.errors import ModelContractError
from flops_fit.sizes.expressions import Expression, Number

ROW = "row"  # the size parameter of a table whose sizes are told by their place in it
_MOST_LABEL = 24


@dataclass(frozen=True, kw_only=True)
class Dial:
    """A size that is the value of one argument, and nothing else.

    Attributes:
        values: the only sizes there are; None where any may be.
    """

    size_param: str
    values: tuple[int, ...] | None = None

    @property
    def is_argument(self) -> bool:
        """Whether the size parameter is meant for the model."""
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """Arguments that a size sets besides the size parameter."""
        return ()

    @property
    def uses_size(self) -> bool:
        """Whether a size changes any of these."""
        return False

    def arguments(self, size: int) -> dict[str, Any]:
        """Name → value of these; raises `ValueError` for a size that has none."""
        return {}

    def label(self, size: int) -> str:
        """What the size is called, where it is not by its size parameter."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Expressions(Dial):
    """Arguments by expressions of the size, of each other, and of `constants`: numbers among the other arguments."""

    expressions: tuple[Expression, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_name = {item.name: item for item in self.expressions}
        known = {self.size_param, *by_name, *self.constants}
        if self.size_param in by_name:
            raise ModelContractError(
                f"sizes has {self.size_param}, which is the size parameter; take it out, or give another size_param"
            )
        for item in self.expressions:
            for name in sorted(item.names - known):
                raise ModelContractError(
                    f'sizes.{item.name} = "{item.text}" has an unknown name {name!r}; {did_you_mean(name, known)}'
                )
        self._refuse_circles(by_name)

    def _refuse_circles(self, by_name: Mapping[str, Expression]) -> None:
        done: set[str] = set()
        for start in by_name:
            path = [start]
            while path:
                inner = [name for name in sorted(by_name[path[-1]].names & by_name.keys()) if name not in done]
                if not inner:
                    done.add(path.pop())
                elif inner[0] in path:
                    circle = [*path[path.index(inner[0]) :], inner[0]]
                    raise ModelContractError(
                        f"sizes: {' needs '.join(circle)}; give one of them without the others, such as "
                        f'{circle[0]} = "64*{self.size_param}"'
                    )
                else:
                    path.append(inner[0])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.expressions)

    @property
    def uses_size(self) -> bool:
        return any(self.size_param in item.names for item in self.expressions)

    def arguments(self, size: int) -> dict[str, Any]:
        by_name = {item.name: item for item in self.expressions}
        known: dict[str, Number] = {name: Fraction(str(value)) for name, value in self.constants.items()}
        known[self.size_param] = Fraction(size)

        def find(name: str) -> Number:
            if name not in known:
                inner = {other: find(other) for other in by_name[name].names}
                known[name] = by_name[name].value(inner)
            return known[name]

        return {item.name: item.argument(find(item.name)) for item in self.expressions}


@dataclass(frozen=True, kw_only=True)
class Table(Dial):
    """Arguments in `rows`, each a size with a label; a size is the row's own `size_param`, or `numbered` from 1 on."""

    numbered: bool
    rows: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...]

    @cached_property
    def _by_size(self) -> dict[int, int]:
        assert self.values is not None
        return {size: at for at, size in enumerate(self.values)}

    @property
    def is_argument(self) -> bool:
        return not self.numbered

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in self.rows[0] if self.numbered or name != self.size_param)

    @property
    def uses_size(self) -> bool:
        return True

    def arguments(self, size: int) -> dict[str, Any]:
        if size not in self._by_size:
            raise ValueError(f"{self.size_param}={size} is no row of sizes")
        row = self.rows[self._by_size[size]]
        return {name: row[name] for name in self.names}

    def label(self, size: int) -> str:
        return self.labels[self._by_size[size]] if size in self._by_size else ""


def dial_of(size_param: str | None, sizes: Any, kwargs: Mapping[str, Any]) -> Dial:
    """The dial that `sizes` describes: left out, a mapping of expressions by name, or a list of rows.

    Raises `ModelContractError` for anything else, and for arguments that `kwargs` has too.
    """
    if size_param == ROW and isinstance(sizes, Mapping):
        raise ModelContractError(f'size_param = "{ROW}" with sizes stands for rows of a table; give another name')
    dial = (
        _table(None if size_param == ROW else size_param, sizes)
        if is_list(sizes)
        else _by_name(size_param, sizes, kwargs)
    )
    both = [name for name in (*([dial.size_param] if dial.is_argument else []), *dial.names) if name in kwargs]
    if both and both[0] == size_param:
        raise ModelContractError(
            f"model_kwargs sets {both[0]} = {kwargs[both[0]]!r}, which is the size parameter; take it out"
        )
    if both:
        raise ModelContractError(f"sizes and kwargs both set {both[0]}; take it out of one of them")
    return dial


def _by_name(size_param: str | None, sizes: Any, kwargs: Mapping[str, Any]) -> Dial:
    if size_param is None:
        raise ModelContractError(
            'size_param = None must be the name of the argument that sets the size, such as "width"; only with sizes '
            "as a table of rows may it be left out"
        )
    if not isinstance(size_param, str) or not size_param.isidentifier():
        raise ModelContractError(f"model.size_param = {size_param!r} must be the name of a constructor argument")
    if sizes is None:
        return Dial(size_param=size_param)
    if not isinstance(sizes, Mapping) or not sizes:
        raise ModelContractError(
            f"sizes = {sizes!r:.120} must be expressions by name, such as {{'width': '64*{size_param}'}}, or a list of "
            "rows, such as [{'label': 'S', 'width': 512, 'depth': 8}]"
        )
    for name in sizes:
        _need_name(name)
    return Expressions(
        size_param=size_param,
        expressions=tuple(Expression.read(name, content) for name, content in sizes.items()),
        constants={name: plain_number(value) for name, value in kwargs.items() if is_number(value)},
    )


def _need_name(name: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise ModelContractError(f"sizes has {name!r}, which must be the name of an argument")


def _table(size_param: str | None, sizes: Sequence[Any]) -> Table:
    rows: list[dict[str, Any]] = []
    labels: list[str] = []
    for at, given in enumerate(sizes, start=1):
        if not isinstance(given, Mapping):
            raise ModelContractError(
                f"row {at} of sizes = {given!r:.120} must be arguments by name, such as {{'width': 512, 'depth': 8}}"
            )
        row = {name: _plain(name, value, at) for name, value in given.items() if name != "label"}
        _check_row(row, rows[0] if rows else row, at)
        rows.append(row)
        labels.append(_label(given.get("label"), at, size_param, row))
    if len(rows) < 2:
        raise ModelContractError(f"sizes has {len(rows)} row(s), and a study compares sizes; give more")
    _refuse_twice("label", labels)
    _refuse_twice("the same arguments as another row", [repr(sorted(row.items())) for row in rows])
    values = tuple(range(1, len(rows) + 1)) if size_param is None else _own_values(size_param, rows)
    return Table(
        size_param=size_param or ROW,
        values=values,
        numbered=size_param is None,
        rows=tuple(rows),
        labels=tuple(labels),
    )


def _check_row(row: Mapping[str, Any], first: Mapping[str, Any], at: int) -> None:
    for name in row:
        _need_name(name)
    different = sorted(row.keys() ^ first.keys())
    if different:
        has, lacks = ("row 1", f"row {at}") if different[0] in first else (f"row {at}", "row 1")
        raise ModelContractError(f"sizes: {has} has {different[0]}, and {lacks} has not; give every row the same names")
    if not row:
        raise ModelContractError(f"row {at} of sizes is empty; give the arguments of that size")


def _plain(name: str, value: Any, at: int) -> Any:
    """A value of a row as JSON has it."""
    if is_number(value):
        return plain_number(value)
    if isinstance(value, bool | str):
        return value
    if is_list(value):
        return [_plain(name, item, at) for item in value]
    raise ModelContractError(
        f"row {at} of sizes has {name} = {value!r:.120}, which must be a number, text, true or false, or a list of them"
    )


def _label(given: Any, at: int, size_param: str | None, row: Mapping[str, Any]) -> str:
    if given is None:
        return f"row {at}" if size_param is None else f"{size_param}={row.get(size_param)}"
    label = given if isinstance(given, str) else str(given)
    if not label.strip() or len(label) > _MOST_LABEL or safe_text(label) != label or "\n" in label:
        raise ModelContractError(
            f"row {at} of sizes has label = {given!r:.120}, which must be text of at most {_MOST_LABEL} characters, in "
            "one line"
        )
    return label.strip()


def _own_values(size_param: str, rows: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    remedy = "give it so, or leave size_param out"
    for at, row in enumerate(rows, start=1):
        value = row.get(size_param)
        if type(value) is not int or value < 1:
            raise ModelContractError(
                f"row {at} of sizes has {size_param} = {value!r}, which must be a whole number of at least 1, as it is "
                f"the size parameter; {remedy}"
            )
    values = [row[size_param] for row in rows]
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ModelContractError(
            f"sizes has several rows with {size_param} = {twice[0]}, which as the size parameter must tell them apart; "
            "leave size_param out"
        )
    return tuple(values)


def _refuse_twice(what: str, values: Sequence[str]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            at = [index for index, other in enumerate(values, start=1) if other == value]
            named = f"{what} {value!r}" if what == "label" else what
            raise ModelContractError(f"rows {at[0]} and {at[1]} of sizes have {named}; change or remove one")
