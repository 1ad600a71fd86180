"""Stand-ins for Slurm's commands on one machine: they refuse what Slurm refuses, and run what they accept.

`install(folder)` writes `sbatch`, `squeue`, `scancel`, `sacct`, `srun` and `scontrol` there, for the PATH. A job is a
process of its own; each of its nodes is this machine. `STAND_IN_SLURM` is the folder that remembers the jobs.
"""

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scancel", "sacct", "srun", "scontrol")
NUMBER, WORD = r"[1-9]\d*", r"[A-Za-z0-9_.,-]+"
SBATCH = {
    "job-name": WORD, "nodes": NUMBER, "ntasks-per-node": NUMBER, "cpus-per-task": NUMBER, "partition": "cpu|gpu",
    "account": WORD, "qos": WORD, "constraint": r"\S+", "time": r"\d+(-\d+)?(:\d\d){0,2}", "mem": r"\d+[KMGT]?",
    "gres": r"gpu(:[a-z0-9]+)?:[1-9]\d*", "output": r"/.+", "open-mode": "append|truncate",
    "signal": r"([RB]:)?[A-Z]+@\d+", "requeue": None, "exclusive": None,
}  # fmt: skip
KILL_WAIT = 30.0


def install(folder):
    """The commands in `folder`, as files that can be run."""
    folder.mkdir(parents=True)
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {name} "$@"\n')
        path.chmod(0o755)


def jobs():
    return Path(os.environ["STAND_IN_SLURM"])


def fail(message, code=1):
    print(message, file=sys.stderr)
    raise SystemExit(code)


def note(job, name, value=None):
    """What is remembered of a job by that name, which is set to a `value`."""
    path = jobs() / str(job) / name
    if value is not None:
        temporary = path.with_suffix(".new")
        temporary.write_text(str(value))
        temporary.replace(path)
    return path.read_text() if path.exists() else ""


def parsed(arguments, known, command):
    """Options by name; ends with what Slurm says where one is not known, or its value is none."""
    found = {}
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in known:
            fail(f"{command}: unrecognized option '{argument}'\nTry \"{command} --help\" for more information")
        pattern = known[name]
        if not re.fullmatch(pattern or "", value):
            fail(f"{command}: error: Invalid --{name} specification: {value}")
        found[name] = value
    return found


def options_in(script):
    """The words of a script's #SBATCH lines, as sbatch tells them apart (`_get_argument` in its opt.c)."""
    found = []
    for line in script.splitlines():
        if line.startswith("#SBATCH"):
            words = shlex.shlex(line.removeprefix("#SBATCH"), posix=True)
            words.whitespace_split, words.escapedquotes = True, "'\""
            found += words
    return found


def sbatch(arguments):
    *options, script = arguments
    parsed(options, {"parsable": None}, "sbatch")
    text = Path(script).read_text()
    if not text.startswith("#!"):
        fail("sbatch: error: This does not look like a batch script.  The first line must start with #!")
    given = parsed(options_in(text), SBATCH, "sbatch")
    jobs().mkdir(exist_ok=True)
    job = 1 + len(list(jobs().iterdir()))
    (jobs() / str(job)).mkdir()
    note(job, "state", "PENDING")
    for name in ("nodes", "ntasks-per-node", "output"):
        note(job, name, given[name])
    copy = jobs() / str(job) / "script"
    copy.write_text(text)
    subprocess.Popen(
        [sys.executable, __file__, "run", str(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(job)


def run(arguments):
    """The job itself, on its nodes."""
    (job,) = arguments
    nodes = int(note(job, "nodes"))
    of_job = {
        "SLURM_JOB_ID": job,
        "SLURM_JOB_NODELIST": ",".join(["127.0.0.1"] * nodes),
        "SLURM_NNODES": str(nodes),
        "SLURM_NTASKS_PER_NODE": note(job, "ntasks-per-node"),
    }
    note(job, "state", "RUNNING")
    with open(note(job, "output").replace("%j", job), "ab") as log:
        done = subprocess.run(
            ["/bin/bash", str(jobs() / job / "script")],
            env=os.environ | of_job,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    ended = "CANCELLED by 0" if note(job, "cancelled") else "COMPLETED" if done.returncode == 0 else "FAILED"
    note(job, "state", ended)


def srun(arguments):
    options = list(itertools.takewhile(lambda item: item.startswith("--"), arguments))
    parsed(options, {"kill-on-bad-exit": "0|1", "cpus-per-task": NUMBER}, "srun")
    job, on_node = os.environ["SLURM_JOB_ID"], int(os.environ["SLURM_NTASKS_PER_NODE"])
    tasks = int(os.environ["SLURM_NNODES"]) * on_node
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its tasks get it themselves
    processes = []
    for number in range(tasks):
        of_task = {"PROCID": number, "LOCALID": number % on_node, "NODEID": number // on_node, "NTASKS": tasks}
        of_task = {f"SLURM_{name}": str(value) for name, value in of_task.items()}
        processes.append(
            subprocess.Popen(
                arguments[len(options) :],
                env=os.environ | of_task,
                preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
            )
        )
    note(job, "tasks", " ".join(str(process.pid) for process in processes))
    if note(job, "cancelled"):  # before there were tasks that could be told
        end_tasks(job)
    codes = []
    for process in processes:
        codes.append(process.wait())
    raise SystemExit(max(abs(code) for code in codes))


def scancel(arguments):
    (job,) = arguments
    if note(job, "state") not in ("PENDING", "RUNNING"):
        fail(f"scancel: error: Kill job error on job id {job}: Job/step already completing or completed")
    note(job, "cancelled", "yes")
    end_tasks(job)


def end_tasks(job):
    for process in note(job, "tasks").split():
        try:
            os.kill(int(process), signal.SIGTERM)
        except ProcessLookupError:
            continue


def squeue(arguments):
    given = parsed(arguments, {"noheader": None, "format": "%T", "jobs": NUMBER}, "squeue")
    state = note(given["jobs"], "state")
    if state not in ("PENDING", "RUNNING"):
        fail("slurm_load_jobs error: Invalid job id specified")
    print(state)


def sacct(arguments):
    known = {"noheader": None, "allocations": None, "parsable2": None, "format": "State", "jobs": NUMBER}
    print(note(parsed(arguments, known, "sacct")["jobs"], "state"))


def scontrol(arguments):
    if arguments[:2] != ["show", "hostnames"]:
        fail(f"invalid entity: {arguments}")
    print(*arguments[2].split(","), sep="\n")


def wait_for_end(job):
    """Until the job has left the queue; what accounting says of it then."""
    end = time.monotonic() + 180
    while note(job, "state") in ("PENDING", "RUNNING"):
        assert time.monotonic() < end, f"job {job} is still {note(job, 'state')}"
        time.sleep(0.05)
    return note(job, "state")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
