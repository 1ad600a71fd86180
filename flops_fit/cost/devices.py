"""How many devices each training takes, and why; how trainings are run changes no experiment's id."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_bytes, format_seconds
from flops_fit.errors import StudyError

if TYPE_CHECKING:
    from flops_fit.cost.hardware import Hardware
    from flops_fit.sweep.experiment import Experiment

LEAST_SECONDS = 60.0  # of a training on one device for which "auto" starts several processes
_NAMED = 3  # experiments in a sentence
_BYTES_PER_PARAM = "weights, gradients and AdamW's moments, 16 bytes a parameter"


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of one training: how many, and why more than one ("" for one)."""

    count: int = 1
    why: str = ""


def devices_of(
    experiments: Iterable[Experiment],
    hardware: Hardware,
    seconds: Mapping[str, float],
    memory: Mapping[str, float | None],
    least_memory: Mapping[str, float | None],
    batch_examples: Mapping[str, float],
) -> dict[str, Devices]:
    """Experiment id → `Devices`, as `hardware.devices_per_training` says.

    With "auto" a training takes one, but for two reasons: alone it would outlast an even share of all trainings'
    `seconds` per worker (then as many as bring it down to that), or its batch does not fit one device (then as many as
    hold it at once). It never takes more than there are workers, or examples in a step.

    Args:
        seconds: on one device.
        memory: bytes with whole batches, None where not known.
        least_memory: the same with one token at a time: what every device holds, however many there are.
        batch_examples: examples of a step.
    """
    asked, all_of_them = hardware.devices_per_training, list(experiments)
    if isinstance(asked, int):
        why = f"devices_per_training = {asked}" if asked > 1 else ""
        return {item.experiment_id: Devices(count=asked, why=why) for item in all_of_them}
    workers = hardware.num_workers()
    share = sum(seconds[item.experiment_id] for item in all_of_them) / workers
    found = {}
    for item in all_of_them:
        name = item.experiment_id
        most = max(1, min(workers, int(batch_examples.get(name, 1))))
        wanted = _by_time(seconds[name], share), _by_memory(memory.get(name), least_memory.get(name), hardware.memory)
        best = max(wanted, key=lambda each: each.count)
        found[name] = Devices(count=min(best.count, most), why=best.why if min(best.count, most) > 1 else "")
    return found


def _by_time(seconds: float, share: float) -> Devices:
    if seconds < LEAST_SECONDS or share <= 0:
        return Devices()
    why = f"{format_seconds(seconds)} on one, longer than an even share of all trainings, {format_seconds(share)}"
    return Devices(count=max(1, round(seconds / share)), why=why)


def _by_memory(whole: float | None, least: float | None, limit: float | None) -> Devices:
    if whole is None or least is None or limit is None or whole <= limit or least >= limit:
        return Devices()
    why = f"{format_bytes(whole)} with a whole batch, one has {format_bytes(limit)}"
    return Devices(count=math.ceil((whole - least) / (limit - least)), why=why)


def usable_devices(found: Mapping[str, Devices], usable: Callable[[int], int]) -> dict[str, Devices]:
    """The same with as many devices as are `usable` of each number."""
    return {name: replace(devices, count=usable(devices.count)) for name, devices in found.items()}


def devices_text(found: Mapping[str, Devices]) -> str:
    """In a line, which experiments take how many devices and why; "" where each takes one."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for name, devices in found.items():
        by_count[devices.count].append(name)
    if set(by_count) <= {1}:
        return ""
    parts = []
    for count in sorted(by_count, reverse=True):
        names = by_count[count]
        if len(by_count) == 1:
            return f"every training takes {count} devices ({found[names[0]].why})"
        if count == 1:
            parts.append(f"{len(names)} train on one")
            continue
        named = "; ".join(f"{name}: {found[name].why}" for name in names[:_NAMED])
        more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        parts.append(f"{len(names)} train{'s' if len(names) == 1 else ''} on {count} devices ({named}{more})")
    return ", ".join(parts)


def devices_refusal(hardware: Hardware, too_large: Sequence[str]) -> str | None:
    """Why trainings on several devices cannot be started, with the remedy; None where they can.

    `too_large` are the ids of experiments that do not fit one device in any number of parts.
    """
    asked, workers = hardware.devices_per_training, hardware.num_workers()
    if asked == 1:
        return None
    if isinstance(asked, int) and asked > workers:
        return (
            f"devices_per_training = {asked} in [hardware] is more than the {workers} devices that train side by side "
            f"(workers); set workers = {asked} if there are that many, or devices_per_training = {workers}"
        )
    if too_large:
        name, limit = too_large[0], hardware.memory
        assert limit is not None
        return (
            f"{len(too_large)} experiments such as {name} do not fit one device of {format_bytes(limit)} "
            f"({_BYTES_PER_PARAM}), and with devices_per_training every device holds all of these; lower max_size or "
            "max_params, take a larger accelerator, or train with a [trainer] of your own that shards (FSDP)"
        )
    return None


def refuse_devices(hardware: Hardware, too_large: Sequence[str]) -> None:
    """Raise `StudyError` where `devices_refusal` has something to say."""
    if refusal := devices_refusal(hardware, too_large):
        raise StudyError(f"nothing was trained: {refusal}")
