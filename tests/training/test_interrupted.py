"""Asked to stop, a training saves where it is, and goes on from there to the same bits."""

import signal
from contextlib import contextmanager

import pytest
from interrupted_training import STEP, never_saving, run_asking
from tasks import run_tasks
from tiny_study import long_experiment

from flops_fit import run_experiment
from flops_fit.results.results import ExperimentResult


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_experiment(never_saving(), long_experiment(), output_dir=tmp_path_factory.mktemp("whole"))


@contextmanager
def heard(number):
    """What arrives of that signal in the block, when nothing holds it back any more."""
    arrived = []
    before = signal.signal(number, lambda *_: arrived.append(number))
    try:
        yield arrived
    finally:
        signal.signal(number, before)


def stored(folder):
    return ExperimentResult.load(folder / long_experiment().experiment_id / "result.json")


def assert_goes_on(folder, whole):
    left = stored(folder)
    assert (left.status, left.loss, left.steps) == ("interrupted", None, STEP)
    assert (folder / left.experiment_id / "checkpoint.safetensors").exists()
    resumed = run_experiment(never_saving(), long_experiment(), output_dir=folder)
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)
    steps = [line.split(",")[0] for line in (folder / left.experiment_id / "log.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps))
    return left


def test_sigterm_is_answered_by_a_checkpoint_and_passed_on(tmp_path, whole):
    with heard(signal.SIGTERM) as arrived:
        result = run_asking(tmp_path, signal.SIGTERM)
        assert arrived == [signal.SIGTERM], "whoever handled it before hears of it, once all is saved"
    assert result == stored(tmp_path)
    place = f"step {STEP} of {whole.steps} was reached when SIGTERM asked it to stop; run again to go on from there"
    assert assert_goes_on(tmp_path, whole).reason == place


def test_ctrl_c_interrupts_once_all_is_saved(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        run_asking(tmp_path, signal.SIGINT)
    assert_goes_on(tmp_path, whole)


def test_a_second_signal_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_asking(tmp_path, signal.SIGINT, times=2)
    assert not (tmp_path / long_experiment().experiment_id / "result.json").exists()


def test_a_signal_that_is_ignored_stays_so(tmp_path, whole):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run_asking(tmp_path, signal.SIGTERM).loss == whole.loss
    finally:
        signal.signal(signal.SIGTERM, before)


def test_at_its_last_step_only_the_evaluation_is_left(tmp_path, whole):
    with heard(signal.SIGTERM):
        assert run_asking(tmp_path, signal.SIGTERM, step=whole.steps).status == "interrupted"
    assert run_experiment(never_saving(), long_experiment(), output_dir=tmp_path).loss == whole.loss


def test_who_leaves_a_pool_lets_its_training_save(tmp_path, whole):
    def leave(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_tasks("interrupted_training:train_slowly", [tmp_path], num_workers=1, on_event=leave))
    left = stored(tmp_path)
    assert left.status == "interrupted"
    assert STEP <= left.steps < whole.steps
    assert "when the process that waits for it asked it to stop" in left.reason
    resumed = run_experiment(never_saving(), long_experiment(), output_dir=tmp_path)
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)
