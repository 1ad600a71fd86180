"""Trainings that take several devices, as whoever trains a study starts them: two processes of the CPU."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest
import torch
from paths import HELPERS, ROOT
from pipeline_study import write_study
from rank_training import RECIPE, AgainstTheRest, DiesOnce, MaskedAtRandom, own_place
from tiny_study import experiment, held_out, tiny_study
from webdriver import wait_for

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Recipe, Study, run_experiment
from flops_fit.basics.devices import worker_environments
from flops_fit.cost.devices import Devices, devices_refusal
from flops_fit.errors import StudyError
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_plan, study_size_map
from flops_fit.training import on_devices
from flops_fit.training.on_devices import train_on_devices
from flops_fit.training.side_by_side import train_all

ON_TWO = Hardware(device="cpu", workers=2, devices_per_training=2)


def test_two_processes_are_started_and_the_loss_is_that_of_one(tmp_path):
    study, item, events = tiny_study(training=RECIPE, hardware=ON_TWO), experiment(num_tokens=1000), []
    (result,) = train_all(study, [item], output_dir=tmp_path / "two", progress=False, on_log=events.append)
    alone = run_experiment(tiny_study(training=RECIPE), item, output_dir=tmp_path / "one")
    assert (result.status, result.devices, alone.devices) == ("completed", 2, 1)
    assert (result.num_tokens, result.steps) == (alone.num_tokens, alone.steps)
    assert result.loss == pytest.approx(alone.loss, rel=1e-5)
    assert result == ExperimentResult.load(tmp_path / "two" / item.experiment_id / "result.json")
    assert {event["devices"] for event in events} == {2}
    assert [event["status"] for event in events if "status" in event] == ["completed"], "the first speaks for both"


def test_each_training_takes_its_own_number_and_they_share_what_there_is(tmp_path):
    """One on two beside two on one each, with room for two: nobody is left waiting, and each has what it was given."""
    study = tiny_study(training=RECIPE, hardware=dataclasses.replace(ON_TWO, devices_per_training="auto"))
    items = [experiment(num_tokens=1000, name=f"c1e+06-width8-s{number}-00000000", seed=number) for number in range(3)]
    devices = {items[1].experiment_id: Devices(count=2, why="asked")}
    results = train_all(study, items, output_dir=tmp_path, progress=False, devices=devices)
    assert [result.status for result in results] == ["completed"] * 3
    assert [result.devices for result in results] == [1, 2, 1]


def test_a_loss_that_no_slice_of_a_batch_has_a_part_of_is_refused(tmp_path):
    """Of half a batch's rivals the loss is another one, which would be fitted without a word."""
    model, loss = ModelSpec(factory=AgainstTheRest, size_param="width"), LossSpec(fn=own_place)
    study, item = tiny_study(training=RECIPE, model=model, loss=loss, hardware=ON_TWO), experiment(num_tokens=1000)
    result = train_on_devices(study, item, 2, output_dir=tmp_path)
    assert (result.status, result.steps) == ("failed", 0)
    assert "lets examples of a batch depend on each other" in result.reason
    assert "devices_per_training = 1" in result.reason
    assert run_experiment(study, item, output_dir=tmp_path / "one").status == "completed"


def test_processes_whose_data_draws_other_targets_skip_the_same_steps(tmp_path):
    """One that skipped a step by itself would wait for the others for ever, or add up their step and its own next."""
    data, recipe = DataSpec(train=MaskedAtRandom, eval=held_out), Recipe(learning_rate=0.02, batch_tokens=1)
    study = tiny_study(training=recipe, data=data, hardware=ON_TWO)
    result = train_on_devices(study, experiment(num_tokens=20), 2, output_dir=tmp_path)
    assert (result.status, result.devices) == ("completed", 2), result.reason
    assert result.steps == 20


def killed_once(folder):
    """A study in whose second process the training is killed, the first time."""
    model = ModelSpec(factory=DiesOnce, size_param="width", kwargs={"folder": str(folder)})
    return tiny_study(training=RECIPE, model=model, hardware=ON_TWO)


def test_a_process_that_is_killed_ends_all_and_they_go_on_from_the_checkpoint(tmp_path):
    study, item = killed_once(tmp_path), experiment(num_tokens=1000)
    result = train_on_devices(study, item, 2, output_dir=tmp_path / "runs")
    assert (tmp_path / "died").exists()
    whole = run_experiment(study, item, output_dir=tmp_path / "whole")
    assert (result.status, result.devices) == ("completed", 2)
    assert result.loss == pytest.approx(whole.loss, rel=1e-5)


