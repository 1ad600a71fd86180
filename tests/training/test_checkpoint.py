"""A checkpoint is taken up as it was written, or set aside by name, and then the training starts again."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_study import experiment, tiny_study

from flops_fit import Recipe, run_experiment
from flops_fit.errors import FlopsFitWarning

STUDY = tiny_study(training=Recipe(learning_rate=0.02, weight_decay=0.0, checkpoint_seconds=0.0))
STOPPED = tiny_study(training=Recipe(learning_rate=0.02, weight_decay=0.0, timeout_seconds=1e-9))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_experiment(STUDY, experiment(), output_dir=tmp_path_factory.mktemp("whole"))


@pytest.fixture
def checkpoint(tmp_path):
    """The checkpoint of a training that was stopped after a step."""
    assert run_experiment(STOPPED, experiment(), output_dir=tmp_path).status == "timed_out"
    return tmp_path / experiment().experiment_id / "checkpoint.safetensors"


def rewritten(path, change, about=None):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    change(tensors)
    save_file(tensors, path, metadata=metadata | (about or {}))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1  # in the last tensor
    path.write_bytes(bytes(content))


def lose_a_key(path):
    rewritten(path, lambda tensors: tensors.pop("model/layers.0.bias"))


def reshape(path):
    rewritten(path, lambda tensors: tensors.update({"model/layers.0.bias": torch.zeros(3)}))


def rewind(path):
    rewritten(path, lambda tensors: None, {"progress": json.dumps({"step": 50, "examples": 1})})


def garble(path):
    rewritten(path, lambda tensors: None, {"progress": "[1"})


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()
    (path / "file").write_text("in the way")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, r"is damaged \(its checksum differs\)"),
        (lose_a_key, "is damaged"),
        (reshape, "is damaged"),
        (rewind, "is damaged"),
        (garble, "is damaged"),
        (replace_by_a_folder, "is torn"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_by_name(whole, checkpoint, tmp_path, damage, message):
    damage(checkpoint)
    with pytest.warns(FlopsFitWarning, match=f"{message}.*kept as checkpoint.safetensors.unusable, training starts a"):
        again = run_experiment(STUDY, experiment(), output_dir=tmp_path)
    assert (again.loss, again.weights_sha256, again.steps) == (whole.loss, whole.weights_sha256, whole.steps)
    assert checkpoint.with_name("checkpoint.safetensors.unusable").exists()


def test_a_checkpoint_of_another_model_or_another_study_is_set_aside(whole, checkpoint, tmp_path):
    wider = dataclasses.replace(experiment(), size_param_value=16)
    with pytest.warns(
        FlopsFitWarning, match=r"has float32\(8,\) for model/layers.0.bias where the model has float32\(16,"
    ):
        assert run_experiment(STUDY, wider, output_dir=tmp_path).status == "completed"
    (checkpoint.parent / "result.json").unlink()
    run_experiment(STOPPED, experiment(), output_dir=tmp_path)
    planned = dataclasses.replace(experiment(), outcome_fingerprint=STUDY.outcome_fingerprint())
    with pytest.warns(FlopsFitWarning, match="is of outcome_fingerprint '', not"):
        assert run_experiment(STUDY, planned, output_dir=tmp_path).loss == whole.loss


class WithState(torch.nn.Linear):
    """Keeps something beside its tensors in its state."""

    def __init__(self, width):
        super().__init__(6, 4)

    def get_extra_state(self):
        return {"version": 2}

    def set_extra_state(self, state):
        assert state == {"version": 2}


def test_a_model_with_state_that_is_no_tensor_is_taken_up_too(tmp_path):
    from flops_fit import ModelSpec

    model = ModelSpec(factory=WithState, size_param="width")
    stopped, study = (dataclasses.replace(each, model=model) for each in (STOPPED, STUDY))
    assert run_experiment(stopped, experiment(), output_dir=tmp_path).status == "timed_out"
    resumed = run_experiment(study, experiment(), output_dir=tmp_path)
    assert resumed.status == "completed", resumed.reason
    assert resumed.weights_sha256 == run_experiment(study, experiment(), output_dir=tmp_path / "whole").weights_sha256
