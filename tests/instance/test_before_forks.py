"""Runs forked from one process have random numbers of their own; that they are forked is seen in `test_live`."""

import multiprocessing

import pytest
from worker_tasks import send_numbers

from flops_fit.processes import forks


@pytest.mark.skipif(not forks.POSSIBLE, reason="runs are no forks here")
def test_what_is_random_differs_between_runs_and_is_left_alone_in_what_they_fork():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flops_fit_assets.instance.before_forks"])
    seen = []
    for _ in range(2):
        ours, theirs = context.Pipe(duplex=False)
        with theirs:
            run = context.Process(target=send_numbers, args=(theirs,))
            run.start()
        with ours:
            seen.append(ours.recv())
        run.join()
        run.close()
    (first, first_fork), (second, second_fork) = seen
    assert first != second
    assert (first_fork, second_fork) == (first, second)
