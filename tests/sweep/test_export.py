"""Plans for people who train elsewhere."""

import subprocess

import pytest

from flops_fit.basics.files import read_json
from flops_fit.errors import PlanError
from flops_fit.sweep.counts import plan_from_counts
from flops_fit.sweep.export import export_commands, export_json, export_slurm


@pytest.fixture
def plan():
    return plan_from_counts((1e6, 1e9), [1e17, 1e18], num_sizes_per_budget=3)


def test_one_json_file_per_experiment(plan, tmp_path):
    paths = export_json(plan, tmp_path)
    assert [path.stem for path in paths] == [experiment.experiment_id for experiment in plan.experiments]
    content = read_json(paths[0], "flops_fit.experiment/1")
    assert content["num_tokens"] == plan.experiments[0].num_tokens


def test_one_command_per_experiment(plan):
    commands = export_commands(plan, "train --n {num_params} --tokens {num_tokens} --out runs/{experiment_id}")
    first = plan.experiments[0]
    assert len(commands) == 6
    assert commands[0] == (f"train --n {first.num_params} --tokens {first.num_tokens} --out runs/{first.experiment_id}")


def test_an_unknown_field_is_named_with_the_known_ones(plan):
    with pytest.raises(PlanError, match=r"cannot be filled \('width'\); its fields may be experiment_id, .*num_tokens"):
        export_commands(plan, "train --width {width}")


def test_the_slurm_array_runs_each_experiment_once(plan, tmp_path):
    script = export_slurm(
        plan, "echo {experiment_id} 'two words' {num_tokens}", options={"time": "01:00:00"}, max_parallel=2
    )
    assert "#SBATCH --array=0-5%2\n#SBATCH --time=01:00:00" in script
    (tmp_path / "array.sh").write_text(script)
    for task, experiment in enumerate(plan.experiments):
        ran = subprocess.run(
            ["bash", tmp_path / "array.sh"], env={"SLURM_ARRAY_TASK_ID": str(task)}, capture_output=True, check=True
        )
        assert ran.stdout.decode() == f"{experiment.experiment_id} two words {experiment.num_tokens}\n"


def test_an_empty_plan_cannot_be_exported(plan):
    from dataclasses import replace

    with pytest.raises(PlanError, match="no experiments to export"):
        export_slurm(replace(plan, experiments=[]), "echo {seed}")
