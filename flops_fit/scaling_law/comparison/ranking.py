"""Ranking: several laws at each target, which of them is the best, with how it reads."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import markdown_table
from flops_fit.basics.html_output import boxed, plain_table
from flops_fit.scaling_law.comparison import ranking_in_words as words
from flops_fit.scaling_law.comparison.axis import Axis
from flops_fit.scaling_law.comparison.comparison import plain_values
from flops_fit.scaling_law.comparison.in_words import time_is_not_known
from flops_fit.scaling_law.comparison.ranked_at import RankedAt
from flops_fit.scaling_law.comparison.speed import Speed
from flops_fit.scaling_law.fitted import FittedLaw

if TYPE_CHECKING:
    from flops_fit.drawing.shown_figure import ShownFigure


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """Several laws compared.

    Attributes:
        laws_by_name: the laws, in the order given.
        targets: what they say at each compute that was asked for, ascending.
        axis: what is varied from law to law, where something is.
        together: whether they were fitted together, so that their draws are paired.
        notes: what could not be checked, and what was left out.
        speeds: seconds per FLOP by name, where all were trained on one device; else empty.
        time_unknown: why `speeds` is empty.
    """

    laws_by_name: Mapping[str, FittedLaw] = field(repr=False)
    targets: tuple[RankedAt, ...]
    axis: Axis | None = None
    together: bool = False
    notes: tuple[str, ...] = ()
    speeds: Mapping[str, Speed] = field(default_factory=dict, repr=False)
    time_unknown: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the laws."""
        return tuple(self.laws_by_name)

    @property
    def sentences(self) -> tuple[str, ...]:
        """For each target which law is the best, and of an axis of numbers whether its best value is inside."""
        return tuple(
            "; ".join(
                filter(
                    None, [words.sentence(at, self.names, self.axis), words.axis_sentence(at, self.names, self.axis)]
                )
            )
            for at in self.targets
        )

    @property
    def headers(self) -> tuple[str, ...]:
        """Of the table."""
        return words.headers(self.axis, in_time=bool(self.speeds))

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Of the table: for each target one for each law."""
        return [row for at in self.targets for row in words.rows(at, self.names)]

    def table(self) -> str:
        """A Markdown table, for each target a row for each law."""
        return markdown_table(self.headers, self.rows)

    def summary(self, commands: Mapping[str, str] | None = None) -> str:
        """The answer as text; `commands` are as of `Comparison.summary`."""
        lines = []
        for at, said in zip(self.targets, self.sentences, strict=True):
            lines.append(said)
            if self.speeds and at.told_apart:
                lines.append(f"  {words.time_sentence(at, self.laws_by_name, self.speeds)}")
            if not at.told_apart:
                lines.append(f"  -> {words.remedy(at, self.names, commands or {})}")
            lines += [f"  -> {to_add}"] if (to_add := words.to_add(at, self.axis)) else []
        unclear = not self.together and not all(at.told_apart for at in self.targets)
        notes = [*self.notes, *([words.APART] if unclear else [])]
        notes += [time_is_not_known(self.time_unknown)] if self.time_unknown else []
        return "\n".join([*dict.fromkeys(lines), *(f"note: {note}" for note in notes)])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values without the laws (infinity as null); `sentences` included."""
        targets = [
            asdict(at) | {"told_apart": at.told_apart, "best": self.names[at.best], "sentence": said}
            for at, said in zip(self.targets, self.sentences, strict=True)
        ]
        content = {
            "names": self.names,
            "axis": None if self.axis is None else {"name": self.axis.name, "values": list(self.axis.values)},
            "together": self.together,
            "targets": targets,
            "notes": self.notes,
            "timed_on": next((speed.device for speed in self.speeds.values()), None),
        }
        plain: dict[str, Any] = plain_values(content)
        return plain

    def plot(self) -> ShownFigure:
        """Loss curves against compute with bands, and the loss of each law at the targets, as a matplotlib figure."""
        from flops_fit.scaling_law.figures.ranking_plot import ranking_figure

        return ranking_figure(self.laws_by_name, self.targets, self.axis)

    def _repr_html_(self) -> str:
        """Sentences and table, for notebooks."""
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.summary().splitlines())
        return boxed(said + plain_table(self.headers, self.rows, wrapped=True))
