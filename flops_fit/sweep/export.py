"""A plan for people who train elsewhere: one JSON file, one command line or one Slurm array task per experiment.

Checks of the learning rate are not among them: other trainers do not get the recipe.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from flops_fit.basics.arguments import LEFT_OUT, TEXT, made_of, need, whole
from flops_fit.basics.files import write_json
from flops_fit.errors import PlanError
from flops_fit.sweep.command import fill, values_of
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.sweep_plan import SweepPlan

SCHEMA = "flops_fit.experiment/1"


def export_json(plan: SweepPlan, directory: str | os.PathLike[str]) -> list[Path]:
    """Write `<directory>/<experiment_id>.json` for every experiment: its fields and the model's other arguments.

    A runs table for `fit_scaling_law` needs from each training the `experiment_id` (or `num_params`, `num_tokens`) and
    the final held-out `loss`.
    """
    shared = {"schema": SCHEMA, "model": plan.model_cls_name, "model_kwargs": plan.to_dict()["model_kwargs"]}
    return [
        write_json(Path(directory) / f"{experiment.experiment_id}.json", shared | experiment.to_dict())
        for experiment in plan.experiments
    ]


def export_commands(plan: SweepPlan, command: str) -> list[str]:
    """One command line per experiment from a template such as `"train.py --width {width} --tokens {num_tokens}"`.

    Fields are those of `Experiment`, and the size parameter by its own name; values are quoted for the shell. Raises
    `PlanError` for an unknown field.
    """
    need("command", command, TEXT)
    return [_filled(command, experiment) for experiment in plan.experiments]


def export_slurm(
    plan: SweepPlan,
    command: str,
    *,
    name: str = "flops_fit",
    options: Mapping[str, str] | Sequence[str] = (),
    max_parallel: int | None = None,
) -> str:
    """A Slurm array script with one task per experiment, each running its line of `export_commands`.

    Args:
        options: further `#SBATCH` options, as a mapping (`{"time": "02:00:00", "gres": "gpu:1"}`) or whole words.
        max_parallel: at most this many tasks at a time.

    Raises `PlanError` for an unknown field or a plan without experiments.
    """
    need("name", name, TEXT)
    need("options", options, made_of(Mapping | list | tuple, 'such as {"time": "02:00:00"}, or a list of words'))
    need("max_parallel", max_parallel, whole() | LEFT_OUT)
    commands = export_commands(plan, command)
    if not commands:
        raise PlanError("the plan has no experiments to export; see SweepPlan.dropped for the reasons")
    given = [f"--{key}={value}" for key, value in options.items()] if isinstance(options, Mapping) else list(options)
    limit = f"%{max_parallel}" if max_parallel else ""
    header = [f"--job-name={name}", f"--array=0-{len(commands) - 1}{limit}", *given]
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in header), "set -euo pipefail", "commands=("]
    lines += [f"  {shlex.quote(line)}" for line in commands]
    lines += [")", 'eval "${commands[$SLURM_ARRAY_TASK_ID]}"']
    return "\n".join(lines) + "\n"


def _filled(command: str, experiment: Experiment) -> str:
    values = values_of(experiment)
    try:
        return fill(command, values)
    except (KeyError, IndexError, ValueError) as error:
        raise PlanError(
            f"command {command!r} cannot be filled ({error}); its fields may be {', '.join(values)}"
        ) from error
