"""Slurm's own commands: submit, look, cancel, and ask how a job ended."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from flops_fit.errors import StudyError

_NOT_KNOWN = "invalid job id"
_SECONDS = 120.0  # of one command: a controller that is busy answers late


def submit(script: Path, environment: Mapping[str, str]) -> str:
    """The number of the job that runs `script`; raises `StudyError` with what `sbatch` said where it takes none."""
    done = _run(["sbatch", "--parsable", str(script)], environment)
    number = done.stdout.strip().splitlines()[-1].split(";")[0] if done.returncode == 0 and done.stdout.strip() else ""
    if not number.isdecimal():
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise StudyError(f"sbatch did not take {script}: {said}; correct it in [slurm]")
    return number


def state(job: str, environment: Mapping[str, str]) -> str | None:
    """What the queue says of the job, such as "RUNNING"; None where it is no longer there.

    A queue that cannot be asked just now says "UNKNOWN".
    """
    done = _run(["squeue", "--noheader", "--format=%T", f"--jobs={job}"], environment)
    if done.returncode == 0:
        return done.stdout.strip().split("\n")[0] or None
    return None if _NOT_KNOWN in done.stderr.lower() else "UNKNOWN"


def cancel(job: str, environment: Mapping[str, str]) -> None:
    """Have the job end: SIGTERM, and SIGKILL some time later."""
    _run(["scancel", job], environment)


def how_it_ended(job: str, environment: Mapping[str, str]) -> str:
    """What Slurm's accounting says of a job that is gone, such as "OUT_OF_MEMORY"; "" where there is none."""
    done = _run(["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}"], environment)
    return done.stdout.strip().split("\n")[-1] if done.returncode == 0 else ""


def _run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        if command[0] == "sacct":
            return subprocess.CompletedProcess(command, 1, "", str(error))
        raise StudyError(
            f"{command[0]} is not to be found on this machine; start it where Slurm's commands are, or drop [slurm]"
        ) from error
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
