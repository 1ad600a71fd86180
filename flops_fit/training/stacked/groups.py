"""Which experiments may be trained at once: those whose models, batches and steps are equal in shape."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from flops_fit.basics.memory import ram_bytes
from flops_fit.cost.estimate import peak_memory
from flops_fit.errors import DataError, StudyError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.recipe.steps import plan_steps

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

Item = TypeVar("Item")

MOST = 16  # at once, where nobody says how many: beyond it little is gained
_MEMORY_SHARE = 0.5  # of the machine that all stacks may take
_LEVELLED: dict[str, Any] = {"learning_rate": 1.0, "weight_decay": 0.0, "warmup_fraction": 0.0, "final_fraction": 0.0}


def why_never(study: Study) -> str | None:
    """Why no experiments of `study` can be trained at once, whatever they are; None where some may be."""
    recipe, data = study.training, study.prepared_data
    if study.trainer is not None:
        return "a trainer of your own has a process for each"
    if data is None or study.loss_function is None:
        return "there is nothing to train without data and loss"
    reasons = {
        "share_trunk goes on from one training to the next": recipe.share_trunk,
        "training.optimizer is a function of yours, and only AdamW is known to act on each number alone": callable(
            recipe.optimizer
        ),
        "training.compile makes one model of it": recipe.compile,
        "training.timeout_seconds is the time of one": recipe.timeout_seconds is not None,
        "the data is a stream, which is read by one training at a time": data.train.num_examples is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def stacks_of(
    study: Study, experiments: Sequence[Experiment], *, apart: str | None = None
) -> list[tuple[Experiment, ...]]:
    """All `experiments` in tuples of those that are to be tried at once, in the order of their first; most of one.

    With fewer tuples than workers the largest are halved, so that no worker is idle. `apart` is why each is to be alone
    though the study itself would have several at once.
    """
    if most_at_once(study) < 2 or why_never(study) or apart:
        return [(item,) for item in experiments]
    alike: dict[Hashable, list[Experiment]] = {}
    for item in experiments:
        alike.setdefault(_shape(study, item), []).append(item)
    stacks = [part for same in alike.values() for part in parts_of(same, _most_in_memory(study, same[0]))]
    workers = study.hardware.num_workers()
    while len(stacks) < workers and (widest := max(stacks, key=len, default=())) and len(widest) > 1:
        at, half = stacks.index(widest), len(widest) // 2
        stacks[at : at + 1] = [widest[:-half], widest[-half:]]
    place = {item.experiment_id: at for at, item in enumerate(experiments)}
    return sorted(stacks, key=lambda stack: place[stack[0].experiment_id])


def grouped_in_words(study: Study, stacks: Sequence[Sequence[Experiment]], *, apart: str | None = None) -> list[str]:
    """What `trainings_per_device` comes to for `stacks`, as `stacks_of` has them, in a line; none where it is 1."""
    asked, several = study.hardware.trainings_per_device, [stack for stack in stacks if len(stack) > 1]
    if asked == 1 or not stacks:
        return []
    if most_at_once(study) < 2:
        return [f"{asked} trainings share each GPU, with 1/{asked} of its memory each"]
    if why := why_never(study) or apart:
        return [f"each is trained alone: {why}"]
    if not several:
        return [f"each is trained alone: {_why_no_group(study, [item for stack in stacks for item in stack])}"]
    count, widest = sum(map(len, several)), max(map(len, several))
    groups = f"{len(several)} group{'s' if len(several) > 1 else ''} of up to {widest}"
    return [f"tried at once: {count} of {sum(map(len, stacks))} experiments, in {groups}"]


def _why_no_group(study: Study, experiments: Sequence[Experiment]) -> str:
    if len({_shape(study, item) for item in experiments}) == len(experiments):
        return "no two have the same size, tokens and batch, as several seeds would"
    if len(experiments) <= study.hardware.num_workers():
        return "there is a worker for each"
    return "no two of one size, tokens and batch fit into a worker's memory"


def most_at_once(study: Study) -> int:
    """How many one process may train at once by the study's hardware; 1 where each has a process."""
    asked = study.hardware.trainings_per_device
    if asked == "auto":
        return MOST
    from flops_fit.basics.devices import choose_device

    assert isinstance(asked, int)
    is_cpu = asked > 1 and choose_device(study.hardware.device).type == "cpu"
    return asked if is_cpu else 1  # on a GPU so many processes share it


def _shape(study: Study, experiment: Experiment) -> Hashable:
    """Equal for experiments that differ in seed, rate and the like alone."""
    data = study.prepared_data
    assert data is not None
    try:
        recipe = replace(study.training.of(experiment), **_LEVELLED)
        steps = plan_steps(study.training, experiment, data.tokens_per_example)
    except (StudyError, DataError):  # which its own training says
        return experiment.experiment_id
    size = (experiment.size_param, experiment.size_param_value, content_hash(dict(experiment.arguments)))
    return size, steps, recipe.betas, experiment.outcome_fingerprint


def _most_in_memory(study: Study, experiment: Experiment) -> int:
    """As many as are asked for, or as fit into the share of memory that is a worker's."""
    needed, hardware = peak_memory(experiment, study.training), study.hardware
    there = hardware.memory or (ram_bytes() or 0.0) * _MEMORY_SHARE / hardware.num_workers()
    most = most_at_once(study)
    return most if not needed or not there else max(1, min(most, int(there / (2 * needed))))


def parts_of(same: Sequence[Item], most: int) -> list[tuple[Item, ...]]:
    """`same` in as few parts of at most `most` as there can be, of about one length."""
    count = -(-len(same) // most)
    ends = [len(same) * part // count for part in range(count + 1)]
    return [tuple(same[first:end]) for first, end in itertools.pairwise(ends)]
