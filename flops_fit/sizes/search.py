"""Finding the valid sizes of a model by trial: the smallest, the stride, the largest, and between them evenly."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence

from flops_fit.basics.formatting import format_count
from flops_fit.errors import ModelContractError, PlanError
from flops_fit.sizes.counting import params_of
from flops_fit.sizes.fallbacks import Prober
from flops_fit.sizes.multiples import POWERS_OF_TWO, first_allowed, in_words
from flops_fit.sizes.sandbox import Failure

_PACKAGE = re.compile(r"No module named '([\w-]+)")
_STRIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_ODD_FACTORS = (1, 3, 5, 7, 9, 15, 21, 25, 27, 35, 45, 63, 105)
_LARGEST_START = 1 << 14
_MOST_DOUBLINGS = 40
_CONSTANT_DOUBLINGS = 12
_CLOSE = 0.9
_SAME_FAILURES = 3
_REFERENCE_PARAMS = 1e11  # up to where `num_sizes` are spread, whatever max_params is: that only cuts the map off
_WIDEST_STEP = math.log(2)  # in log N, of a model whose smallest size is above the reference
_COARSEST = 64
_STEPS_REFUSED = 12  # sizes, most of them powers of two, none of which can take a training step
_OF_MANY_DIVISORS = (720, 840, 900)  # of all up to 10, 12, 14, 15, 16, 20, 24, 25 and others: numbers of heads


class SizeSearch:
    """Probes sizes until the range of N is covered about evenly in log N.

    `above` is the size next above `max_params`, where one was found; `knots` are the doubled sizes between which the
    others lie, the same whatever `max_params` is, or all sizes where they are given.
    """

    def __init__(self, prober: Prober, *, hint: str = "") -> None:
        self.prober = prober
        self.above: int | None = None
        self.knots: list[int] = []
        self.limits = prober.request.options
        self.powers = self.limits.size_multiple == POWERS_OF_TWO
        self.unit = 1 if self.powers else int(self.limits.size_multiple or 1)  # all sizes tried are multiples of it
        self.base = self.stride = self.unit
        self.hint = hint
        self.lowest = first_allowed(self.limits.min_size or 1, self.limits.size_multiple or 1)
        self.highest = self.limits.max_size or math.inf

    @property
    def above_params(self) -> int | None:
        """N of `above`."""
        return None if self.above is None else int(self._params(self.above))

    def params(self, size: int) -> float | None:
        """N of a size; None where the model refuses it."""
        if not self.lowest <= size <= self.highest:
            return None
        probe = self.prober.probe(size)
        return None if probe is None else params_of(probe.counts, self.limits.param_count)

    def first_valid(self) -> int:
        """The first of the sizes tried that the model accepts; raises `ModelContractError` where it accepts none."""
        values = self.prober.request.size_values
        candidates: Iterable[int] = self._starts() if values is None else sorted({int(value) for value in values})
        tried: list[int] = []
        for size in candidates:
            if not self.lowest <= size <= self.highest:
                continue
            tried.append(size)
            if self.params(size) is not None:
                return size
            if len(tried) == _SAME_FAILURES and not any(self.prober.skipped[size].is_invalid for size in tried):
                break
            if len(self.prober.steps.refused) == _STEPS_REFUSED:
                others = [size for size in _OF_MANY_DIVISORS if values is None and self._may_be(size)]
                found = next((size for size in others if self.params(size) is not None), None)
                if found is None:
                    break
                return found
        return self._without_steps(tried)

    def _may_be(self, size: int) -> bool:
        return self.lowest <= size <= self.highest and size % self.unit == 0 and not self.powers

    def _starts(self) -> Iterable[int]:
        if self.powers:
            return (1 << power for power in range(_MOST_DOUBLINGS))
        return (self.unit * size for size in _starts(self.lowest // self.unit, self.unit))

    def _without_steps(self, tried: Sequence[int]) -> int:
        """The first valid size where none could take a step: an error, unless the plan does not rest on it."""
        steps = self.prober.steps
        if not steps.on or not steps.refused:
            raise self._nothing_valid(tried)
        if self.limits.flops == "measured":
            size, failure = next(iter(steps.refused.items()))
            raise ModelContractError(
                f"the FLOPs of {self.prober.request.name} at {self.prober.request.at(size)} cannot be measured: a "
                f"training step on sample_batch raised {failure.reason}; correct the step, or give "
                'flops = "6nd" or a function of the model'
            )
        if self.limits.param_count == "active":
            size, failure = next(iter(steps.refused.items()))
            raise ModelContractError(
                f'param_count = "active" needs a training step of {self.prober.request.name} to see what a token '
                f"meets, and one on sample_batch at {self.prober.request.at(size)} raised {failure.reason}; correct "
                'the step, or give param_count = "total"'
            )
        self.prober.without_steps()
        return self.first_valid()

    def run(self) -> list[int]:
        """Valid sizes within the limits, ascending.

        Raises `ModelContractError` where none is valid or the size changes nothing, `PlanError` where none is allowed.
        """
        values = self.prober.request.size_values
        sizes = self._found() if values is None else self._given(values)
        cap = self.limits.max_params
        for size, probe in self.prober.probes.items():
            count = params_of(probe.counts, self.limits.param_count)
            if count > cap:
                reason = f"{format_count(count)} parameters, above max_params = {cap:.3g}"
                self.prober.skipped[size] = Failure(kind="", message=reason)
        self.above = min((size for size in sizes if self._params(size) > cap), key=self._params, default=None)
        return [size for size in sizes if self._params(size) <= cap]

    def _found(self) -> list[int]:
        self.prober.cross_check(self.first_valid())
        first = self.first_valid()
        if self.powers:
            return self._powers(first)
        self.stride = self._stride(first)
        self.base = first = self._smallest(first, self.stride)
        if self._params(first) > self.limits.max_params:
            raise self._all_above_cap(first)
        self.knots = self._climb(first)
        self.prober.steps.filling = True
        return self._fill(self.knots)

    def _powers(self, first: int) -> list[int]:
        """Doubled sizes from `first` to the first above `max_params`; where larger ones are refused, the map ends."""
        self.knots = [first]
        while self._params(self.knots[-1]) <= self.limits.max_params:
            following = [self.knots[-1] << doubling for doubling in range(1, _SAME_FAILURES + 1)]
            found = next((size for size in following if self.params(size) is not None), None)
            if found is None:
                break
            self.knots.append(found)
            self._require_change(self.knots, enough=len(self.knots) > _CONSTANT_DOUBLINGS)
        if len(self.knots) == 1 and self._params(first) > self.limits.max_params:
            raise self._all_above_cap(first)
        self._require_change(self.knots, enough=len(self.knots) > 1)
        return self.knots

    def _given(self, values: Sequence[int]) -> list[int]:
        """Those of `size_values` that the model accepts, at least one of them within `max_params`."""
        tried = sorted({int(value) for value in values})
        valid = [size for size in tried if self.params(size) is not None]
        if not valid:
            raise self._nothing_valid([size for size in tried if self.lowest <= size <= self.highest])
        self.prober.cross_check(valid[0])
        if all(self._params(size) > self.limits.max_params for size in valid):
            raise self._all_above_cap(valid[0])
        self._require_change(valid, enough=len(valid) > 1)
        self.knots = valid
        return valid

    def _all_above_cap(self, smallest: int) -> PlanError:
        return PlanError(
            f"the smallest size, {self._label(smallest)}, has more than max_params = {self.limits.max_params:.3g}; "
            "raise max_params or allow smaller sizes"
        )

    def _params(self, size: int) -> float:
        count = self.params(size)
        assert count is not None
        return count

    def _label(self, size: int) -> str:
        return f"{self.prober.request.at(size)} with {format_count(self._params(size))} parameters"

    def _nothing_valid(self, tried: Sequence[int]) -> ModelContractError:
        """The error for a model that no size could be built of."""
        request = self.prober.request
        shown = ", ".join(map(str, tried[:5])) + (", …" if len(tried) > 5 else "")
        reason = self.prober.skipped[tried[-1]].reason if tried else "there is none to try"
        missing = next((f for f in map(self.prober.skipped.get, tried) if f and f.kind == "ModuleNotFoundError"), None)
        if missing is not None and (package := _PACKAGE.search(missing.message)):
            return ModelContractError(
                f"{request.name} imports {package[1]}, which is not installed: pip install {package[1]}, or correct "
                "the import if it is a module of your own"
            )
        if request.dial.values is not None:
            return ModelContractError(
                f"no row of sizes is valid for {request.name}; at {request.at(tried[-1])}: {reason}; correct the "
                "constructor, its arguments or the rows"
            )
        multiple = self.limits.size_multiple
        only = f" (only {in_words(multiple)} are tried, by size_multiple)" if multiple else ""
        error = ModelContractError(
            f"no valid size of {request.name} was found among {request.size_param} = {shown}{only}; at "
            f"{tried[-1] if tried else self.lowest}: {reason}; correct the constructor or its arguments, or give the "
            "valid sizes as size_values"
        )
        error.__cause__ = self.prober.first_error
        return error

    def _stride(self, size: int) -> int:
        """Distance of `size` to the next valid size above."""
        divisors = [step for step in range(1, min(size // self.unit, 4096) + 1) if size % (self.unit * step) == 0]
        for step in sorted({size, *(self.unit * step for step in (*_STRIDES, *divisors))}):
            if self.params(size + step) is not None:
                return step
        return size

    def _smallest(self, valid: int, stride: int) -> int:
        """The smallest valid size on the lattice of `valid`, taking validity to begin somewhere and not end."""
        below, refused = 0, (valid - self.lowest) // stride + 1  # in steps down from `valid`
        step = refused - 1
        while refused - below > 1:
            if self.params(valid - step * stride) is not None:
                below = step
            else:
                refused = step
            step = (below + refused) // 2
        return valid - below * stride

    def _climb(self, first: int) -> list[int]:
        """Doubled sizes up to the reference, the largest there, and from it doubled ones to the first above max_params.

        Nothing below the reference depends on `max_params`, so that to raise it adds sizes and moves none.
        """
        knots, in_reference = [first], self._params(first) <= _REFERENCE_PARAMS
        for doubling in range(_MOST_DOUBLINGS):
            self.prober.beyond_map = self._params(knots[-1]) > self.limits.max_params
            following = self._next(knots[-1])
            if following is None:
                break
            if in_reference and self._params(following) > _REFERENCE_PARAMS:
                in_reference = False
                knots += self._largest_below_reference(knots[-1], following)
            elif not in_reference and self._params(knots[-1]) > self.limits.max_params:
                break
            else:
                knots.append(following)
            self._require_change(knots, enough=doubling >= _CONSTANT_DOUBLINGS)
        self.prober.beyond_map = False
        self._require_change(knots, enough=len(knots) > 1)
        return knots

    def _next(self, size: int) -> int | None:
        """A valid size about twice `size`, or the largest within max_size."""
        if size >= self.highest:
            return None
        target = int(min(2 * size, self.highest))
        return self._any_valid(target, size + 1, int(min(4 * size, self.highest)))

    def _largest_below_reference(self, below: int, above: int) -> list[int]:
        """The largest size not above the reference, closely enough; none where `below` is it."""
        best: list[int] = []
        for _ in range(6):
            low, high = self._params(below), self._params(above)
            if low >= _CLOSE * _REFERENCE_PARAMS or high <= low:
                break
            share = (math.log(_REFERENCE_PARAMS) - math.log(low)) / (math.log(high) - math.log(low))
            target = round(math.exp(math.log(below) + share * math.log(above / below)) * 0.99)
            found = self._any_valid(target, below + 1, above - 1)
            if found is None:
                break
            if self._params(found) <= _REFERENCE_PARAMS:
                below, best = found, [found]
            else:
                above = found
        return best

    def _any_valid(self, target: int, low: int, high: int) -> int | None:
        """A valid size near `target`; where nearer ones were built but could not run, its multiples from then on."""
        refused = self.prober.steps.refused
        before = len(refused)
        for size in _nearby(target, low, high, self.base, self.stride):
            if self.params(size) is not None:
                if len(refused) > before:
                    self.base, self.stride = size, self.stride * math.gcd(size // self.stride, _COARSEST)
                return size
        return None

    def _require_change(self, knots: Sequence[int], *, enough: bool) -> None:
        counts = {self._params(size) for size in knots}
        request = self.prober.request
        if len(counts) == 1 and enough and request.dial.values is not None:
            raise ModelContractError(
                f"{request.name} has {format_count(counts.pop())} parameters at every row of sizes; give rows that "
                "differ in size"
            )
        if len(counts) == 1 and enough:
            sizes = ", ".join(map(str, knots[:3]))
            raise ModelContractError(
                f"{request.size_param} changes nothing: {request.name} has {format_count(counts.pop())} parameters at "
                f"each of {request.size_param} = {sizes}{', …' if len(knots) > 3 else ''}; name the argument that sets "
                f"the size{f' ({self.hint})' if self.hint else ''}"
            )

    def _fill(self, knots: list[int]) -> list[int]:
        """Sizes between the knots, each gap in log N divided evenly, up to the first gap above `max_params`."""
        sizes, failures = set(knots), 0
        for low, high, parts in self._division(knots):
            if min(self._params(low), self._params(high)) > self.limits.max_params:
                continue
            for part in range(1, parts):
                if failures == 3:
                    self._note_sparse(knots)
                    return sorted(sizes)
                target = round(low * (high / low) ** (part / parts))
                if next(_nearby(target, low + 1, high - 1, self.base, self.stride), None) in sizes:
                    continue
                found = self._any_valid(target, low + 1, high - 1)
                if found is not None:
                    sizes.add(found)
                    if self._params(found) > self.limits.max_params:
                        break
                elif high - low > self.stride:
                    failures += 1
        return sorted(sizes)

    def _division(self, knots: Sequence[int]) -> list[tuple[int, int, int]]:
        """Neighbouring knots and into how many parts to divide their gap in log N.

        Below the reference always the widest is divided, until there are about `num_sizes`; above, as finely as there.
        """
        pairs = list(itertools.pairwise(knots))
        gaps = [abs(math.log(self._params(high) / self._params(low))) for low, high in pairs]
        inside = [index for index, (_, high) in enumerate(pairs) if self._params(high) <= _REFERENCE_PARAMS]
        parts = [1] * len(pairs)
        for _ in range(self.limits.num_sizes - len(inside) - 1):
            widest = max(inside, key=lambda index: gaps[index] / parts[index], default=None)
            if widest is None or gaps[widest] == 0:
                break
            parts[widest] += 1
        step = max((gaps[index] / parts[index] for index in inside), default=0) or _WIDEST_STEP
        for index in set(range(len(pairs))) - set(inside):
            parts[index] = max(1, math.ceil(gaps[index] / step))
        return [(low, high, count) for (low, high), count in zip(pairs, parts, strict=True)]

    def _note_sparse(self, knots: Sequence[int]) -> None:
        self.prober.notes.append(
            f"many sizes between {knots[0]} and {knots[-1]} are refused by the model; those found may be few: "
            "give the valid sizes as size_values"
        )


def _starts(lowest: int, unit: int) -> Iterator[int]:
    """Sizes at or above `lowest` to begin with, in `unit`s: multiples of powers of two, then of odd numbers times
    those."""
    seen = set()
    for odd in _ODD_FACTORS:
        factor = odd
        while factor <= max(odd, _LARGEST_START // unit):
            size = math.ceil(lowest / factor) * factor
            if size not in seen:
                seen.add(size)
                yield size
            factor *= 2


def _nearby(target: int, low: int, high: int, first: int, stride: int) -> Iterator[int]:
    """Sizes within [low, high] near `target`: on the lattice first + k·stride, then multiples of its multiples."""
    seen = set()
    nearest = first + round((target - first) / stride) * stride
    coarser = [round(target / (factor * stride)) * factor * stride for factor in (2, 3, 4, 8, 16, 32, 64)]
    for size in (nearest, nearest - stride, nearest + stride, *coarser):
        if low <= size <= high and size not in seen:
            seen.add(size)
            yield size
