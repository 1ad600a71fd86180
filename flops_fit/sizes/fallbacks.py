"""Probing one size after the other, each by the highest rung of the ladder that carries it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from flops_fit.basics.memory import peak_bytes
from flops_fit.errors import FlopsFitError, ModelContractError
from flops_fit.sizes.counting import CannotMeasure, Probe, ProbeRequest, build_and_count
from flops_fit.sizes.extrapolation import extrapolate
from flops_fit.sizes.sandbox import ENDED, TOO_LONG, Failure, UsesGpu, run_in_subprocess

INVALID_SIZE = (
    "ValueError",
    "AssertionError",
    "TypeError",
    "ZeroDivisionError",
    "KeyError",
    "IndexError",
    "SystemExit",
)
HEAVY_SECONDS = 0.5
HEAVY_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A size that could not be built: by the model's own rules (`is_invalid`), or for another reason."""

    size: int
    reason: str
    is_invalid: bool = True


@dataclass
class Prober:
    """Probes sizes, remembers them, and steps down the ladder when it must.

    Until a first size has been built, each is tried out in a process of its own: a constructor that loops for ever or
    ends its process must not do so here.

    Attributes:
        on_meta: false once a constructor was found that only runs for real.
        too_heavy_above: sizes above are extrapolated, once building one has taken too long or too much memory.
        first_error: what the first size that failed on the meta device raised.
        notes: what happened on the way, for the reader of the map.
    """

    request: ProbeRequest
    on_meta: bool = True
    too_heavy_above: int | None = None
    probes: dict[int, Probe] = field(default_factory=dict)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    first_error: BaseException | None = None

    def probe(self, size: int) -> Probe | None:
        """The counts of a size, or None where it is refused (the reason is in `refusals`)."""
        if size not in self.probes and size not in self.refusals:
            outcome = self._probe(size)
            if isinstance(outcome, Probe):
                self.probes[size] = outcome
            else:
                self.refusals[size] = outcome
        return self.probes.get(size)

    def built(self) -> list[Probe]:
        """Probes that are not extrapolated."""
        return [probe for probe in self.probes.values() if probe.source != "polynomial"]

    def cross_check(self, size: int) -> None:
        """Compare the meta counts of a small size with a real build; where they differ, build for real from now on."""
        if not self.on_meta:
            return
        meta, real = self.probes[size], self._for_real(size)
        if isinstance(real, Refusal) and not real.is_invalid:
            self.notes.append(f"counts on the meta device could not be checked against a real build: {real.reason}")
        elif isinstance(real, Refusal) or _params(real) != _params(meta):
            found = real.reason if isinstance(real, Refusal) else f"{_params(real)} instead of {_params(meta)}"
            self._leave_meta(f"at {self._at(size)} a real build gives {found}")
            self.probes.clear()
            self.probe(size)

    def _probe(self, size: int) -> Probe | Refusal:
        if self.too_heavy_above is not None and size > self.too_heavy_above:
            extrapolated = extrapolate(self.built(), size)
            if extrapolated is not None:
                return extrapolated
            return self._contained(size, "meta") if self.on_meta else self._for_real(size)
        return self._in_process(size) if self.on_meta else self._for_real(size)

    def _in_process(self, size: int) -> Probe | Refusal:
        if not self.probes and (ending := self._try_out(size)):
            return self._off_meta(size, ending)
        started, peak = time.thread_time(), peak_bytes() or 0
        try:
            probe = build_and_count(self.request, size, device="meta")
        except FlopsFitError:
            raise
        except (Exception, SystemExit) as error:
            return self._after_failure(size, error)
        heavy = time.thread_time() - started > HEAVY_SECONDS or (peak_bytes() or 0) - peak > HEAVY_BYTES
        if heavy and self.probes:  # the first build also pays for what torch imports late
            self._now_too_heavy(max((light for light in self.probes if light < size), default=size))
        return probe

    def _after_failure(self, size: int, error: BaseException) -> Probe | Refusal:
        reason = _described(error)
        self.first_error = self.first_error or error.with_traceback(None)
        if isinstance(error, UsesGpu):
            raise self._uses_gpu(str(error)) from error
        if not _speaks_of_meta(error) and type(error).__name__ in INVALID_SIZE:
            return Refusal(size=size, reason=reason)
        return self._off_meta(size, reason)

    def _try_out(self, size: int) -> str:
        """What ended a process that built this size on the meta device, or ""; whatever else happens is seen here."""
        outcome = run_in_subprocess(lambda: build_and_count(self.request, size, device="meta"))
        ended = isinstance(outcome, Failure) and outcome.kind in (ENDED, TOO_LONG)
        return f"{outcome.kind}: {outcome.message}" if ended else ""

    def _off_meta(self, size: int, reason: str) -> Probe | Refusal:
        real = self._for_real(size)
        if isinstance(real, Probe):
            self._leave_meta(f"{self.request.name} cannot be built on the meta device ({reason})")
        return real

    def _for_real(self, size: int) -> Probe | Refusal:
        return self._contained(size, "cpu")

    def _contained(self, size: int, device: str) -> Probe | Refusal:
        outcome = run_in_subprocess(lambda: build_and_count(self.request, size, device=device))
        if isinstance(outcome, Probe):
            return outcome
        return self._judge(size, outcome)

    def _judge(self, size: int, failure: Failure) -> Probe | Refusal:
        reason = f"{failure.kind}: {failure.message}".strip()
        if failure.kind == UsesGpu.__name__:
            raise self._uses_gpu(failure.message)
        if failure.kind == CannotMeasure.__name__:
            raise ModelContractError(self._cannot_measure(size, failure.message))
        if failure.kind in ("ModelContractError", "PlanError"):
            raise ModelContractError(failure.message)
        if failure.kind in INVALID_SIZE or (failure.kind == "RuntimeError" and "allocate" not in failure.message):
            return Refusal(size=size, reason=reason)
        extrapolated = extrapolate(self.built(), size)
        if extrapolated is None:
            return Refusal(size=size, reason=reason, is_invalid=False)
        self._now_too_heavy(max(probe.size for probe in self.built()))
        return extrapolated

    def _now_too_heavy(self, size: int) -> None:
        if self.too_heavy_above is None:
            self.too_heavy_above = size
            self.notes.append(
                f"building sizes above {self._at(size)} takes too long or too much memory; where a polynomial "
                "reproduces the count of every size built, theirs are extrapolated by it"
            )

    def _leave_meta(self, finding: str) -> None:
        self.on_meta = False
        self.notes.append(f"{finding}; sizes are built for real, in a subprocess and without initialising weights")

    def _at(self, size: int) -> str:
        return f"{self.request.size_param}={size}"

    def _uses_gpu(self, what: str) -> ModelContractError:
        return ModelContractError(
            f"the constructor of {self.request.name} puts tensors on an accelerator ({what}); planning never uses one: "
            "take it out of the constructor, training moves the whole model to the device"
        )

    def _cannot_measure(self, size: int, message: str) -> str:
        return (
            f"the FLOPs of {self.request.name} at {self._at(size)} cannot be measured: a training step on sample_batch "
            f'raised {message}; mend the step, or give flops = "6nd" or a function of the model'
        )


def _params(probe: Probe) -> dict[str, float]:
    return {name: count for name, count in probe.counts.items() if name in ("own", "total", "trainable")}


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _speaks_of_meta(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came from, is about tensors without data."""
    while error is not None:
        if re.search(r"\bmeta\b", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
