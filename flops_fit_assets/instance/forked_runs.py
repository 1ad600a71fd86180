"""The runs that Dagster's pages and daemon launch are forks of one process that has loaded what each of them needs.

A code server of Dagster starts a new process for every run (Dagster 1.13), which loads Dagster and torch first: seconds
for a training that may take less. Where forks are not possible, or a later Dagster does it in another way, that stays.
"""

from __future__ import annotations

import multiprocessing

from flops_fit.processes import forks

# Nothing of the user's, which a run must import as it is then.
_LOADED = ["dagster._cli", "flops_fit_assets.definitions", "torch._dynamo", "flops_fit_assets.instance.before_forks"]


def fork_runs() -> None:
    """In this process, a code server, from now on."""
    if not forks.POSSIBLE:
        return
    from dagster._grpc.server import DagsterApiServer

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    # a property, since the server that is loading the study has set the attribute already
    DagsterApiServer._mp_ctx = property(lambda server: context, lambda server, value: None)  # type: ignore[assignment]
