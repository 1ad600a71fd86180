"""A study whose trainings are somebody's own program, `own_trainer.py`."""

import sys
from pathlib import Path

import own_trainer

from flops_fit import ModelSpec, Study, SweepOptions, run_experiment
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.sections import TrainerSpec

SCRIPT = Path(own_trainer.__file__)

# -S: without a look at what is installed, it starts in half of the time
COMMAND = f"{sys.executable} -S {SCRIPT} {{num_params}} {{num_tokens}} {{result_path}}"

SLEEPER = "echo $$ > {output_dir}/pid.tmp; mv {output_dir}/pid.tmp {output_dir}/pid; sleep 300 & wait"


def own_study(command=COMMAND, **trainer):
    return Study(
        name="own",
        model=ModelSpec.from_counts([1e5, 1e8]),
        sweep=SweepOptions(compute_budgets=("1e14",), num_sizes_per_budget=2),
        trainer=TrainerSpec(command=command, **trainer),
    )


def planned(study):
    return study_plan(study, study_size_map(study))


def run_first(study, folder, **how):
    return run_experiment(study, planned(study).experiments[0], output_dir=folder, **how)
