"""Slurm's own commands: submit, look, cancel, and ask how a job ended."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from flops_fit.errors import StudyError

UNKNOWN = "UNKNOWN"
_NOT_KNOWN = "invalid job id"
_SECONDS = 120.0  # of one command: a controller that is busy answers late


def refuse_without_slurm(environment: Mapping[str, str]) -> None:
    """Raise `StudyError` where this machine has no `sbatch`, before every training says so for itself."""
    if shutil.which("sbatch", path=environment.get("PATH")) is None:
        raise StudyError(f"nothing was trained: {_missing('sbatch')}")


def submit(script: Path, environment: Mapping[str, str]) -> str:
    """The number of the job that runs `script`; raises `StudyError` with what `sbatch` said where it takes none."""
    done = _run(["sbatch", "--parsable", str(script)], environment)
    number = done.stdout.strip().splitlines()[-1].split(";")[0] if done.returncode == 0 and done.stdout.strip() else ""
    if not number.isdecimal():
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise StudyError(
            f"sbatch did not take {script}: {said}; correct it in [slurm], or start again once Slurm takes jobs"
        )
    return number


def state(job: str, environment: Mapping[str, str]) -> str | None:
    """What the queue says of the job, such as "RUNNING"; None where it is no longer there.

    A queue that cannot be asked just now says "UNKNOWN".
    """
    return state_and_why(job, environment)[0]


def state_and_why(job: str, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """`state`, and of "UNKNOWN" what `squeue` said instead."""
    done = _run(["squeue", "--noheader", "--format=%T", f"--jobs={job}"], environment)
    if done.returncode == 0:
        return done.stdout.strip().split("\n")[0] or None, ""
    return (None, "") if _NOT_KNOWN in done.stderr.lower() else (UNKNOWN, done.stderr.strip())


def cancel(job: str, environment: Mapping[str, str]) -> str:
    """Have the job end: SIGTERM, and SIGKILL some time later. What `scancel` said where it did not; "" where it did."""
    done = _run(["scancel", job], environment)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


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
        raise StudyError(_missing(command[0])) from error
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _missing(command: str) -> str:
    return f"{command} is not to be found on this machine; start it where Slurm's commands are, or drop [slurm]"
