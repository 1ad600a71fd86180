"""Calibration: how often what was found lay inside the intervals of a study's forecasts, and how far off they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.errors import FitError
from flops_fit.scaling_law.checks.verdict import LIMITS
from flops_fit.scaling_law.forecasts.score import Score, TargetScore, score_targets
from flops_fit.scaling_law.forecasts.sealed import Answer, SealedForecast
from flops_fit.scaling_law.forecasts.witnesses import hashes_of
from flops_fit.scaling_law.table.runs import Runs

NAMES = {"N_opt": "N_opt", "L_opt": "loss at N_opt", "new_run": "loss of a run"}
HEADERS = ("Made", "Compute", "Of", "Forecast", "Level", "Interval", "Verdict", "Found", "Found / forecast", "Inside")


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of `scored` forecasts of one quantity at one level, how many were `inside`, and how many were so with the error
    of what was found allowed for (`within_both`); `median_error` is of |ln|."""

    quantity: str
    level: float
    scored: int
    inside: int
    within_both: int
    median_error: float

    def __str__(self) -> str:
        error = f"x{math.exp(self.median_error):.3g}" if self.quantity == "N_opt" else f"{self.median_error:.2%}"
        more = f", {self.within_both} within both errors" if self.quantity == "N_opt" else ""
        return (
            f"{NAMES[self.quantity]}: {self.inside} of {self.scored} inside their {_percent(self.level)} intervals"
            f"{more}, where {self.level * self.scored:.1f} are expected; median error {error}"
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """All forecasts of a study, target by target, as they came out so far; `problems` are those that cannot be used."""

    scores: tuple[TargetScore, ...] = ()
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scores or self.problems)

    def coverage(self) -> list[Coverage]:
        """The record, a line for each level and quantity that has been scored."""
        found = []
        for level in sorted({score.level for score in self.scores}):
            for quantity in NAMES:
                scores = [getattr(item, quantity) for item in self.scores if item.level == level]
                if known := [score for score in scores if score is not None]:
                    found.append(_coverage(quantity, level, known))
        return found

    def trusted(self) -> list[str]:
        """Of what the laws called trustworthy, how much kept the limits that this word promises."""
        lines = []
        size, loss = f"a factor {1 + LIMITS['N_opt']:g}", _percent(LIMITS["loss"])
        for quantity, name, limit in (("N_opt", "N_opt", size), ("L_opt", "loss", loss)):
            once = {
                (item.law_version, item.target.compute): getattr(item, quantity)
                for item in self.scores
                if item.target.verdicts.get(name) == "trustworthy"
            }
            known = [score for score in once.values() if score is not None]
            kept = sum(abs(score.error) <= math.log1p(LIMITS[name]) for score in known)
            if known:
                lines.append(f"{NAMES[quantity]} called trustworthy: {kept} of {len(known)} within {limit}")
        return lines

    def counted(self) -> str:
        """How many targets there are, of how many laws, and how many are scored."""
        laws = len({score.law_version for score in self.scores})
        scored = sum(score.scored for score in self.scores)
        total = len(self.scores)
        return (
            f"{total} target{'s' if total != 1 else ''} forecast by {laws} law{'s' if laws != 1 else ''}: "
            f"{scored} scored, {total - scored} not yet"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Cells under `HEADERS`: N_opt and loss of every target, and a run where one was found."""
        return [row for score in self.scores for row in _rows(score)]

    def record(self) -> list[str]:
        """What is to be said beside the table: the counts, the record, and what cannot be used and why."""
        lines = [self.counted(), *map(str, self.coverage()), *self.trusted()] if self.scores else []
        if regrets := [score.regret for score in self.scores if score.regret is not None]:
            lines.append(
                f"regret of training the forecast's N: median {median(regrets):.2%}, at most {max(regrets):.2%}"
            )
        return [*lines, *(f"cannot be used: {problem}" for problem in self.problems)]

    def summary(self) -> str:
        """The table and the record as text."""
        table = [HEADERS, *self.rows()] if self.scores else []
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([*lines, *([""] if lines else []), *self.record()])


def calibrate(forecasts: Iterable[SealedForecast], runs: Runs, problems: Iterable[str] = ()) -> Calibration:
    """Score `forecasts`, oldest first, against `runs`; `problems` are of forecasts that could not be read."""
    scores: list[TargetScore] = []
    unusable, hashes = list(problems), hashes_of(runs)
    for forecast in sorted(forecasts, key=lambda item: item.made):
        try:
            scores += score_targets(forecast, runs, hashes)
        except (FitError, ArithmeticError) as error:  # sealed, but with values that no law gives
            unusable.append(f"{forecast!r} ({error})")
    return Calibration(scores=tuple(scores), problems=tuple(unusable))


def _coverage(quantity: str, level: float, scores: list[Score]) -> Coverage:
    return Coverage(
        quantity=quantity,
        level=level,
        scored=len(scores),
        inside=sum(score.inside for score in scores),
        within_both=sum(score.within_both for score in scores),
        median_error=median(abs(score.error) for score in scores),
    )


def _rows(score: TargetScore) -> list[tuple[str, ...]]:
    """N_opt with why it is not scored, the loss, and the run if there is one; when and where in the first row."""
    size, loss, run = score.N_opt, score.L_opt, score.new_run
    target, level, verdicts = score.target, score.level, score.target.verdicts
    cells = [
        ("N_opt", *_cells(target.N_opt, level, verdicts.get("N_opt", ""), size, format_count, score.reason)),
        ("loss", *_cells(target.L_opt, level, verdicts.get("loss", ""), loss, _loss)),
    ]
    if run is not None:
        cells.append((f"a run, N = {format_count(score.size or 0)}", *_cells(run.forecast, level, "", run, _loss)))
    starts = [(score.made[:10], format_flops(score.target.compute)), ("", ""), ("", "")]
    return [start + row for start, row in zip(starts, cells, strict=False)]


def _cells(
    sealed: Answer, level: float, verdict: str, found: Score | None, show: Callable[[float], str], why: str = ""
) -> tuple[str, ...]:
    """Forecast, level, interval, verdict, what was found, its ratio to the forecast, and whether it is inside."""
    answer = sealed if found is None else found.forecast
    said = (show(answer.value), _percent(level), f"{show(answer.low)} to {show(answer.high)}", verdict)
    if found is None:
        return *said, "–", "–", why
    ratio = math.exp(found.error)
    off = f"x{ratio:.3g}" if show is format_count else f"{ratio - 1:+.2%}"
    inside = "yes" if found.inside else "within both errors" if found.within_both else "no"
    return *said, show(found.found), off, inside


def _percent(level: float) -> str:
    return f"{100 * level:g} %"


def _loss(value: float) -> str:
    return f"{value:.4f}"
