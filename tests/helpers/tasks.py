"""Tasks in worker processes that are there for these alone."""

from flops_fit.processes.workers import WorkerPool


def run_tasks(function, payloads, *, num_workers, shared=None, environments=(), **heard):
    """The outcomes of `WorkerPool.run` in a pool of its own, as they finish."""
    workers = min(num_workers, len(payloads))
    with WorkerPool(function, num_workers=workers, shared=shared, environments=environments) as pool:
        yield from pool.run(payloads, **heard)
