"""Files and disks that fail under a live pipeline: what `live_faults` does to them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import contextmanager

from dagster_pages import launch, locations, reload_location, runs, served, ticks, why_failed
from faulty_study import (
    all_ended,
    completed,
    done,
    headless,
    nothing_lost_or_repeated,
    settled,
    short,
    slow_study,
)
from live_daemon import ENDED, Live
from pipeline_study import result_files
from webdriver import wait_for

NO_SMALL_DISK = "not provoked: a small disk cannot be mounted here (needs root)"


def study_torn(folder):
    study = slow_study(folder)
    headless(folder, study)
    with served(study, folder) as address:
        live = Live(folder, address)
        live.switch_on()
        live.settle()
        plan, before = (folder / "tiny" / "sweep_plan.json").read_bytes(), result_files(folder)
        whole = study.read_text()
        study.write_text(whole[:60])
        tick = wait_for(lambda: next((t for t in ticks(address, "watch_tiny") if t["status"] == "FAILURE"), None), 60,
                        "a failed tick")  # fmt: skip
        run = launch(address, "sweep_plan", {})
        done(address, run, "FAILURE")
        reload_location(address)
        assert any("study.toml" in (problem or "") for problem in locations(address).values()), locations(address)
        assert (folder / "tiny" / "sweep_plan.json").read_bytes() == plan
        study.write_text(whole)
        reload_location(address)
        assert set(locations(address).values()) == {None}
        live.edited = time.time()
        live.settle(killed={run for run, state in runs(address).items() if state[0] == "FAILURE"})
    nothing_lost_or_repeated(folder, before)
    line = next(line for line in tick["error"].splitlines() if "study.toml cannot" in line).partition(": ")[2]
    return f"“{short(line, folder)}” on the tick of `watch_tiny` and on the code location; the plan stands"


def file_damaged(damage):
    """The fault of a file torn, deleted or edited by hand, result and plan; headless and in a run from the pages."""

    def fault(folder):
        study = slow_study(folder)
        headless(folder, study)
        before = result_files(folder)
        name = sorted(before)[0]
        damage(folder / "tiny" / "runs" / name / "result.json")
        said = headless(folder, study)
        assert "1 experiment run now: 1 completed" in said, said
        reason = next(line for line in said.splitlines() if line.startswith(name))
        again = result_files(folder)
        assert json.loads(again[name][1])["loss"] == json.loads(before[name][1])["loss"]
        assert {key: again[key] for key in again if key != name} == {key: before[key] for key in before if key != name}
        for other in ("sweep_plan", "size_map", "scaling_law"):
            path = folder / "tiny" / f"{other}.json"
            content = path.read_text()
            damage(path)
            said = headless(folder, study)
            assert "nothing had to be trained" in said, said
            assert path.read_text() == content or other == "scaling_law", other
        assert result_files(folder) == again
        return f"“{short(reason, folder).replace(name, '…')}”; plan, size map and law are made again, nothing else"

    return fault


def file_damaged_in_the_pages(damage):
    """The fault of a file torn or deleted, then made again by a run launched by hand."""

    def fault(folder):
        study = slow_study(folder)
        headless(folder, study)
        before = result_files(folder)
        name = sorted(before)[0]
        with served(study, folder) as address:
            damage(folder / "tiny" / "runs" / name / "result.json")
            done(address, launch(address, "training_run", {}, partition=name))
            again = result_files(folder)
            for stage in ("size_map", "sweep_plan", "scaling_law"):
                path = folder / "tiny" / f"{stage}.json"
                content = path.read_text()
                damage(path)
                done(address, launch(address, stage, {}))
                assert path.read_text() == content or stage == "scaling_law", stage
        assert json.loads(again[name][1])["loss"] == json.loads(before[name][1])["loss"]
        assert {key: again[key] for key in again if key != name} == {key: before[key] for key in before if key != name}
        assert result_files(folder) == again
        return "launched by hand, each is made again as it was, and nothing else"

    return fault


def tear(path):
    path.write_text(path.read_text()[: len(path.read_text()) // 2])


def edit(path):
    """Add one to the first number that the file's hash covers."""
    pattern = re.compile(r'("(?:num_params|num_tokens|alpha)": \d*\.?)(\d+)')
    text, count = pattern.subn(lambda found: found[1] + str(int(found[2]) + 1), path.read_text(), count=1)
    assert count == 1, path
    path.write_text(text)


@contextmanager
def small_disk(folder):
    """The study's folder on a disk of 96 kB; a function that makes it large enough. None where that needs rights."""
    (folder / "tiny").mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder / "tiny")], check=False)
    if mount.returncode:
        yield None
        return
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder / "tiny")], check=True)
    finally:
        subprocess.run(["umount", str(folder / "tiny")], check=True)


def disk_full(folder):
    study = slow_study(folder)
    with small_disk(folder) as enlarge:
        if enlarge is None:
            return NO_SMALL_DISK
        first = headless(folder, study, code=(1, 2))  # 1 where even the law cannot be written
        before = completed(folder)
        enlarge()
        headless(folder, study)
        nothing_lost_or_repeated(folder, before)
        count = len(result_files(folder))
    full = [line for line in first.splitlines() if line.startswith("disk_full")]
    assert full
    assert len(before) + len(full) == count, first
    reason = full[0].partition(": ")[2]
    return f"{len(full)} trainings: “{reason}”; with space again, the next run trains these alone"


def disk_full_in_the_pages(folder):
    """With the automation on; what failed is then launched by hand, since automation tries no failed training again."""
    study = slow_study(folder)
    with small_disk(folder) as enlarge:
        if enlarge is None:
            return NO_SMALL_DISK
        with served(study, folder) as address:
            Live(folder, address).switch_on()
            failed = wait_for(lambda: failed_when_all_have_ended(folder, address), 900, "the end of all trainings")
            before = completed(folder)
            assert failed
            said = [why_failed(address, run) for run in failed.values()]
            assert all("No space left on device" in each for each in said), said
            enlarge()
            again = [launch(address, "training_run", {}, partition=name) for name in failed]
            for run in again:
                done(address, run)
            settled(folder)
            all_ended(address)
        nothing_lost_or_repeated(folder, before)
    return (
        f"{len(failed)} trainings: “{short(said[0], folder)}”; with space again and launched, these alone are trained"
    )


def failed_when_all_have_ended(folder, address):
    """Experiment → its run that failed, once every one that is planned has ended; None before."""
    plan = folder / "tiny" / "sweep_plan.json"
    if not plan.exists():
        return None
    wanted = {item["experiment_id"] for item in json.loads(plan.read_text())["experiments"]}
    found = {
        partition: (run, status)
        for run, (status, _, partition) in reversed(runs(address).items())
        if partition in wanted
    }
    if found.keys() != wanted or any(status not in ENDED for _, status in found.values()):
        return None
    return {partition: run for partition, (run, status) in found.items() if status == "FAILURE"}
