"""How far an adaptive study has come: its rounds, what each taught, what was spent, and what comes next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flops_fit.adaptive.next_round import Next, widths
from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.adaptive.rounds import Answer, Choice, Round
from flops_fit.adaptive.spent import Amount
from flops_fit.basics.formatting import format_count, format_flops, format_loss

ROUND_HEADERS = (
    "Round",
    "Experiments",
    "Budgets",
    "FLOPs",
    "Spent in all",
    "N_opt after it, 90 %",
    "Loss after it, 90 %",
)
CHOICE_HEADERS = ("Round", "Budget", "Parameters", "Tokens", "FLOPs", "Why", "Expected to be known with it")
STOPS = {
    "certain": "the answer is as sure as was asked for",
    "spent": "the total is spent",
    "exhausted": "nothing worth its cost is left to train",
    "failed": "nothing works",
}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A study's rounds until now.

    Attributes:
        step: what comes next, or why it stopped.
        answer: what the law of all results says at the target; None before there is one, and while a round trains.
        spent: on all rounds, with what is planned of those still to be trained;
        planned: the same with the next round, where one is due.
    """

    options: AdaptiveOptions
    rounds: tuple[Round, ...]
    step: Next
    answer: Answer | None
    spent: Amount
    planned: Amount

    @property
    def answers(self) -> tuple[Answer | None, ...]:
        """What the law said after each round."""
        return (*(item.known for item in self.rounds[1:]), *((self.answer,) if self.rounds else ()))

    def state(self) -> str:
        """What comes next, or why it stopped, in a sentence."""
        if not self.step.stopped:
            return f"next, {self.step.reason}"
        return f"stopped, {STOPS[self.step.kind]}: {self.step.reason}"

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each round under `ROUND_HEADERS`."""
        found: list[tuple[str, ...]] = []
        spent = 0.0
        for item, after in zip(self.rounds, self.answers, strict=True):
            spent = after.flops if after else spent + item.flops
            budgets = sorted({experiment.compute_budget for experiment in item.experiments})
            found.append(
                (
                    str(item.number),
                    str(len(item.choices)),
                    " to ".join(dict.fromkeys(format_flops(budget) for budget in (budgets[0], budgets[-1]))),
                    format_flops(item.flops),
                    format_flops(spent),
                    *(_answer_cells(after) if after else ("–", "–")),
                )
            )
        return found

    def choice_rows(self, rounds: Sequence[Round] | None = None) -> list[tuple[str, ...]]:
        """A row for each experiment of `rounds`, by default of all, under `CHOICE_HEADERS`; the latest round first."""
        wanted = self.rounds if rounds is None else rounds
        return [_choice_cells(item, choice) for item in reversed(wanted) for choice in item.choices]


def round_text(item: Round) -> str:
    """What a round is, and what was known when it was planned, in a line."""
    text = f"round {item.number}: {len(item.choices)} experiments, {format_flops(item.flops)} FLOPs"
    if item.known is None:
        return text
    N, loss = _answer_cells(item.known)
    return f"{text}; until now at {format_flops(item.known.target_budget)} FLOPs N_opt {N}, loss {loss}"


def _answer_cells(answer: Answer) -> tuple[str, str]:
    width = widths(answer)
    N = f"{format_count(answer.N_opt)}, within x{math.exp(min(width['N_opt'], 99.0)):.3g}"
    return N, f"{format_loss(answer.loss)}, within {math.expm1(min(width['loss'], 99.0)):.2%}"


def _choice_cells(item: Round, choice: Choice) -> tuple[str, ...]:
    of = choice.experiment
    known = choice.widths_after
    teaches = [f"N_opt within x{math.exp(known['N_opt']):.3g}"] if "N_opt" in known else []
    teaches += [f"loss within {math.expm1(known['L_opt']):.2%}"] if "L_opt" in known else []
    return (
        str(item.number),
        format_flops(of.compute_budget),
        format_count(of.num_params),
        format_count(of.num_tokens),
        format_flops(of.planned_flops),
        choice.reason,
        ", ".join(teaches) or "–",
    )
