"""Worker processes: parallel, reused, and a death or an error is one task's outcome."""

import os
import re
import signal
import sys
import threading
import types
from pathlib import Path

import pytest
from tasks import run_tasks
from webdriver import wait_for

from flops_fit.basics.devices import worker_environments
from flops_fit.errors import StudyError
from flops_fit.processes import forks
from flops_fit.processes.alive import patience
from flops_fit.processes.workers import CannotBeSent, WorkerPool


def ended(process):
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def outcomes(name, payloads, **options):
    found = run_tasks(f"worker_tasks:{name}", payloads, **{"num_workers": 2} | options)
    return sorted(found, key=lambda outcome: outcome.index)


def test_values_and_events_come_back():
    events = []

    def note(index, event):
        events.append((index, event["seen"]))

    found = outcomes("square", [1, 2, 3], on_event=note, num_workers=1)
    assert [outcome.value for outcome in found] == [1, 4, 9]
    assert sorted(events) == [(0, 1), (1, 2), (2, 3)]


def test_two_processes_of_one_thread_each_serve_all_tasks():
    found = [outcome.value for outcome in outcomes("process_and_threads", range(6))]
    assert len({process for process, _ in found}) == 2
    assert os.getpid() not in {process for process, _ in found}
    assert {threads for _, threads in found} == {1}


def test_a_task_that_fails_or_dies_leaves_the_others():
    found = outcomes("go_wrong", ["1", "fail", "2", "die", "3", "exit", "4"], num_workers=1)
    assert [outcome.value for outcome in found[::2]] == ["1", "2", "3", "4"]
    assert [outcome.value for outcome in found[1::2]] == [None] * 3
    errors = ["ValueError: refused", "was killed (signal 9, SIGKILL", "exited with code 3"]
    assert [text for outcome, text in zip(found[1::2], errors, strict=True) if text not in outcome.error] == []


def test_shared_state_reaches_every_worker():
    assert [outcome.value for outcome in outcomes("add_shared", [1, 2], shared={"offset": 10})] == [11, 12]


def test_what_a_task_prints_does_not_disturb_the_messages(capfd):
    assert [outcome.value for outcome in outcomes("print_much", [1, 2], num_workers=1)] == [1, 2]
    assert capfd.readouterr().out == ""


def test_functions_and_classes_defined_in_a_function_reach_every_worker():
    class Local:
        offset = 10

        def __getitem__(self, key):
            return getattr(self, key)

    assert [outcome.value for outcome in outcomes("add_shared", [1, 2], shared=Local())] == [11, 12]


def test_what_cannot_be_sent_is_said(monkeypatch):
    with pytest.raises(CannotBeSent, match=r"cannot pickle '_thread\.lock' object"):
        outcomes("add_shared", [1], shared=threading.Lock())
    elsewhere = types.ModuleType("only_here")
    exec("def local(): pass", vars(elsewhere))
    monkeypatch.setitem(sys.modules, "only_here", elsewhere)
    with pytest.raises(CannotBeSent, match="No module named 'only_here'"):
        outcomes("add_shared", [1], shared=elsewhere.local)


def test_stopping_early_ends_the_processes():
    found = run_tasks("worker_tasks:process_and_threads", range(50), num_workers=2)
    process, _ = next(found).value
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize("begun", [0, 1])
def test_ctrl_c_while_its_threads_begin_ends_it_as_ctrl_c(begun, monkeypatch):
    left, start = [begun], threading.Thread.start

    def interrupted(thread):
        if thread._target.__name__ == "_serve":
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), WorkerPool("worker_tasks:square", num_workers=2) as pool:
        list(pool.run([1, 2, 3]))


def test_every_worker_sees_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    both = worker_environments("auto")
    found = run_tasks("worker_tasks:visible_gpus", range(8), num_workers=2, environments=both)
    assert {outcome.value for outcome in found} == {"0", "1"}
    assert worker_environments("cpu") == worker_environments("cuda:1") == [{}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in worker_environments("cuda")] == ["3", "5"]


def test_what_is_random_differs_between_workers():
    first = {}
    for process, numbers in (outcome.value for outcome in outcomes("random_numbers", range(6))):
        first.setdefault(process, numbers)
    assert len(first) == 2
    assert len(set(first.values())) == 2
    assert all(len(set(column)) == 2 for column in zip(*first.values(), strict=True))


def test_a_worker_has_the_environment_and_directory_of_its_time(monkeypatch, tmp_path):
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("OF_THE_TEST", folder.name)
        assert outcomes("surroundings", [0])[0].value == (str(folder), folder.name)


