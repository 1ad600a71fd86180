"""Counting sizes one after another, each in the best way that works for it.

The ladder of ways, from the top: built on the meta device, where nothing is allocated; built for real in a subprocess
with initialisers switched off; extrapolated by a polynomial that reproduces every size that was built.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from flops_fit.basics.memory import memory_growth
from flops_fit.errors import FlopsFitError, ModelContractError, PlanError
from flops_fit.sizes.counting import Probe, Step, build_and_count
from flops_fit.sizes.expressions import NotWhole
from flops_fit.sizes.extrapolation import extrapolate, follows
from flops_fit.sizes.flops import ShapesUnknown
from flops_fit.sizes.options import ProbeRequest
from flops_fit.sizes.progress import MapProgress
from flops_fit.sizes.sandbox import ENDED, TOO_LONG, Failure, UsesGpu, failure_of, run_in_subprocess
from flops_fit.sizes.steps import Steps

_FOR_GOOD: dict[str, type[Exception]] = {  # failures of the model or the options that no other size mends
    "CannotCount": ModelContractError,
    "ModelContractError": ModelContractError,
    "ShapesUnknown": ShapesUnknown,
    "PlanError": PlanError,
}
HEAVY_WORK = 8000  # calls while a model is built, half a second: no clock, so that a busy machine plans the same
HEAVY_BYTES = 256 << 20

Rung = Callable[[int, Failure | None], Probe | Failure | None]  # of a size, and of how the rung above failed


@dataclass
class Prober:
    """Probes sizes, remembers them, and steps down the ladder when it must.

    Until a first size has been built, each is tried out in a process of its own: a constructor that loops for ever or
    ends its process must not do so here.

    Attributes:
        on_meta: false once a constructor was found that only runs for real.
        beyond_map: whether sizes are asked for that the map will not have, which need not be built where a polynomial
            has their counts.
        too_heavy_above: sizes above are extrapolated, once building one has taken too much work or memory.
        skipped: sizes that have no count, and why.
        steps: the training steps taken at the sizes, where there is a batch to take one on.
        first_error: what the first size that failed on the meta device raised.
        notes: what happened on the way, for the reader of the map.
    """

    request: ProbeRequest
    on_meta: bool = True
    beyond_map: bool = False
    too_heavy_above: int | None = None
    probes: dict[int, Probe] = field(default_factory=dict)
    skipped: dict[int, Failure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    first_error: BaseException | None = None
    progress: MapProgress | None = None
    steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        self.steps = Steps(request=self.request, on=self.request.options.measures)

    def probe(self, size: int) -> Probe | None:
        """The counts of a size, or None where it is skipped (the reason is in `skipped`)."""
        if size not in self.probes and size not in self.skipped:
            outcome = self._refusal(size) or self._descend(size)
            if isinstance(outcome, Probe):
                outcome = outcome if self.beyond_map else self.steps.take(outcome)
            if isinstance(outcome, Probe):
                self.probes[size] = outcome
            else:
                self.skipped[size] = outcome
            self._tell(size)
        return self.probes.get(size)

    def _refusal(self, size: int) -> Failure | None:
        """Why a size cannot be by its own arithmetic, before anything is built."""
        try:
            self.request.dial.arguments(size)
        except NotWhole as error:
            return Failure(kind=NotWhole.__name__, message=str(error), is_invalid=True)
        except ValueError as error:
            return Failure(kind="", message=str(error), is_invalid=True)
        return None

    def not_whole(self) -> list[str]:
        """What to say of sizes left out because an expression is not whole there."""
        left_out = {size: failure for size, failure in self.skipped.items() if failure.kind == NotWhole.__name__}
        if not left_out:
            return []
        first, common = min(left_out), math.gcd(*self.probes)
        meant = f"; if only multiples of {common} are meant, give size_multiple = {common}" if common > 1 else ""
        return [f"sizes are left out such as {self.request.at(first)}: {left_out[first].message}{meant}"]

    def _tell(self, size: int) -> None:
        if self.progress is not None:
            self.progress.tell(len(self.probes), len(self.steps.measured), self.request.at(size))

    def cross_check(self, size: int) -> None:
        """Compare the meta counts of a small size with a real build; where they differ, build for real from now on."""
        if not self.on_meta:
            return
        meta, real = self.probes[size], self._for_real(size, None)
        if isinstance(real, Failure) and not real.is_invalid:
            self.notes.append(f"counts on the meta device could not be checked against a real build: {real.reason}")
        elif isinstance(real, Failure) or _params(real) != _params(meta):
            found = real.reason if isinstance(real, Failure) else f"{_params(real)} instead of {_params(meta)}"
            self._leave_meta(f"at {self.request.at(size)} a real build gives {found}")
            self.probes.clear()
            self.steps.measured.clear()
            self.probe(size)

    def without_steps(self) -> None:
        """Try again without measuring what was refused for its step alone."""
        self.steps.give_up()
        for size in self.steps.refused:
            self.skipped.pop(size, None)

    def complete_steps(self, sizes: Sequence[int], knots: Sequence[int]) -> list[int]:
        """Give the probes of `sizes` their step, as far as it can be measured or worked out; those that may stay.

        A size without one is skipped where FLOPs per token, or N, rest on it. Raises `ModelContractError` where all
        of them are.
        """
        found = self.steps.complete(self.probes, sizes, knots, self._step_on_meta)
        for size in sizes:
            self.probes[size] = replace(self.probes[size], step=found.get(size))
        options = self.request.options
        if options.flops != "measured" and options.param_count != "active":
            return list(sizes)
        for size in (size for size in sizes if size not in found):
            self.skipped[size] = Failure(kind="", message=self.steps.unmeasured())
        if not found:
            raise ModelContractError(
                f"the FLOPs of {self.request.name} cannot be measured at any size from {self.request.at(min(sizes))} "
                f'on: {self.steps.unmeasured()}; give flops = "6nd" or a function of the model'
            )
        return [size for size in sizes if size in found]

    def _step_on_meta(self, size: int) -> Step | None:
        outcome = run_in_subprocess(lambda: build_and_count(self.request, size, device="meta", step=True))
        self._tell(size)
        return outcome.step if isinstance(outcome, Probe) else None

    def _descend(self, size: int) -> Probe | Failure:
        """Go down the ladder to the first way that works for this size, or until the model itself refuses the size."""
        failure: Failure | None = None
        for rung in self._rungs(size):
            outcome = rung(size, failure)
            if isinstance(outcome, Probe):
                return outcome
            failure = outcome
            if failure is not None and failure.is_invalid:
                break
        assert failure is not None, "only the polynomial has nothing to say, and it is never alone"
        return failure

    def _rungs(self, size: int) -> list[Rung]:
        if self.too_heavy_above is not None and size > self.too_heavy_above:
            return [self._by_polynomial, self._on_meta_apart if self.on_meta else self._for_real]
        known = [self._by_polynomial] if self.beyond_map else []
        return [*known, *([self._on_meta] if self.on_meta else []), self._for_real, self._by_polynomial]

    def _on_meta(self, size: int, above: Failure | None) -> Probe | Failure:
        step = not self.beyond_map and self.steps.on_meta_next(size)
        if not self.probes:
            if step:  # needs this module: seconds, once here or again in each process
                importlib.import_module("torch._dynamo")
            tried = self._tried_apart(size, step=step)
            if isinstance(tried, Failure) and tried.kind in (ENDED, TOO_LONG):
                return tried
            if isinstance(tried, Probe) and tried.step_failure is not None:
                return tried
        try:
            with memory_growth() as growth:
                probe = build_and_count(self.request, size, device="meta", step=step)
        except FlopsFitError:
            raise
        except (Exception, SystemExit) as error:
            self.first_error = self.first_error or error.with_traceback(None)
            failure = failure_of(error)
            self._raise_if_hopeless(failure)
            return replace(
                failure, is_invalid=failure.refuses and failure.kind not in _FOR_GOOD and not failure.of_meta
            )
        heavy = probe.work > HEAVY_WORK or growth.bytes > HEAVY_BYTES
        if heavy and self.probes:  # the first build also pays for what torch imports late
            self._now_too_heavy(max((light for light in self.probes if light < size), default=size))
        return probe

    def _tried_apart(self, size: int, *, step: bool) -> Probe | Failure:
        """The first build in a process of its own; without its step where that ends the process or never returns."""
        tried = run_in_subprocess(lambda: build_and_count(self.request, size, device="meta", step=step))
        if not (step and isinstance(tried, Failure) and tried.kind in (ENDED, TOO_LONG)):
            return tried
        alone = run_in_subprocess(lambda: build_and_count(self.request, size, device="meta"))
        return replace(alone, step_failure=replace(tried, of_meta=True)) if isinstance(alone, Probe) else tried

    def _on_meta_apart(self, size: int, above: Failure | None) -> Probe | Failure:
        return self._in_subprocess(size, "meta")

    def _for_real(self, size: int, above: Failure | None) -> Probe | Failure:
        outcome = self._in_subprocess(size, "cpu")
        if above is not None and isinstance(outcome, Probe):
            self._leave_meta(f"{self.request.name} cannot be built on the meta device ({above.reason})")
        return outcome

    def _by_polynomial(self, size: int, above: Failure | None) -> Probe | Failure | None:
        if self.request.dial.values is not None:  # rows of a table follow no rule of their place in it
            return above
        built = [probe for probe in self.probes.values() if probe.source != "polynomial"]
        sets = {each: self.request.dial.arguments(each) for each in (*(probe.size for probe in built), size)}
        probe = extrapolate(built, size) if follows(sets, size) else None
        if probe is not None and above is not None:
            self._now_too_heavy(max(probe.size for probe in built))
        return probe or above

    def _in_subprocess(self, size: int, device: str) -> Probe | Failure:
        step = not self.beyond_map and self.steps.on_meta_next(size)
        outcome = run_in_subprocess(lambda: build_and_count(self.request, size, device=device, step=step))
        if isinstance(outcome, Probe):
            return outcome
        self._raise_if_hopeless(outcome)
        if outcome.kind in _FOR_GOOD:
            raise _FOR_GOOD[outcome.kind](outcome.message)
        wrong_shape = outcome.kind == "RuntimeError" and "allocate" not in outcome.message
        return replace(outcome, is_invalid=wrong_shape or outcome.refuses)

    def _raise_if_hopeless(self, failure: Failure) -> None:
        if failure.kind == UsesGpu.__name__:
            raise ModelContractError(
                f"the constructor of {self.request.name} puts tensors on an accelerator ({failure.message}); planning "
                "never uses one: take it out of the constructor, training moves the whole model to the device"
            ) from self.first_error

    def _now_too_heavy(self, size: int) -> None:
        if self.too_heavy_above is None:
            self.too_heavy_above = size
            self.notes.append(
                f"building sizes above {self.request.at(size)} takes too much work or memory; where a polynomial "
                "reproduces the count of every size built, theirs are extrapolated by it"
            )

    def _leave_meta(self, finding: str) -> None:
        self.on_meta = False
        self.notes.append(f"{finding}; sizes are built for real, in a subprocess and without initialising weights")


def _params(probe: Probe) -> dict[str, float]:
    return {name: count for name, count in probe.counts.items() if name in ("own", "total", "trainable")}
