"""Whether experiments can be trained at once, and whether it pays: found by a few steps, of which nothing is kept."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from flops_fit.basics.devices import autocast
from flops_fit.basics.formatting import safe_text
from flops_fit.data.batches import Examples
from flops_fit.training.loop import Job
from flops_fit.training.stacked.batches import StackedReader, Unequal
from flops_fit.training.stacked.decision import Decision
from flops_fit.training.stacked.kept import changed, kept_by
from flops_fit.training.stacked.member import Member
from flops_fit.training.stacked.stack import CannotStack, Stack
from flops_fit.training.training_run import prepare_loop

WORTH = 1.2  # times as fast it must be, where nobody has asked for it
_LEAST_STEPS, _MOST_STEPS, _SECONDS = 3, 15, 0.4  # that are timed, after one that warms up
_FEWER = 4  # at once, where all of them are not worth it
_TOLERANCE, _TOLERANCE_OF_HALF = 1e-4, 3e-2  # of a gradient, by its norm; of bfloat16
_EXAMPLES = 4096  # that are read for it
_LONGEST = 120  # letters of what torch says


def decide(jobs: Sequence[Job], device: torch.device, asked: int | str) -> Decision:
    """Try `jobs`, of one shape, at once: the same losses and gradients as alone, to rounding, and in less time.

    Where `asked` is a number the time does not count. Never raises for what the model, data or loss do.
    """
    try:
        gains = _gains([replace(job, resume=False) for job in with_own_loss(jobs)], device, asked)
    except (CannotStack, Unequal) as error:
        return Decision(at_once=1, of=len(jobs), why=str(error))
    except (Exception, SystemExit) as error:  # whatever the user's code or torch.func make of it
        return Decision(at_once=1, of=len(jobs), why=f"torch.func.vmap cannot run it ({_said(error)})")
    best = max(gains, key=lambda width: gains[width])
    if asked == "auto" and gains[best] < WORTH:
        gain = math.floor(100 * gains[best]) / 100  # not 1.20 of what is less
        why = f"{best} at once are only {gain:.2f} times as fast, less than {WORTH:g}"
        return Decision(at_once=1, of=len(jobs), why=why, gain=gains[best])
    return Decision(at_once=best, of=len(jobs), gain=gains[best])


def _said(error: BaseException) -> str:
    first_line = safe_text(str(error)).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {first_line[:_LONGEST]}"


def with_own_loss(jobs: Sequence[Job]) -> list[Job]:
    """`jobs` with a copy of their loss, one for all: what it keeps from call to call reaches no other training.

    Raises `CannotStack` where it cannot be copied.
    """
    try:
        copied = copy.deepcopy(jobs[0].loss_fn)
    except Exception as error:  # of the user's own class
        raise CannotStack(f"the loss cannot be copied ({_said(error)})") from error
    return [replace(job, loss_fn=copied) for job in jobs]


def _few(examples: Examples) -> Examples:
    """The first of them: an order of all is half a second for ten million, and each seed has one."""
    count = min(examples.num_examples or 0, _EXAMPLES)
    return replace(examples, indices=torch.arange(count) if examples.indices is None else examples.indices[:count])


def _gains(jobs: Sequence[Job], device: torch.device, asked: int | str) -> dict[int, float]:
    """How many at once → times as fast; those are tried until some are worth it."""
    seconds = _compared(jobs, device)
    gains = {len(jobs): seconds[0] / seconds[1]}
    if asked == "auto" and gains[len(jobs)] < WORTH and len(jobs) > _FEWER:
        few = _prepared(jobs[:_FEWER], device)
        gains[_FEWER] = seconds[0] / _seconds_at_once(Stack(few), StackedReader(_few(jobs[0].data.train), few))
    return gains


def _compared(jobs: Sequence[Job], device: torch.device) -> tuple[float, float]:
    """Seconds of a training's step alone, and at once with all the others; raises `CannotStack` where they differ."""
    members = _prepared(jobs, device)
    before = [_buffers(member) for member in members]
    drawn = _random_state()
    try:
        losses = [_step_alone(member) for member in members]
    except (Exception, SystemExit) as error:
        raise CannotStack("its first step fails, as its own training says") from error
    if _random_state() != drawn:
        raise CannotStack("model, data or loss draw at random (dropout, say), and at once would draw others")
    if members[0].largest_part is not None:
        raise CannotStack("its batch does not fit into memory at once")
    gradients, after = [_gradients(member) for member in members], [_buffers(member) for member in members]
    kept = _kept(members[0])
    alone = _seconds_alone(members[0])
    if name := changed(kept, _kept(members[0])):
        raise CannotStack(f"{name} changes from step to step, and no checkpoint keeps it")
    for member, values in zip(members, before, strict=True):
        for name, buffer in member.model.named_buffers():
            buffer.copy_(values[name])
    places = {id(member): at for at, member in enumerate(members)}
    fresh = _reset(members)
    stack = Stack(fresh)
    reader = StackedReader(_few(jobs[0].data.train), stack.members)
    together = stack.losses(reader.read(_count(stack.members[0])))
    stack.update([0.0] * len(together))
    half = isinstance(autocast(jobs[0].recipe.precision, device), torch.autocast)
    limit = _TOLERANCE_OF_HALF if half else _TOLERANCE
    for at, member in enumerate(stack.members):
        one = places[id(member)]
        _refuse_other("loss", torch.tensor(losses[one]), torch.tensor(together[at]), limit, 1.0)
        whole = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(item) for item in gradients[one].values()])
        )
        for name, gradient in stack.gradients(at).items():
            _refuse_other(f"gradient of {name}", gradients[one][name], gradient, limit, whole)
        for name, value in _buffers(member).items():
            _refuse_other(f"buffer {name}", after[one][name].double(), value.double(), limit, 1.0)
    return alone, _seconds_at_once(stack, reader)