@pytest.mark.skipif(not forks.POSSIBLE, reason="workers are no forks here")
def test_workers_start_again_where_what_they_fork_from_was_killed():
    (first,) = outcomes("grandparent", [0])
    os.kill(first.value, signal.SIGKILL)
    wait_for(lambda: ended(first.value), 60, "the end of the process that workers are forked from")
    (second,) = outcomes("grandparent", [0])
    assert second.value not in (None, first.value)


def test_a_pool_can_be_left_before_its_workers_began():
    with WorkerPool("worker_tasks:square", num_workers=2) as pool:
        pool.start()
    assert [outcome.value for outcome in outcomes("square", [3])] == [9]


@pytest.mark.parametrize("what", ["write to every descriptor", "close every descriptor", "crash"])
def test_what_a_task_does_to_its_process_harms_itself_alone(what, monkeypatch):
    monkeypatch.setattr("flops_fit.processes.workers._GRACE_SECONDS", 0.5)  # for one that closed its pipe and goes on
    before, harmed, after = outcomes("misbehave", ["before", what, "after"], num_workers=1)
    assert harmed.died
    assert harmed.error.startswith("the worker process ")
    assert (before.value[0], after.value[0]) == ("before", "after")


def test_a_crash_is_told_with_the_line_it_happened_in():
    (found,) = outcomes("misbehave", ["crash"])
    assert re.search(r"crashed \(signal 11, SIGSEGV\) in worker_tasks.py, line \d+", found.error)


def test_what_a_task_changes_in_its_process_is_put_back():
    before, changed, after = outcomes("keep_state", ["", "change everything", ""], num_workers=1)
    assert changed.value == ["change everything", "/", "1", "torch.float64", False, True, 1]
    assert after.value == before.value == ["", os.getcwd(), None, "torch.float32", True, False, 0]


@pytest.mark.parametrize("settings", ["newer", "older"])
def test_precisions_are_put_back_whichever_of_torchs_settings_is_used(settings):
    (found,) = outcomes("keep_precision", [settings])
    assert found.error is None
    before, changed, after = found.value
    assert changed != before == after


def test_a_copy_of_the_process_that_a_task_forks_says_nothing():
    found = outcomes("misbehave", ["fork and come back", "after"], num_workers=1)
    assert [outcome.value[0] for outcome in found] == ["fork and come back", "after"]


def test_a_task_that_hangs_is_ended_and_told_with_its_line(monkeypatch):
    with WorkerPool("worker_tasks:misbehave", num_workers=1) as pool:
        assert [outcome.value[0] for outcome in pool.run(["before"])] == ["before"]  # so that starting is not counted
        monkeypatch.setenv("FLOPS_FIT_PATIENCE_SECONDS", "4")
        hung, after = sorted(pool.run(["hang", "after"]), key=lambda outcome: outcome.index)
    assert re.search(r"no sign of life for 4 s and was ended in worker_tasks.py, line \d+: an endless loop", hung.error)
    assert "set FLOPS_FIT_PATIENCE_SECONDS=16" in hung.error
    assert not hung.died, "it would only hang again"
    assert after.value[0] == "after"


def test_a_task_that_shows_signs_of_life_may_take_longer(monkeypatch):
    outcomes("square", [1])  # what is imported is in the machine's cache
    monkeypatch.setattr("flops_fit.processes.workers.patience", lambda: 60.0)
    with WorkerPool("worker_tasks:square", num_workers=1) as pool:
        assert [outcome.value for outcome in pool.run([3])] == [9]  # so that starting is not counted
        monkeypatch.setattr("flops_fit.processes.workers.patience", lambda: 2.0)
        (found,) = pool.run([1], function="worker_tasks:hang_between_signs_of_life")
        assert found.value == 1, "3 seconds of work, a sign of life every second at the latest"


def test_patience_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_PATIENCE_SECONDS", "long")
    with pytest.raises(StudyError, match="FLOPS_FIT_PATIENCE_SECONDS = 'long' must be seconds, above 0"):
        patience()


def test_a_task_whose_worker_died_is_tried_once_more(tmp_path):
    died = []
    payloads = [str(tmp_path / "first"), str(tmp_path / "second")]
    found = outcomes("die_once", payloads, on_death=died.append)
    assert [outcome.value for outcome in found] == payloads
    assert sorted(outcome.index for outcome in died) == [0, 1]
    (again,) = outcomes("go_wrong", ["die"], on_death=died.append)
    assert again.died, "once and no more"
    assert len(died) == 3
