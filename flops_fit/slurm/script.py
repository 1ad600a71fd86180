"""The script of one job: its options for `sbatch`, and one process for each device by `srun`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from flops_fit.slurm.options import SlurmOptions

LOG = "slurm-{job}.log"
_PORT = "$((10000 + SLURM_JOB_ID % 20000))"  # below those that a system gives to whoever asks for any


def job_script(
    options: SlurmOptions,
    command: Sequence[str],
    *,
    name: str,
    devices: int,
    on_gpus: bool,
    folder: str,
    directory: str,
    environment: Mapping[str, str],
) -> str:
    """What `sbatch` is given.

    Args:
        command: that every process runs; it finds its number in what `srun` sets.
        name: of the job; what is no letter, digit, dot or hyphen becomes a hyphen.
        folder: of the job's log.
        directory: that it runs in.
        environment: variables that it gets beside those of whoever submits it.
    """
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in _options(options, name, devices, on_gpus, folder))]
    lines += [f"cd {shlex.quote(directory)} || exit 1"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
    lines += options.setup
    lines += [
        'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
        f'export MASTER_PORT="{_PORT}"',
        # since Slurm 22.05 srun does not take over the cores for each task that sbatch was asked for
        f"exec srun --kill-on-bad-exit=1 --cpus-per-task={options.cpus_per_device} {shlex.join(command)}",
    ]
    return "\n".join(lines) + "\n"


def _options(options: SlurmOptions, name: str, devices: int, on_gpus: bool, folder: str) -> Iterator[str]:
    on_node = min(devices, options.devices_per_node)
    yield f"--job-name={re.sub(r'[^A-Za-z0-9.-]', '-', name)}"
    yield f"--nodes={-(-devices // on_node)}"
    yield f"--ntasks-per-node={on_node}"
    yield f"--cpus-per-task={options.cpus_per_device}"
    if on_gpus:
        yield f"--gres=gpu:{f'{options.gpu_type}:' if options.gpu_type else ''}{on_node}"
    given = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "time": options.time,
        "mem": options.memory_per_node,
    }
    yield from (f"--{key}={value}" for key, value in given.items() if value is not None)
    yield f"--output={_quoted(folder.replace('%', '%%') + '/' + LOG.format(job='%j'))}"
    yield "--open-mode=append"  # as it may be requeued
    yield f"--signal=TERM@{options.save_seconds}"
    yield "--requeue"
    yield from options.options


def _quoted(text: str) -> str:
    """As sbatch reads a line: parted at spaces, "#" begins a comment, and a backslash escapes in quotes of any kind."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
