"""Whatever goes wrong in one training is a status with its reason, and the rest of the sweep is trained."""

import json
import re

import pytest
from streams import OneInput, Stream, ignore_shape
from tiny_study import experiment, held_out, tiny_study, train
from torch.nn.functional import cross_entropy
from troubled_model import TIMEOUT, VARIABLE, Troubled

from flops_fit import DataSpec, LossSpec, ModelSpec, ScalingLaw, find_optimal, load_runs, run_experiment
from flops_fit.errors import FlopsFitWarning
from flops_fit.training.failures import describe_failure
from flops_fit.training.side_by_side import train_all

EXPECTED = {
    "diverged": ("diverged", r"loss is nan at step 3 of \d+; the last finite one was [12]\.\d+$"),
    "device memory": ("out_of_memory", r"CUDA out of memory. Tried to allocate 2.00 GiB; use a smaller model"),
    "machine memory": ("out_of_memory", r"MemoryError; use a smaller model"),
    "error": ("failed", r"RuntimeError: mat1 and mat2 shapes.*\n.*troubled_model.py.*\n.*THE USER'S LINE"),
    "killed": ("failed", r"the worker process was killed \(signal 9, SIGKILL"),
    "disk": ("disk_full", r"File too large.*; free some space and run again"),
    "slow": ("timed_out", r"step 3 of \d+ was reached after timeout_seconds = 600; run again to go on from there"),
}


def sweep(folder, **changes):
    return find_optimal(
        Troubled, "width", None, train(), cross_entropy, [4e6, 8e6, 1.6e7], eval_dataset=held_out(),
        output_dir=folder, num_sizes_per_budget=8, max_size=256, learning_rate=0.02, weight_decay=0.0, device="cpu",
        workers=2, timeout_seconds=TIMEOUT, progress=False, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A sweep with one width for each trouble: kind → its runs, the runs of the other widths, the law, the folder."""
    folder = tmp_path_factory.mktemp("troubled")
    planned = [item.size_param_value for item in sweep(folder, train=False).experiments]
    once = sorted(width for width in set(planned) if planned.count(width) == 1)
    assert len(once) >= len(EXPECTED) + 6
    kinds = dict(zip(once[::2], EXPECTED, strict=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, json.dumps(kinds))
        with pytest.warns(FlopsFitWarning, match="one size fails at its first steps; the others are trained"):
            law = sweep(folder)
    runs = load_runs(folder / "runs.csv")
    by_kind = {kind: runs[runs["size_param_value"] == width] for width, kind in kinds.items()}
    return by_kind, runs[~runs["size_param_value"].isin(kinds)], law, folder


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_trouble_has_its_status_and_reason(troubled, kind):
    status, reason = EXPECTED[kind]
    (run,) = troubled[0][kind].to_dict("records")
    assert run["status"] == status
    assert re.search(reason, run["reason"], flags=re.DOTALL), run["reason"]
    assert run["loss"] != run["loss"], "no loss"


def test_the_reason_of_a_users_error_is_short_and_free_of_the_library(troubled):
    (reason,) = troubled[0]["error"]["reason"]
    assert "training_loop.py" not in reason
    assert "modules/module.py" not in reason
    assert len(reason.splitlines()) <= 10, "three lines a frame, three frames, and the error"


def test_the_rest_of_the_sweep_is_trained_and_fitted(troubled):
    _, others, law, _ = troubled
    assert len(others) >= 15
    assert (others["status"] == "completed").all()
    assert isinstance(law, ScalingLaw)


def test_once_the_cause_is_gone_all_but_the_diverged_are_trained(troubled):
    *_, folder = troubled
    sweep(folder)
    statuses = load_runs(folder / "runs.csv")["status"].value_counts()
    assert statuses.to_dict() == {"completed": statuses.sum() - 1, "diverged": 1}


def test_a_stream_that_ends_fails_the_long_trainings_alone(tmp_path):
    data = DataSpec(train=Stream(1000), eval=held_out(), tokens_per_example=1, version="test")
    study = tiny_study(data=data, model=ModelSpec(factory=OneInput, size_param="width"), loss=LossSpec(fn=ignore_shape))
    planned = [experiment(num_tokens=tokens, name=f"run{tokens}") for tokens in (2000, 1000, 999)]
    results = train_all(study, planned, output_dir=tmp_path, progress=False)
    assert [result.status for result in results] == ["out_of_data", "completed", "completed"]
    assert "ended after 1,000 examples" in results[0].reason


def test_a_disk_that_is_full_before_the_training_began_is_a_status_too(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flops_fit.training.training_run.Path.mkdir", full)
    events = []
    result = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "runs", on_log=events.append)
    assert (result.status, result.num_tokens) == ("disk_full", 0)
    assert "No space left on device; free some space" in result.reason
    assert events[-1]["status"] == "disk_full"


def test_what_cannot_be_foreseen_shows_the_users_line():
    try:
        raise KeyError("answer")  # asked for
    except KeyError as error:
        status, reason = describe_failure(error)
    assert status == "failed"
    assert 'raise KeyError("answer")' in reason
