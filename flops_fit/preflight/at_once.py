"""What a few steps say about training several experiments of a plan at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.devices import choose_device
from flops_fit.basics.random_state import isolated_random_state
from flops_fit.processes.process_state import process_state_kept
from flops_fit.training.loop import Job
from flops_fit.training.stacked.groups import grouped_in_words, stacks_of
from flops_fit.training.stacked.trial import decide

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan


def tried_at_once(study: Study, plan: SweepPlan, *, apart: str | None = None) -> Iterator[str]:
    """A line on the groups of `plan`, then one each on the groups with the smallest and the largest model, tried here;
    none where `trainings_per_device` is 1. `apart` is as in `stacks_of`."""
    stacks = stacks_of(study, plan.trainings, apart=apart)
    yield from grouped_in_words(study, stacks, apart=apart)
    several = sorted((stack for stack in stacks if len(stack) > 1), key=lambda stack: stack[0].num_params)
    for stack in dict.fromkeys([*several[:1], *several[-1:]]):
        yield f"{stack[0].size_text}, {len(stack)} at once: {_tried(study, stack)}"


def _tried(study: Study, stack: tuple[Experiment, ...]) -> str:
    import torch

    data, loss_fn, threads = study.prepared_data, study.loss_function, torch.get_num_threads()
    assert data is not None
    assert loss_fn is not None
    nowhere = Path("nowhere")  # as nothing is written
    jobs = [
        Job(study=study, experiment=item, data=data, loss_fn=loss_fn, directory=nowhere, resume=False) for item in stack
    ]
    with process_state_kept(), isolated_random_state():
        torch.set_num_threads(1)  # as in the workers
        try:
            found = decide(jobs, choose_device(study.hardware.device), study.hardware.trainings_per_device)
        finally:
            torch.set_num_threads(threads)
    if found.at_once == 1:
        return f"each is trained alone, since {found.why}"
    fewer = "" if found.at_once == len(stack) else f", {found.at_once} at a time"
    return f"a step is {found.gain:.1f} times as fast{fewer}, and the same to rounding"
