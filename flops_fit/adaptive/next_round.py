"""What an adaptive study does next: wait, plan a round, or stop, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.adaptive.rounds import Answer, Choice, Round, experiments_of
from flops_fit.adaptive.spent import Amount, amount_planned
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.half_width import half_width
from flops_fit.cost.estimate import CostEstimate
from flops_fit.identity.fingerprints import content_hash
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.sweep.experiment import Experiment

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw

FIRST_ROUND = 9  # experiments: three sizes at each of three budgets, the fewest that show a law and its curves
LEAST_ROUND = 3
ENOUGH_DIVERGED = 2  # experiments, for larger sizes not to be tried
LEAST_GAIN = 0.003  # of the target's interval, that an experiment is expected to narrow it by, or it is not worth it


@dataclass(frozen=True, kw_only=True)
class Next:
    """What comes next.

    Attributes:
        kind: "train" (experiments of the last round are still to be trained), "round" (`planned` is a new one), or why
            it stopped: "certain", "spent", "exhausted" (nothing is left to choose from) or "failed".
        reason: in a sentence.
    """

    kind: str
    reason: str
    planned: Round | None = None

    @property
    def stopped(self) -> bool:
        """Whether nothing will be planned until the study changes."""
        return self.kind not in ("train", "round")


@dataclass(frozen=True, kw_only=True)
class Situation:
    """All that decides what comes next.

    Attributes:
        candidates: every experiment that may be chosen.
        cost: of the candidates and of the rounds' experiments.
        price: of a device-hour.
        results: by experiment id, of any status.
        lost: ids of experiments that ended without a result.
        spent: on the rounds so far.
        workers: experiments trained side by side.
        tokens_per_param: where the optimum is looked for before there is a law.
    """

    options: AdaptiveOptions
    candidates: Sequence[Experiment]
    cost: CostEstimate
    price: float
    rounds: Sequence[Round]
    results: Mapping[str, ExperimentResult]
    spent: Amount
    lost: Collection[str] = ()
    workers: int = 1
    tokens_per_param: float = 20.0

    @property
    def open(self) -> list[Experiment]:
        """Experiments of the rounds that have not ended."""
        ended = {*self.results, *self.lost}
        return [item for item in experiments_of(self.rounds) if item.experiment_id not in ended]

    @property
    def left(self) -> float:
        """The share of what may be spent that is left."""
        return 1 - self.spent.share_of(self.options)

    def share(self, experiment: Experiment) -> float:
        """The share of what may be spent that `experiment` would take."""
        return amount_planned(experiment, self.cost, self.price).share_of(self.options)


def answer_of(law: ScalingLaw, target: float, flops: float) -> Answer | None:
    """What `law` says at `target` FLOPs, for which `flops` were spent; None where it has no finite answer."""
    N, loss = law.interval("N_opt", target), law.interval("L_opt", target)
    if not all(math.isfinite(value) for value in (law.N_opt(target), law.L_opt(target), N[0], loss[0])):
        return None
    return Answer(
        target_budget=target,
        runs=len(law.runs),
        flops=flops,
        N_opt=float(law.N_opt(target)),
        N_opt_low=N[0],
        N_opt_high=N[1],
        loss=float(law.L_opt(target)),
        loss_low=loss[0],
        loss_high=loss[1],
        verdict_N_opt=law.verdict_at(target, "N_opt"),
        verdict_loss=law.verdict_at(target, "loss"),
        supported=all(finding.severity != "error" for finding in law.diagnostics),
    )


def widths(answer: Answer) -> dict[str, float]:
    """Quantity → half of its 90 % interval, in logarithms; infinite where that is not positive."""
    return {
        "N_opt": half_width(answer.N_opt_low, answer.N_opt_high),
        "loss": half_width(answer.loss_low, answer.loss_high),
    }


def is_certain(answer: Answer, options: AdaptiveOptions) -> bool:
    """Whether every wanted quantity is known as well as was asked for, and no finding says that there is no law."""
    found = widths(answer)
    return answer.supported and all(found[name] <= width for name, width in options.wanted.items())


def next_step(now: Situation, law: ScalingLaw | None, known: Answer | None) -> Next:
    """Wait, plan the next round, or stop.

    `law` is of the results so far and determined by them, `known` what it says at the target; None where there is none.
    The same situation gives the same: a round is planned from its content alone.
    """
    if waiting := now.open:
        last = now.rounds[-1]
        return Next(kind="train", reason=f"round {last.number}: {len(waiting)} of {len(last.choices)} still to train")
    if known is not None and is_certain(known, now.options):
        return Next(kind="certain", reason=_certain(known, now.options))
    if _nothing_works(now):
        return Next(kind="failed", reason=_failed(now))
    return _new_round(now, law, known)


def _new_round(now: Situation, law: ScalingLaw | None, known: Answer | None) -> Next:
    there = _admissible(now)
    fitting = [item for item in there if now.share(item) <= now.left * (1 + 1e-9)]
    if not there:
        return Next(kind="exhausted", reason=_exhausted(now))
    if not fitting:
        return Next(kind="spent", reason=_spent(now, min(there, key=now.share)))
    choices = _choices(now, fitting, law)
    if not choices:
        return Next(kind="exhausted", reason=_nothing_near())
    if (gain := _gain(choices)) < LEAST_GAIN * len(choices):
        return Next(kind="exhausted", reason=_little_to_learn(now, gain))
    number = len(now.rounds) + 1
    planned = Round(
        number=number,
        target_budget=float(now.options.target_budget),
        quantity=now.options.quantity,
        planned_from=_planned_from(now),
        choices=choices,
        known=known,
    )
    what = f"{len(choices)} experiments, {format_flops(planned.flops)} FLOPs"
    return Next(kind="round", reason=f"round {number}: {what}", planned=planned)


def _choices(now: Situation, fitting: Sequence[Experiment], law: ScalingLaw | None) -> tuple[Choice, ...]:
    """The experiments of the next round, no more than can be paid for."""
    from flops_fit.scaling_law.next_experiments import Candidate, next_experiments

    by_id = {item.experiment_id: item for item in fitting}
    candidates = [
        Candidate(
            num_params=float(item.num_params), num_tokens=float(item.num_tokens), flops=item.planned_flops, label=name
        )
        for name, item in by_id.items()
    ]
    done = [result for result in now.results.values() if result.status == "completed"]
    size = FIRST_ROUND if law is None else now.options.round_size or max(LEAST_ROUND, now.workers)
    suggested = next_experiments(
        results_frame(done),
        candidates,
        size,
        target=float(now.options.target_budget),
        quantity=now.options.quantity,
        law=law,
        flops_left=_flops_left(now, fitting),
        tokens_per_param=now.tokens_per_param,
        more_follow=True,
    )
    chosen, left = [], now.left
    for item in suggested:
        experiment = by_id[item.candidate.label]
        left -= now.share(experiment)
        if left < -1e-9:
            break
        chosen.append(
            Choice(
                experiment=experiment,
                reason=item.reason,
                width_before=_finite(item.width_before),
                width_after=_finite(item.width_after),
                widths_after={name: width for name, width in item.widths_after.items() if math.isfinite(width)},
            )
        )
    return tuple(chosen)


def _flops_left(now: Situation, fitting: Sequence[Experiment]) -> float:
    """FLOPs that may still be spent; of money or hours, what they buy at the usual rate of what is left to choose."""
    if now.options.total_compute is not None:
        return float(now.options.total_compute) - now.spent.flops
    return now.left / median(now.share(item) / item.planned_flops for item in fitting)


def _finite(width: float | None) -> float | None:
    return width if width is not None and math.isfinite(width) else None


def _gain(choices: Sequence[Choice]) -> float:
    """The share of the target's interval that a round is expected to take away; 1 before there is a law."""
    before, after = choices[0].width_before, choices[-1].width_after
    if before is None or after is None or before <= 0:
        return 1.0
    return 1 - after / before


