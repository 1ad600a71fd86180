"""Folder, lock, result and trouble outside the steps are the same for our own loop and for a user's command."""

import pytest
from own_study import own_study, planned
from tiny_study import experiment, tiny_study

from flops_fit import run_experiment

KINDS = {
    "loop": lambda: (tiny_study(), experiment(500)),
    "command": lambda: (own_study(), planned(own_study()).experiments[0]),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]()


def test_a_file_where_the_folder_should_be_fails_one_experiment_and_raises_nothing(kind, tmp_path):
    study, one = kind
    (tmp_path / one.experiment_id).write_text("in the way")
    events = []
    result = run_experiment(study, one, output_dir=tmp_path, on_log=events.append)
    assert (result.status, result.num_tokens, result.loss) == ("failed", 0, None)
    assert one.experiment_id in result.reason
    assert [event["status"] for event in events] == ["failed"]


def test_a_disk_without_room_for_the_result_is_a_status(kind, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    study, one = kind
    monkeypatch.setattr("flops_fit.results.results.write_value", full)
    result = run_experiment(study, one, output_dir=tmp_path)
    assert result.status == "disk_full"
    monkeypatch.undo()
    assert run_experiment(study, one, output_dir=tmp_path).status == "completed"


def test_what_a_killed_write_left_is_removed_and_a_finished_result_is_not_told_again(kind, tmp_path):
    study, one = kind
    left = tmp_path / one.experiment_id / ".result.json.0123abcd.tmp"
    left.parent.mkdir()
    left.write_text("{")
    events = []
    first = run_experiment(study, one, output_dir=tmp_path, on_log=events.append)
    assert not left.exists()
    assert sum("status" in event for event in events) == 1
    events.clear()
    assert run_experiment(study, one, output_dir=tmp_path, on_log=events.append) == first
    assert events == []
