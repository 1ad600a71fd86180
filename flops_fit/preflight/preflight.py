"""Before any spending: a few steps at the smallest and the largest size, to find what would fail and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flops_fit.basics.devices import choose_device, device_name
from flops_fit.basics.formatting import format_bytes, format_seconds, markdown_table, safe_text
from flops_fit.basics.random_state import isolated_random_state
from flops_fit.cost.devices import devices_text
from flops_fit.cost.step_seconds import StepSeconds, TimedStep
from flops_fit.data.leaks import Leak, find_leaks
from flops_fit.data.study_data import StudyData
from flops_fit.errors import StudyError
from flops_fit.preflight.first_steps import Trial, try_experiment
from flops_fit.processes.alive import users_code
from flops_fit.processes.workers import outer_environment
from flops_fit.recipe.steps import plan_steps
from flops_fit.slurm.queue import refuse_without_slurm
from flops_fit.stages import study_cost

if TYPE_CHECKING:
    from flops_fit.processes.workers import TaskOutcome
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan


IN_WORKERS = "flops_fit.preflight.first_steps:try_in_worker"
InWorkers = Callable[[Sequence["Experiment"]], Iterable["TaskOutcome"]]
"""Runs `try_in_worker` on each experiment in processes of its own, so that a crash is a problem among others."""


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What a few steps at both ends of a plan have shown.

    Attributes:
        trials: of the smallest size, then of the largest; one where the plan has one size. After them those of others,
            which are only timed, that failed.
        device: that the steps ran on.
        device_hours: of all trainings of the plan; None where a size could not be timed.
        wall_seconds: until the last worker is done, if none ever waits; None likewise.
        timed: the steps; None likewise.
        num_experiments, workers: of the plan, and how many train side by side.
        devices: which trainings take how many devices and why, in words; "" where each takes one.
        leaks: what of the held-out data was found in the training data.
    """

    trials: tuple[Trial, ...]
    device: str
    device_hours: float | None
    wall_seconds: float | None
    timed: StepSeconds | None
    num_experiments: int
    workers: int
    devices: str = ""
    leaks: tuple[Leak, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """What does not keep a study from running but from meaning what it says: held-out data that is trained on, a
        loss that is no mean."""
        of_steps = dict.fromkeys(doubt for trial in self.trials[:1] for doubt in trial.doubts)
        return (*of_steps, *(leak.text() for leak in self.leaks if leak.is_finding))

    @property
    def problems(self) -> tuple[str, ...]:
        """Every failure of every size, with size, stage and reason."""
        return tuple(f"{trial.name}, {problem}" for trial in self.trials for problem in trial.problems)

    @property
    def nothing_works(self) -> bool:
        """Whether every size tried failed, so that a study would most likely be spent on failures."""
        return all(trial.problems for trial in self.trials)

    def summary(self) -> str:
        """A table of both sizes, what the plan would take at that speed, and all problems."""
        lines = [self._table(), self.cost()]
        lines += [f"warning: {doubt}" for doubt in self.doubts]
        lines += [leak.text() for leak in self.leaks if not leak.is_finding]
        count = len(self.problems)
        lines.append(f"{count} problem{'s' if count > 1 else ''}:" if count else "no problems found")
        return "\n".join([*lines, *(f"- {problem}" for problem in self.problems)])

    def cost(self) -> str:
        """One line: what all trainings take, extrapolated from the steps timed here."""
        if self.device_hours is None or self.wall_seconds is None:
            return f"{self.num_experiments} experiments; how long they take could not be measured"
        seconds, workers = self.device_hours * 3600, f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return (
            f"{self.num_experiments} experiments: {format_seconds(seconds)} of training on one device, "
            f"{format_seconds(self.wall_seconds)} on {workers}, timed on {self.device}"
            f"{f'; {self.devices}' if self.devices else ''}"
        )

    def _table(self) -> str:
        memory = "memory (estimated)" if self.device in ("cpu", "mps") else "peak memory"
        headers = ["size", "examples per step", "loss at the start", "seconds per step", memory]
        return markdown_table(headers, [_row(trial) for trial in self.trials])


def preflight(study: Study, plan: SweepPlan, in_workers: InWorkers | None = None) -> Preflight:
    """Take a few steps of the smallest and of the largest experiment of `plan`, as training would take them.

    The steps run through the training's own code (a batch that does not fit into memory is split, for example) at a
    learning rate of 0, so that what is found is the model's, the data's or the loss's own and not the rate's. Then
    comes a held-out step on one batch. Held-out examples are looked for in the training data. All failures at both
    sizes are reported together. Nothing is written, the global random state is as before, and the models are gone
    afterwards.

    With `in_workers` this happens in other processes, otherwise here.

    Raises `StudyError` for a study without data or loss, or a plan without experiments.
    """
    refuse_trainer(study)
    if study.prepared_data is None or study.loss_function is None:
        raise StudyError(f"study {study.name!r} has no data or no loss; both are needed to take a step")
    ends = _ends(plan)
    device = choose_device(study.hardware.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise StudyError(f'hardware.device = "{device}" and no GPU is to be seen here; set device = "auto" or "cpu"')
    trials = _there(in_workers, ends) if in_workers else _here(study, ends, device)
    if not any(trial.problems for trial in trials) and (more := _to_time(study, plan, ends)):
        between = _there(in_workers, more) if in_workers else _here(study, more, device)
    else:
        between = ()
    timed = _step_seconds(study, (*trials, *between), device_name(device))
    cost = study_cost(study, plan, timed=timed) if timed else None
    return Preflight(
        trials=(*trials, *(trial for trial in between if trial.problems)),
        device=device_name(device),
        device_hours=cost.device_hours if cost else None,
        wall_seconds=cost.wall_seconds if cost else None,
        timed=timed,
        num_experiments=len(plan.trainings),
        workers=study.hardware.num_workers(),
        devices=devices_text(cost.devices) if cost else "",
        leaks=_leaks(study.prepared_data),
    )


@users_code("its held-out examples are looked for in the training data")
def _leaks(data: StudyData) -> tuple[Leak, ...]:
    return find_leaks(data)


@users_code("its first steps are taken")
def _here(study: Study, ends: Sequence[Experiment], device: torch.device) -> tuple[Trial, ...]:
    with isolated_random_state(), _one_thread():
        return tuple(try_experiment(study, experiment, device) for experiment in ends)


def _there(in_workers: InWorkers, ends: Sequence[Experiment]) -> tuple[Trial, ...]:
    found = {}
    for outcome in in_workers(ends):
        tried = ends[outcome.index]
        problem = f"first steps: {safe_text(outcome.error or 'no answer')}"
        found[outcome.index] = outcome.value or Trial(experiment=tried, problems=(problem,))
    return tuple(found[index] for index in range(len(ends)))


def refuse_trainer(study: Study) -> None:
    """Raise `StudyError` for a study with a trainer of its own, of which no step can be taken here."""
    if study.trainer is not None:
        raise StudyError(
            f"study {study.name!r} has a trainer, whose steps are not taken here; try trainer.command by hand at the "
            "smallest and the largest size of `flops-fit plan`, and its learning rate with your own tools"
        )


def preflight_if_due(
    study: Study,
    plan: SweepPlan,
    finished: Container[str],
    in_workers: InWorkers | None = None,
) -> Preflight | None:
    """`preflight` where much is at stake: several experiments are missing, one of them the smallest or the largest.

    A study with a trainer of its own, whose steps are not ours to take, has none, nor has one whose trainings are jobs
    on other machines than this.

    Raises `StudyError` with all problems where no size gets through its first steps, and where there are no jobs.
    """
    if study.slurm is not None and any(item.experiment_id not in finished for item in plan.trainings):
        refuse_without_slurm(outer_environment())
    if study.trainer is not None or study.slurm is not None:
        return None
    missing = [item for item in plan.experiments if item.experiment_id not in finished]
    if len(missing) < 2 or all(item.experiment_id in finished for item in _ends(plan)):
        return None
    found = preflight(study, plan, in_workers)
    if found.nothing_works:
        listed = "\n".join(f"- {problem}" for problem in found.problems)
        raise StudyError(f"no size tried gets through its first steps, so nothing is trained; correct these:\n{listed}")
    return found


def _ends(plan: SweepPlan) -> list[Experiment]:
    """The smallest and the largest experiment, of equal sizes the one with less or more tokens."""
    if not plan.experiments:
        raise StudyError("the plan has no experiments to try; raise the budgets or add smaller sizes")
    ordered = sorted(plan.experiments, key=lambda item: (item.num_params, item.num_tokens))
    same_size = ordered[0].size_param_value == ordered[-1].size_param_value
    return ordered[-1:] if same_size else [ordered[0], ordered[-1]]


def _to_time(study: Study, plan: SweepPlan, ends: Sequence[Experiment]) -> list[Experiment]:
    """Others whose steps tell how long all take: the one with most tokens in a step, and one between the `ends`."""
    at = {item: _steps_and_flops(study, item) for item in plan.experiments}
    most = max(plan.experiments, key=lambda item: item.num_tokens / at[item][0])
    between = sorted(plan.experiments, key=lambda item: at[item][1])[len(plan.experiments) // 2]
    return [item for item in dict.fromkeys((most, between)) if item not in ends]


def _step_seconds(study: Study, trials: Sequence[Trial], device: str) -> StepSeconds | None:
    """The steps of `trials`, where all were timed."""
    timed = []
    for trial in trials:
        if trial.seconds_per_step is None:
            return None
        steps, flops = _steps_and_flops(study, trial.experiment)
        tokens = trial.experiment.num_tokens / steps
        timed.append(TimedStep(tokens=tokens, flops=flops, seconds=trial.seconds_per_step))
    return StepSeconds(timed=tuple(timed), device=device, outcome=study.outcome_fingerprint())


def _steps_and_flops(study: Study, experiment: Experiment) -> tuple[int, float]:
    assert study.prepared_data is not None
    steps = plan_steps(study.training, experiment, study.prepared_data.tokens_per_example).steps
    return steps, experiment.planned_flops / steps


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in worker processes, so that steps take as long here as there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _row(trial: Trial) -> list[str]:
    batch = "–" if trial.batch_examples is None else str(trial.batch_examples)
    if trial.part_examples is not None:
        batch += f" (in parts of {trial.part_examples})"
    return [
        trial.name,
        batch,
        "–" if trial.initial_loss is None else f"{trial.initial_loss:.4f}",
        "–" if trial.seconds_per_step is None else f"{trial.seconds_per_step:.3g}",
        "–" if trial.memory_bytes is None else format_bytes(trial.memory_bytes),
    ]