def _admissible(now: Situation) -> list[Experiment]:
    """Candidates that were never planned, and are no larger than what has failed where nothing larger was completed."""
    planned = {(item.num_params, item.num_tokens) for item in experiments_of(now.rounds)}
    limit = _too_large(now)
    return [
        item for item in now.candidates if (item.num_params, item.num_tokens) not in planned and item.num_params < limit
    ]


def _too_large(now: Situation) -> float:
    """N from which experiments fail (out of memory, say) or, twice at least, diverge; infinite where none does."""
    status = {item.experiment_id: _status(now, item) for item in experiments_of(now.rounds)}
    every = {item.experiment_id: item.num_params for item in experiments_of(now.rounds)}
    worked = max((N for name, N in every.items() if status[name] == "completed"), default=0)
    failed = [N for name, N in every.items() if worked < N and status[name] not in ("completed", "diverged")]
    diverged = sorted(N for name, N in every.items() if worked < N and status[name] == "diverged")
    return min([*failed, *(diverged[:1] if len(diverged) >= ENOUGH_DIVERGED else [])], default=math.inf)


def _status(now: Situation, experiment: Experiment) -> str:
    result = now.results.get(experiment.experiment_id)
    return result.status if result is not None else "lost"


def _nothing_works(now: Situation) -> bool:
    """Whether nothing of the first round was completed, or of the last two."""
    last = now.rounds[-2:]
    return bool(last) and all(_status(now, item) != "completed" for item in experiments_of(last))


def _planned_from(now: Situation) -> str:
    seen = {name: [result.status, result.loss, result.num_tokens] for name, result in now.results.items()}
    return content_hash([[item.content_hash for item in now.rounds], sorted(seen.items())])


def _certain(known: Answer, options: AdaptiveOptions) -> str:
    found = widths(known)
    said = [
        f"N_opt within a factor {math.exp(found[name]):.3g} (asked for {options.N_opt_within:g})"
        if name == "N_opt"
        else f"loss within {math.expm1(found[name]):.2%} (asked for {options.loss_within:.2%})"
        for name in options.wanted
    ]
    return f"at {format_flops(known.target_budget)} FLOPs {' and '.join(said)}, at 90 %"


def _failed(now: Situation) -> str:
    last = now.rounds[-2:]
    reasons = [result.reason for item in experiments_of(last) if (result := now.results.get(item.experiment_id))]
    more = f" and round {last[1].number}" if len(last) > 1 else ""
    why = next((reason for reason in reasons if reason), "its process ended without a result")
    return (
        f"none of the {len(experiments_of(last))} experiments of round {last[0].number}{more} was completed ({why}); "
        "mend that and run the study again, which tries those that failed once more"
    )


def _spent(now: Situation, cheapest: Experiment) -> str:
    return (
        f"the cheapest experiment left would take {format_flops(cheapest.planned_flops)} FLOPs, more than is left; "
        "raise the total in [adaptive] to go on"
    )


def _nothing_near() -> str:
    return "what is left can pay for nothing near the optimum; raise the total in [adaptive] to go on"


def _little_to_learn(now: Situation, gain: float) -> str:
    return (
        f"what is left can pay for no experiments that would narrow the answer by more than {max(gain, 0):.1%}; raise "
        "the total in [adaptive] to go on"
    )


def _exhausted(now: Situation) -> str:
    if not now.candidates:
        return "no budget admits any size; give compute_budgets in [sweep], or more total_compute"
    return (
        "every size at every budget that may be trained has been; add compute_budgets or sizes, or raise total_compute"
    )
