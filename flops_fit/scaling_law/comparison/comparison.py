"""Comparison: two laws at each target, with how it reads."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flops_fit.basics.formatting import markdown_table
from flops_fit.basics.html_output import boxed, plain_table
from flops_fit.scaling_law.comparison import in_words
from flops_fit.scaling_law.comparison.at_target import AtTarget
from flops_fit.scaling_law.comparison.crossing import Crossing
from flops_fit.scaling_law.comparison.speed import Speed, beyond_timed
from flops_fit.scaling_law.fitted import FittedLaw

if TYPE_CHECKING:
    from flops_fit.drawing.shown_figure import ShownFigure


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Two laws compared.

    Attributes:
        names: of the first and the second law.
        laws: the laws.
        targets: what they say at each compute that was asked for, ascending.
        crossings: where their loss curves cross, ascending.
        together: whether they were fitted together, so that their draws are paired.
        notes: what could not be checked.
        speeds: seconds per FLOP of both by name, where both were trained on one device; else empty.
        time_unknown: why `speeds` is empty.
    """

    names: tuple[str, str]
    laws: tuple[FittedLaw, FittedLaw] = field(repr=False)
    targets: tuple[AtTarget, ...]
    crossings: tuple[Crossing, ...]
    together: bool
    notes: tuple[str, ...] = ()
    speeds: Mapping[str, Speed] = field(default_factory=dict, repr=False)
    time_unknown: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each target."""
        return tuple(in_words.sentence(at, self.names) for at in self.targets)

    @property
    def laws_by_name(self) -> dict[str, FittedLaw]:
        """The laws by name."""
        return dict(zip(self.names, self.laws, strict=True))

    @property
    def headers(self) -> tuple[str, ...]:
        """Of the table."""
        return in_words.headers(self.names, in_time=bool(self.speeds))

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Of the table, one for each target."""
        return [in_words.row(at) for at in self.targets]

    def table(self) -> str:
        """A Markdown table, a row for each target."""
        return markdown_table(self.headers, self.rows)

    def summary(self, commands: Mapping[str, str] | None = None) -> str:
        """The answer as text: a sentence for each target with its remedy, crossings, and what could not be checked.

        `commands` are the beginnings of what is typed to find the next experiments, by name of the law; in Python's
        words where left out.
        """
        lines = []
        for at, said in zip(self.targets, self.sentences, strict=True):
            lines.append(said)
            lines.append(f"  {in_words.optima_sentence(at, self.names)}")
            if at.time_multipliers is not None:
                outside = beyond_timed(at.compute, self.laws_by_name, self.speeds)
                device = self.speeds[self.names[0]].device
                lines.append(f"  {in_words.time_sentence(at, self.names, device, outside)}")
            if not at.told_apart:
                start = (commands or {}).get(self.names[at.looser])
                typed = f"{start} --target {at.compute:g}" if start else None
                lines.append(f"  -> {in_words.remedy(at, self.names, typed)}")
        lines += map(in_words.crossing_sentence, self.crossings)
        lines += [] if self.crossings else ["the curves do not cross where the runs and the targets are"]
        unclear = not self.together and not all(at.told_apart for at in self.targets)
        unknown = [in_words.time_is_not_known(self.time_unknown)] if self.time_unknown else []
        notes = [*self.notes, *([in_words.APART] if unclear else []), *unknown]
        return "\n".join([*lines, *(f"note: {note}" for note in notes)])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values without the laws (infinity as null); `sentences` included."""
        targets = [
            asdict(at) | {"told_apart": at.told_apart, "optima_differ": at.optima_differ, "sentence": said}
            for at, said in zip(self.targets, self.sentences, strict=True)
        ]
        content = {
            "names": self.names,
            "together": self.together,
            "targets": targets,
            "crossings": [asdict(crossing) for crossing in self.crossings],
            "notes": self.notes,
            "timed_on": next((speed.device for speed in self.speeds.values()), None),
        }
        plain: dict[str, Any] = plain_values(content)
        return plain

    def plot(self) -> ShownFigure:
        """Both loss curves against compute with bands and crossings, and their ratio, as a matplotlib figure."""
        from flops_fit.scaling_law.figures.comparison_plot import comparison_figure

        return comparison_figure(
            self.laws_by_name,
            [at.compute for at in self.targets],
            [crossing.compute for crossing in self.crossings],
        )

    def _repr_html_(self) -> str:
        """Sentences and table, for notebooks."""
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.summary().splitlines())
        return boxed(said + plain_table(self.headers, self.rows, wrapped=True))


def plain_values(value: Any) -> Any:
    """Plain JSON values: numbers that are not finite as None."""
    if isinstance(value, dict):
        return {name: plain_values(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(each) for each in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value