def test_one_that_dies_again_and_again_is_a_failure_with_its_reason(tmp_path):
    study = killed_once(tmp_path / "nowhere")  # which cannot note that it died
    result = train_on_devices(study, experiment(num_tokens=1000), 2, output_dir=tmp_path / "runs")
    assert result.status == "failed"
    assert result.reason.startswith("on rank 1 of 2: the worker process was killed (signal 9, SIGKILL")


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two, of which a training would be told."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)


def test_more_gpus_than_there_are_are_refused_with_a_remedy(tmp_path, two_gpus):
    study = tiny_study(training=RECIPE, hardware=Hardware(device="cuda", workers=4, devices_per_training=4))
    said = r"on 4 devices cannot be started on this machine, where it may take 2 of 2 GPUs; set workers = 2 in"
    with pytest.raises(StudyError, match=said):
        train_on_devices(study, experiment(num_tokens=1000), 4, output_dir=tmp_path)


def test_no_more_gpus_are_taken_than_there_are_workers(tmp_path, two_gpus):
    hardware = Hardware(device="cuda", workers=1, devices_per_training="auto")
    with on_devices._held(tiny_study(hardware=hardware), 1, tmp_path) as held:
        assert held == ["0"]
        assert sorted(path.name for path in tmp_path.iterdir()) == [".gpu-0.lock", ".gpu-next.lock"]


def test_a_worker_that_sees_one_gpu_knows_how_many_train_side_by_side(two_gpus, monkeypatch):
    """Or devices_per_training = 2 would be refused in it as more than there are."""
    hardware = Hardware(device="cuda", devices_per_training=2)
    assert hardware.num_workers() == 2
    (_, second) = worker_environments("cuda")
    for name, value in second.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert hardware.num_workers() == 2
    assert devices_refusal(hardware, ()) is None


def flops_fit_run(study, home, linger):
    return subprocess.Popen(
        [sys.executable, "-m", "flops_fit_assets.cli", "run", str(study), "--train-anyway"],
        env=os.environ
        | {"FLOPS_FIT_HOME": str(home), "PYTHONPATH": f"{HELPERS}:{ROOT}", "FLOPS_FIT_LINGER": str(linger)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )


def under_way(home):
    """The folder of a training that has logged a few steps; None where there is none."""
    logs = [log for log in home.glob("tiny/runs/*/log.jsonl") if len(log.read_text().splitlines()) >= 5]
    return logs[0].parent if logs else None


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_two_ranks_of_the_pipeline_are_stopped_and_one_goes_on(tmp_path, how):
    """`flops-fit run` starts them; SIGTERM lets them save, SIGKILL leaves the last checkpoint. Every step is slow at
    first, so that the first training cannot come to its end before."""
    path = write_study(tmp_path, budgets=(6e5,), sizes=2, model="LingersIfTold", module="slow_model", workers=2)
    recipe = "learning_rate = 0.02\nbatch_tokens = 8\ncheckpoint_seconds = 0.2\n"
    alone = path.read_text().replace("learning_rate = 0.02\n", recipe)
    path.write_text(alone + "devices_per_training = 2\n")
    process = flops_fit_run(path, tmp_path, linger=0.3)

    def begun():
        assert process.poll() is None, process.stdout.read()
        return under_way(tmp_path)

    folder = wait_for(begun, 300, "a training under way")
    process.send_signal(how)
    said = process.communicate()[0]  # until the last process that could print is gone
    if how == signal.SIGTERM:
        assert process.returncode == 143, said
        left = ExperimentResult.load(folder / "result.json")
        assert (left.status, left.devices) == ("interrupted", 2)
        assert left.steps >= 5
    else:
        assert not (folder / "result.json").exists()
    assert (folder / "checkpoint.safetensors").exists()
    path.write_text(alone)
    again = flops_fit_run(path, tmp_path, linger=0)
    said = again.communicate()[0]
    resumed = ExperimentResult.load(folder / "result.json")
    assert (resumed.status, resumed.devices) == ("completed", 1), said
    study = Study.from_toml(path)
    (item,) = [
        item for item in study_plan(study, study_size_map(study)).experiments if item.experiment_id == folder.name
    ]
    whole = run_experiment(study, item, output_dir=tmp_path / "whole")
    assert (whole.num_tokens, whole.steps) == (resumed.num_tokens, resumed.steps)
    assert resumed.loss == pytest.approx(whole.loss, rel=1e-5)
