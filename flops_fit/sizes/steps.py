"""FLOPs and kept memory of a training step at every size: measured where it can be, elsewhere worked out from those.

The ladder of ways: on the meta device, where it costs nothing; with real weights where a step asks for values that
depend on them, at small sizes alone; by a rule that gives the FLOPs of every size measured, checked on sizes left out.
How far each way goes is decided by counts of operations, parameters and FLOPs, never by a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flops_fit.data.nested import batch_examples
from flops_fit.sizes.counting import MOST_ON_META, Probe, Step, run_for_real
from flops_fit.sizes.extrapolation import TOLERANCE, Rule, off_by, percent, rules_for
from flops_fit.sizes.options import ProbeRequest
from flops_fit.sizes.remarks import NO_STEP
from flops_fit.sizes.sandbox import Failure, run_in_subprocess

MOST_OPERATIONS = 140_000  # of all steps that are measured: half a minute on one core
MOST_IN_SEARCH = 50_000  # of them, while the range of sizes is looked for,
MOST_TO_FILL = 75_000  # and sizes between; the rest is for a rule, and for checking it
CHEAP = 1_000  # operations of a step that is taken at every size
_FEWEST_KNOTS, _CHECKS, _ENOUGH_IN_A_ROW = 6, 5, 4
MOST_PARAMS_FOR_REAL = 30_000_000
MOST_FLOPS_FOR_REAL = 1e11  # of a step, taken as 6·N per token: some five seconds on one core
ALL_FLOPS_FOR_REAL = 4e11


@dataclass
class Steps:
    """The steps measured so far, and by which way the next is.

    Attributes:
        on: false where there is no batch to measure with, or once none of the sizes could take a step.
        on_meta: false once a step was found that only runs for real.
        filling: whether the range of sizes is known and sizes between are asked for.
        in_a_row: how many of these have taken their step since the last that could not: after a few the distance from
            size to size is trusted.
        refused: sizes that were built but could not take a step, and why.
        notes: what the reader of the map should know of them.
    """

    request: ProbeRequest
    on: bool = True
    on_meta: bool = True
    filling: bool = False
    in_a_row: int = 0
    measured: dict[int, Step] = field(default_factory=dict)
    refused: dict[int, Failure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    operations: int = 0
    flops_for_real: float = 0.0
    left_meta: str = ""

    def on_meta_next(self, size: int, *, found: bool = False) -> bool:
        """Whether the next size is to take its step on the meta device; `found` once all sizes have been."""
        expected = self._expected_operations(size)
        if not self.on or not self.on_meta or expected > MOST_ON_META:
            return False
        if not self.filling or found:
            return self.operations + expected <= (MOST_OPERATIONS if found else MOST_IN_SEARCH)
        most = 0 if self.in_a_row >= _ENOUGH_IN_A_ROW else MOST_TO_FILL
        return expected <= CHEAP or self.operations + expected <= most

    def take(self, probe: Probe) -> Probe | Failure:
        """`probe` with its step noted, if it took one; a `Failure` where the model cannot take one of this size."""
        if not self.on:
            return probe
        if probe.step is not None:
            self._note(probe.size, probe.step)
            return probe
        failure = probe.step_failure
        if self.on_meta and (failure is None or (failure.kind == "TooLong" and self.measured)):
            return probe  # none was tried, or it is only this size that takes too long
        outcome = self._for_real(probe)
        if isinstance(outcome, Step):
            if failure is not None:
                self._leave_meta(failure)
            self._note(probe.size, outcome)
            return replace(probe, step=outcome)
        if failure is not None and failure.of_meta and (outcome is None or outcome.ran_out):
            self._leave_meta(failure)
        if outcome is None or outcome.ran_out:
            refusal = failure if failure is not None and not failure.of_meta else None
        else:
            refusal = outcome
        if refusal is None:
            return probe
        self.in_a_row = 0
        self.refused[probe.size] = refusal
        return Failure(kind="", message=f"{NO_STEP} {refusal.reason}", is_invalid=True)

    def give_up(self) -> None:
        """Plan without measured FLOPs, since no size can take a step."""
        size, failure = next(iter(self.refused.items()))
        self.on = False
        self.notes.append(
            f"FLOPs could not be measured: a training step on sample_batch at {self.request.at(size)} raised "
            f"{failure.reason}"
        )

    def complete(
        self,
        probes: Mapping[int, Probe],
        sizes: Sequence[int],
        knots: Sequence[int],
        measure: Callable[[int], Step | None],
    ) -> dict[int, Step]:
        """Steps of `sizes`: those measured, and by rule those that are not, as far as a rule is found.

        The rule is made from `knots`, which do not depend on where the map ends, so that neither does what it gives; it
        is checked on other sizes, from the largest down, and holds above the first where it is off.

        Args:
            measure: takes the step of a size on the meta device; None where it cannot.
        """
        if not self.on or not self.measured or all(size in self.measured for size in sizes):
            return dict(self.measured)
        known = [size for size in knots if size in self.measured]
        if self.on_meta:
            steps = max(_FEWEST_KNOTS, int(MOST_OPERATIONS / 2 // max(1, self._most_operations())))
            for size in reversed(_spread(knots, steps)):
                self._measure(size, measure)
            known = [size for size in knots if size in self.measured]
        points = [replace(probes[size], step=self.measured[size]) for size in known]
        rules = rules_for(points, reaches=self.on_meta and max(knots) in known)
        missing = [size for size in sizes if size not in self.measured]
        rule = self._best(rules, probes, missing, measure) if rules else None
        for size in [size for size in missing if rule is None or size < rule.smallest]:
            self._measure(size, measure)
        return self._by_rule(rule, [probes[size] for size in missing if size not in self.measured])

    def _best(
        self,
        rules: Sequence[Rule],
        probes: Mapping[int, Probe],
        sizes: Sequence[int],
        measure: Callable[[int], Step | None],
    ) -> Rule:
        """The rule that holds farthest down some other `sizes`, and of two that hold as far, the one less off there."""
        checks = [size for size in _spread(sizes, _CHECKS) if size >= min(rule.smallest for rule in rules)]
        able = [size for size in reversed(checks) if self.on_meta and self._measure(size, measure)]
        held = [self._held(rule, [replace(probes[size], step=self.measured[size]) for size in able]) for rule in rules]
        off, rule = min(held, key=lambda found: (found[1].smallest, found[0]))
        said = f"; at {', '.join(map(str, sorted(able)))}, which it was not made from, it is off by {percent(off)}"
        return replace(rule, name=rule.name + said) if able else rule

    def _held(self, rule: Rule, checks: Sequence[Probe]) -> tuple[float, Rule]:
        """How much a rule is off at most, and from where on it holds, on `checks` from the largest down."""
        worst = 0.0
        for probe in (probe for probe in checks if probe.size >= rule.smallest):
            off = off_by(rule, probe)
            if off > TOLERANCE:
                return worst, replace(rule, smallest=probe.size + 1)
            worst = max(worst, off)
        return worst, rule

    def _measure(self, size: int, measure: Callable[[int], Step | None]) -> bool:
        """Whether the step of a size is known, or could be measured within what all of them may take."""
        if size not in self.measured and self.on_meta_next(size, found=True):
            step = measure(size)
            if step is not None:
                self._note(size, step)
        return size in self.measured

    def _most_operations(self) -> int:
        return max(step.operations for step in self.measured.values())

    def _by_rule(self, rule: Rule | None, probes: Sequence[Probe]) -> dict[int, Step]:
        covered = [probe for probe in probes if rule is not None and probe.size >= rule.smallest]
        if rule is None or not covered:
            return dict(self.measured)
        self._say_rule(rule, [probe.size for probe in covered])
        return self.measured | {probe.size: rule.step(probe) for probe in covered}

    def unmeasured(self) -> str:
        """Why a size has no step."""
        why = (
            f"{self.left_meta}, and it is too large for real weights" if self.left_meta else "measuring takes too long"
        )
        return f"its FLOPs are not measured ({why}), and no rule gives those of every size that was"

    def _say_rule(self, rule: Rule, missing: Sequence[int]) -> None:
        at = self.request.at
        self.notes.append(
            f"FLOPs of {len(missing)} sizes from {at(min(missing))} to {at(max(missing))} are worked out from the "
            f"{len(self.measured)} measured at {at(min(self.measured))} to {at(max(self.measured))}: {rule.name}"
        )

    def _for_real(self, probe: Probe) -> Step | Failure | None:
        """The step with real weights, in a subprocess; None where the model is too large for that."""
        options = self.request.options
        tokens = batch_examples(options.sample_batch) * options.tokens_per_example
        params = probe.counts.get("total", 0)
        flops = 6.0 * params * tokens
        if params > MOST_PARAMS_FOR_REAL or flops > min(MOST_FLOPS_FOR_REAL, ALL_FLOPS_FOR_REAL - self.flops_for_real):
            return None
        self.flops_for_real += flops
        return run_in_subprocess(lambda: run_for_real(self.request, probe.size))

    def _note(self, size: int, step: Step) -> None:
        self.measured[size] = step
        self.operations += step.operations
        self.in_a_row += self.filling

    def _leave_meta(self, failure: Failure) -> None:
        if self.on_meta:
            self.on_meta, self.left_meta = False, failure.reason
            self.notes.append(
                f"a training step cannot be taken on the meta device ({failure.reason}); it is taken with real weights "
                "at small sizes"
            )

    def _expected_operations(self, size: int) -> float:
        """By the power of the size that they have grown with so far: 0 for a width, up to 1 for a depth."""
        if len(self.measured) < 2:
            return 0.0
        small, large = min(self.measured), max(self.measured)
        few, many = self.measured[small].operations, self.measured[large].operations
        if not few:
            return 0.0
        return many * (size / large) ** max(0.0, math.log(many / few) / math.log(large / small))


def _spread(sizes: Sequence[int], count: int) -> list[int]:
    """About `count` of `sizes`, evenly, the smallest and the largest among them."""
    ordered = sorted(sizes)
    if len(ordered) <= count:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (count - 1))] for index in range(count)]


def without_attention(probes: Iterable[Probe], request: ProbeRequest) -> list[str]:
    """That no attention over the context was found where it is to be taken for causal."""
    steps = [probe.step for probe in probes if probe.step and probe.step.source != "worked out"]
    if request.options.attention_flops != "causal" or not steps or any(step.ahead for step in steps):
        return []
    return [
        'attention_flops = "causal" changes nothing here: no product of two activations over the whole context was '
        "found (a scan, attention to a window alone, or an operation that is not counted); leave it out, or give flops "
        "as a function of the model"
    ]


def uncounted_of(probes: Iterable[Probe], request: ProbeRequest) -> tuple[str, ...]:
    """One sentence for each operation that may multiply matrices and is not counted, with its largest share."""
    shares: dict[str, tuple[float, int]] = {}
    for size, step in ((probe.size, probe.step) for probe in probes if probe.step):
        for name, bound in step.uncounted.items():
            share = math.inf if bound is None else bound / max(1.0, step.counts["measured"])
            shares[name] = max(shares.get(name, (0.0, 0)), (share, size))
    said = []
    for name, (share, size) in sorted(shares.items()):
        how_much = "by how much is not known" if share == math.inf else (
            f"by at most {share:.0%} of the FLOPs counted at {request.at(size)}"
        )  # fmt: skip
        said.append(
            f"measured FLOPs may be too low, {how_much}: {name} may multiply matrices and has no formula; register one "
            "with torch.utils.flop_counter.register_flop_formula, or give flops as a function of the model"
        )
    return tuple(said)