def _prepared(jobs: Sequence[Job], device: torch.device) -> list[Member]:
    """New models and optimizers, as before the first step."""
    made = []
    for job in jobs:
        member = prepare_loop(job, device, None, kind=Member)
        assert isinstance(member, Member)
        member.model.train()
        made.append(member)
    return made


def _reset(members: Sequence[Member]) -> Sequence[Member]:
    """Their optimizers as before the first step; the weights have not moved."""
    for member in members:
        for part in member.optimizer.parts:
            part.state.clear()
    return members


def _step_alone(member: Member) -> float:
    reader = _few(member.job.data.train).reader(member.order)
    return member.rehearse(reader.read(_count(member)))


def _count(member: Member) -> int:
    """Examples of its first step."""
    return member.steps.end(1)


def _gradients(member: Member) -> dict[str, torch.Tensor]:
    found = {}
    for name, item in member.model.named_parameters():
        if item.requires_grad:
            if item.grad is None:
                raise CannotStack(f"{name} gets no gradient, so AdamW leaves it as it is")
            found[name] = item.grad.clone()
    return found


def _buffers(member: Member) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in member.model.named_buffers()}


def _kept(member: Member) -> dict[str, list[Any]]:
    """What its model and its loss hold that its checkpoint does not."""
    model, loss_fn = member.model, member.job.loss_fn
    of_model, of_loss = kept_by(model, model.state_dict().keys()), kept_by(loss_fn)
    return {
        **{f"the model's {name}": values for name, values in of_model.items()},
        **{f"the loss's {name}": values for name, values in of_loss.items()},
    }


def _random_state() -> tuple[Any, ...]:
    """Of all generators that a training may draw from."""
    of_numpy: Any = np.random.get_state()  # noqa: NPY002 (users' code draws from it)
    cuda = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    return random.getstate(), of_numpy[1].tobytes(), of_numpy[2], torch.get_rng_state().numpy().tobytes(), cuda


def _refuse_other(what: str, alone: torch.Tensor, at_once: torch.Tensor, limit: float, scale: float) -> None:
    """Raise `CannotStack` unless both are equal to `limit` of the first's norm, or to much less of `scale`."""
    off, norm = (float(torch.linalg.vector_norm(item.float())) for item in (alone - at_once, alone))
    if not off <= limit * norm + 0.01 * limit * scale:
        raise CannotStack(f"it is not the same at once: the {what} is off by {off / max(norm, 1e-30):.1g} of its size")


def _seconds_alone(member: Member) -> float:
    reader, count = _few(member.job.data.train).reader(member.order), _count(member)
    return _seconds(lambda: member.rehearse(reader.read(count)), member.device)


def _seconds_at_once(stack: Stack, reader: StackedReader) -> float:
    """Of a step of one, as its share of a step of all."""
    members, count = stack.members, _count(stack.members[0])

    def step() -> None:
        stack.losses(reader.read(count))
        stack.update([0.0] * len(members))

    return _seconds(step, members[0].device) / len(members)


def _seconds(step: Callable[[], Any], device: torch.device) -> float:
    """Of one step, the least of several: on a CPU of this process's own time, whatever else the machine does."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    took: list[float] = []
    step()
    while len(took) < _LEAST_STEPS or (len(took) < _MOST_STEPS and sum(took) < _SECONDS):
        begin = clock()
        step()
        took.append(clock() - begin)
    return max(min(took), 1e-9)
