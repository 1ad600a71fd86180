"""One experiment on several processes, data parallel.

    torchrun --standalone --nproc-per-node 2 -m flops_fit.distributed study.toml EXPERIMENT_ID [--output-dir DIR]

The same `run_experiment`: wherever `torch.distributed` is initialised with more than one process, all of them call it
with the same arguments, and it returns the same result in each. Same examples in the same order, same steps, same loss
to rounding as in one process.

How: every process reads each batch whole and trains on its slice; gradients are summed, weighted by the slices' number
of examples, so that uneven and empty slices are exact. That is one explicit all-reduce of the flattened gradients
instead of `DistributedDataParallel`, which averages over processes (wrong for uneven slices), must see a backward pass
in every process (no empty slices, no halving of a batch that does not fit into one process's memory), and renames what
is in the checkpoint; here a checkpoint of one process can be taken up by several and the other way round. What DDP
would gain is overlap of communication with the backward pass.

Only the first process writes checkpoint, log and result, and evaluates; the others read the checkpoint, so `output_dir`
must be one folder for all. A layer that looks across examples (batch normalisation) sees its slice alone, and dropout
draws differently in every process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import distributed

from flops_fit.basics.devices import choose_device
from flops_fit.errors import StudyError

if TYPE_CHECKING:
    from flops_fit.results.results import ExperimentResult
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of each process that `torchrun` starts; its exit code is 0 for a completed experiment."""
    parser = argparse.ArgumentParser(prog="torchrun -m flops_fit.distributed", description="Train one experiment.")
    parser.add_argument("study", type=Path, help="path of a study.toml")
    parser.add_argument("experiment_id", help="of the study's plan, such as c6e+10-width48-s0-3f9a2b71")
    parser.add_argument("--output-dir", type=Path, help="default: flops_fit_data/<study>/runs")
    parser.add_argument("--told", type=Path, help="file with the experiment, where whoever starts this has planned it")
    given = parser.parse_args(arguments)
    _number_by_slurm()

    from flops_fit.study.study import Study

    study = Study.from_toml(given.study)
    on_gpu = choose_device(study.hardware.device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    from flops_fit.training.ranks import TIMEOUT

    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    try:
        result = _train(study, given)
        if distributed.get_rank() == 0:
            outcome = f"held-out loss {result.loss:.4f}" if result.loss is not None else result.reason
            print(f"{result.status} {result.experiment_id}: {outcome}", flush=True)
    finally:
        distributed.destroy_process_group()
    return {"completed": 0, "interrupted": 128 + signal.SIGTERM}.get(result.status, 1)


def _number_by_slurm() -> None:
    """What `torchrun` would set, of a process that Slurm's `srun` has started."""
    named = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ:
        os.environ.update({ours: os.environ[theirs] for ours, theirs in named.items()})


def _train(study: Study, given: argparse.Namespace) -> ExperimentResult:
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.training.training_run import run_experiment

    home = Path(os.environ.get("FLOPS_FIT_HOME", "flops_fit_data"))
    output_dir = given.output_dir or home / study.name / "runs"
    if given.told is None:
        return run_experiment(study, planned_experiment(study, given.experiment_id), output_dir=output_dir)
    told = json.loads(given.told.read_text(encoding="utf-8"))
    siblings = [Experiment.from_dict(item) for item in told["siblings"]]
    return run_experiment(study, Experiment.from_dict(told["experiment"]), output_dir=output_dir, siblings=siblings)


def planned_experiment(study: Study, experiment_id: str) -> Experiment:
    """The experiment of that id in the plan of `study`, or among those that an adaptive study may choose."""
    from flops_fit.stages import study_candidates, study_plan, study_size_map

    plan = (study_candidates if study.adaptive else study_plan)(study, study_size_map(study))
    found = {experiment.experiment_id: experiment for experiment in plan.trainings}
    if experiment_id not in found:
        raise StudyError(f"{experiment_id} is not in the plan of {study.name}; it has {', '.join(found) or 'none'}")
    return found[experiment_id]


if __name__ == "__main__":
    raise SystemExit(main())
