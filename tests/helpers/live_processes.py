"""The processes behind a live pipeline, found in /proc, and the end of some of them."""

import os
import signal
from pathlib import Path

from webdriver import wait_for


def of_home(home):
    """Process → command line, for those whose Dagster instance is in `home`."""
    wanted = f"DAGSTER_HOME={Path(home).resolve() / 'dagster'}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or not ours
            continue
    return found


def state_of(process):
    """State letter and parent of a process, from /proc; ("", 0) of one that is gone."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return state, int(parent)


def is_running(process):
    """Whether it is there, and not only waited for."""
    return state_of(process)[0] not in ("", "Z")


def children_of(process):
    """The processes that it has started."""
    found = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return sorted(child for child in found if state_of(child)[1] == process)


def kill_all(home, naming=""):
    """Kill (-9) the processes of `home` whose command line has `naming`; how many there were."""
    found = [process for process, command in of_home(home).items() if naming in command]
    for process in found:
        kill(process)
    return len(found)


def kill(process):
    """SIGKILL, unless it is gone already."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def training_under_way(runs, seconds=300):
    """(process, experiment id) of a training that has written a checkpoint and goes on."""
    return wait_for(lambda: next(_training(runs), None), seconds, f"a training under way in {runs}")


def _training(runs):
    for checkpoint in Path(runs).glob("*/checkpoint.safetensors"):
        for process in _holders(checkpoint.with_name(".lock")):
            yield process, checkpoint.parent.name


def _holders(path):
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(path.resolve()):
                yield int(link.parts[2])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
