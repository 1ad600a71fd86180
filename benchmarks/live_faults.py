"""What happens to machines, done to a live pipeline: `python benchmarks/live_faults.py [NAME ...]`, about 15 minutes.

Each fault is provoked in a home of its own, and it is asserted that no finished training is lost or repeated. Prints a
Markdown table, and ends with exit code 1 where anything else happened.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

import live_processes
from dagster_pages import ask, launch, locations, messages, reload_location, runs, served, ticks
from live_daemon import ENDED, Live, own_module
from pipeline_study import result_files, write_study
from webdriver import wait_for

NO_SMALL_DISK = "not provoked: a small disk cannot be mounted here (needs root)"
FLOPS_FIT = [sys.executable, "-m", "flops_fit_assets.cli"]


def slow_study(folder, module="tiny_study"):
    """Trainings of one to six seconds each, that write a checkpoint three times a second."""
    path = write_study(folder, budgets=(2e7, 4e7, 6e7), sizes=3, module=module)
    path.write_text(path.read_text().replace("[training]", "[training]\nbatch_tokens = 8\ncheckpoint_seconds = 0.3"))
    return path


def steps(home):
    """Experiment → the steps in its log; one that was trained twice, or from the start again, has some twice."""
    logs = {path.parent.name: path.read_text().splitlines() for path in Path(home).glob("tiny/runs/*/log.jsonl")}
    return {name: [json.loads(line)["step"] for line in lines] for name, lines in logs.items()}


def nothing_lost_or_repeated(home, before):
    """The results that were there are there unchanged, every experiment has its own, and no step was logged twice."""
    plan = json.loads((Path(home) / "tiny" / "sweep_plan.json").read_text())
    wanted, after = {item["experiment_id"] for item in plan["experiments"]}, result_files(home)
    assert wanted <= after.keys(), wanted - after.keys()
    assert all(json.loads(text)["status"] == "completed" for _, text in after.values())
    assert {name: after[name] for name in before} == before
    for name, logged in steps(home).items():
        assert logged == sorted(set(logged)), name


def by_itself(study, home, disturb):
    """A live pipeline with its automation on, disturbed by `disturb(address)` once a training is under way."""
    with served(study, home) as address:
        live = Live(home, address)
        live.switch_on()
        said = disturb(address)
        if said is not None:
            settled(home)
            return said
    with served(study, home) as address:  # started again, its sensors still on
        settled(home)
        wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of every run")
    return "started again, it goes on by itself"


def settled(home, seconds=1200):
    """Wait for a law of the whole plan."""

    def whole():
        law, plan = (Path(home) / "tiny" / f"{asset}.json" for asset in ("scaling_law", "sweep_plan"))
        if not law.exists():
            return False
        wanted = [item["experiment_id"] for item in json.loads(plan.read_text())["experiments"]]
        return sorted(json.loads(law.read_text())["runs"]["experiment_id"]) == sorted(wanted)

    wait_for(whole, seconds, "a law of every experiment")


def a_training_killed(folder):
    study, before = slow_study(folder), {}

    def kill(address):
        process, _ = live_processes.training_under_way(folder / "tiny" / "runs")
        before.update(result_files(folder))
        live_processes.kill(process)
        failed = wait_for(
            lambda: [run for run, state in runs(address).items() if state[0] == "FAILURE"], 60, "a failed run"
        )
        said = next(text for text in messages(address, failed[0]) if "Run execution process" in text)
        return f"“{said.partition('] ')[2].replace(failed[0], '…')}”; "

    said = by_itself(study, folder, kill)
    nothing_lost_or_repeated(folder, before)
    return said + "its retry goes on from the checkpoint"


def killed(naming):
    """The fault of killing every process whose command line has `naming`, mid-training, and starting again."""

    def fault(folder):
        study, before = slow_study(folder), {}

        def kill(address):
            live_processes.training_under_way(folder / "tiny" / "runs")
            before.update(result_files(folder))
            assert live_processes.kill_all(folder, naming) >= 1

        said = by_itself(study, folder, kill)
        nothing_lost_or_repeated(folder, before)
        return said

    return fault


def what_runs_are_forked_from_killed(folder):
    """The process with the code location, and the first one; not the training itself."""
    study = slow_study(folder)
    with served(study, folder) as address:
        Live(folder, address).switch_on()
        process, name = live_processes.training_under_way(folder / "tiny" / "runs")
        location = live_processes.state_of(process)[1]
        first = live_processes.state_of(location)[1]
        commands = live_processes.of_home(folder)
        assert all("warm_runs.server" in commands[each] for each in (location, first)), commands
        before = completed(folder)
        for each in (first, location):
            live_processes.kill(each)
        assert live_processes.is_running(process)
        settled(folder)
        wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of every run")
        states = {status for status, _, _ in runs(address).values()}
        trainings = [partition for _, _, partition in runs(address).values() if partition == name]
    nothing_lost_or_repeated(folder, before)
    assert states == {"SUCCESS"}, states
    assert trainings == [name], trainings
    return "what is under way goes on to its end in the same process; the next are forked from new ones"


def launched_twice(folder):
    study = slow_study(folder)
    with served(study, folder) as address:
        longest = planned_by_hand(folder, address)
        both = [launch(address, "training_run", {}, partition=longest) for _ in range(2)]
        for run in both:
            done(address, run)
    (logged,) = steps(folder).values()
    assert logged == sorted(set(logged))
    return "one trains, the other waits and takes its result"


def done(address, run, status="SUCCESS"):
    """Wait for the end of a run, which must be `status`."""
    state = wait_for(lambda: runs(address)[run][0] in ENDED and runs(address)[run], 600, run)
    assert state[0] == status, state


def terminated(folder):
    study = slow_study(folder)
    with served(study, folder) as address:
        longest = planned_by_hand(folder, address)
        run = launch(address, "training_run", {}, partition=longest)
        live_processes.training_under_way(folder / "tiny" / "runs")
        terminate(address, run)
        done(address, run, "CANCELED")
        done(address, launch(address, "training_run", {}, partition=longest))
    (logged,) = steps(folder).values()
    assert logged == sorted(set(logged))
    return "its run is canceled; launched again, it goes on from its checkpoint"


def source_edited(folder):
    """While a training of the old source is under way; the study's model is in a module of its own."""
    module = own_module(folder)
    study = slow_study(folder, module)
    with served(study, folder) as address:
        live = Live(folder, address)
        live.switch_on()
        live_processes.training_under_way(folder / "tiny" / "runs")
        text = (folder / f"{module}.py").read_text()
        (folder / f"{module}.py").write_text(text.replace("torch.nn.Tanh()", "torch.nn.ReLU()"))
        settled(folder)
        wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of every run")
        refused = sum(state[0] == "FAILURE" for state in runs(address).values())
    plan = json.loads((folder / "tiny" / "sweep_plan.json").read_text())
    results = {name: json.loads(text) for name, (_, text) in result_files(folder).items()}
    for item in plan["experiments"]:
        assert results[item["experiment_id"]]["status"] == "completed", item["experiment_id"]
    again = trained_alone(study)
    assert {name: results[name]["loss"] for name in again} == again
    return f"what was under way ends as it began, {refused} that were queued are refused; all follows the new source"


def trained_alone(study):
    """Experiment → its loss, of the study as it is now, trained by `flops-fit run` in a home of its own."""
    with tempfile.TemporaryDirectory() as other:
        headless(Path(other), study)
        return {name: json.loads(text)["loss"] for name, (_, text) in result_files(other).items()}


def planned_by_hand(folder, address):
    """The longest experiment of the plan, once it is planned."""
    for stage in ("size_map", "sweep_plan"):
        done(address, launch(address, stage, {}))
    plan = json.loads((folder / "tiny" / "sweep_plan.json").read_text())
    return max(plan["experiments"], key=lambda item: item["num_tokens"])["experiment_id"]


def terminate(address, run):
    """As *Terminate* on a run's page does."""
    mutation = (
        "mutation T($r: String!){terminateRun(runId: $r){__typename ... on TerminateRunFailure{message} "
        "... on PythonError{message}}}"
    )
    answer = ask(address, mutation, r=run)["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer


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
    return f"“{_short(line, folder)}” on the tick of `watch_tiny` and on the code location; the plan stands"


def _short(text, folder):
    return text.strip().replace(f"{folder}/", "")


def headless(folder, study, code=(0,), **options):
    """`flops-fit run` to its end; what it printed."""
    done = subprocess.run([*FLOPS_FIT, "run", str(study)], env=environment(folder), capture_output=True, text=True,
                          check=False, **options)  # fmt: skip
    assert done.returncode in code, done.stdout + done.stderr
    return done.stdout + done.stderr


def environment(folder):
    import os

    here = Path(__file__).resolve().parent.parent
    return os.environ | {
        "FLOPS_FIT_HOME": str(folder),
        "PYTHONPATH": f"{here}:{here / 'tests' / 'helpers'}",
        "COLUMNS": "300",
    }


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
        return f"“{_short(reason, folder).replace(name, '…')}”; plan, size map and law are made again, nothing else"

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


def completed(folder):
    """As `result_files`, of the trainings that ended well."""
    return {name: kept for name, kept in result_files(folder).items() if '"completed"' in kept[1]}


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
            said = [reason_of(address, run) for run in failed.values()]
            assert all("No space left on device" in each for each in said), said
            enlarge()
            again = [launch(address, "training_run", {}, partition=name) for name in failed]
            for run in again:
                done(address, run)
            settled(folder)
            wait_for(lambda: all(state[0] in ENDED for state in runs(address).values()), 300, "the end of every run")
        nothing_lost_or_repeated(folder, before)
    return (
        f"{len(failed)} trainings: “{_short(said[0], folder)}”; with space again and launched, these alone are trained"
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


def reason_of(address, run):
    """The line of a run's log that says why its training failed."""
    lines = [line for text in messages(address, run) for line in (text or "").splitlines()]
    return next((line for line in lines if "free some space" in line), " / ".join(lines[-3:]))


def two_daemons(folder):
    study = slow_study(folder)
    with served(study, folder):
        second = subprocess.run([*FLOPS_FIT, "ui", str(study), "--port", "0"], env=environment(folder), text=True,
                                capture_output=True, timeout=60, check=False)  # fmt: skip
    assert second.returncode == 1, second.stdout
    return f"the second is refused: “{_short(second.stderr, folder.parent).replace('Error: ', '')}”"


FAULTS = {
    "a training's process killed (-9)": a_training_killed,
    "what runs are forked from killed (-9) during a training": what_runs_are_forked_from_killed,
    "the daemon killed (-9) during a training": killed("quick_daemon"),
    "the web server killed (-9) during a training": killed("web-server"),
    "everything killed (-9) during a training": killed(""),
    "one partition launched twice at once": launched_twice,
    "a training terminated on its page": terminated,
    "the model's source edited during a training": source_edited,
    "the study file half written": study_torn,
    "a file torn": file_damaged(tear),
    "a file deleted": file_damaged(Path.unlink),
    "a file edited by hand": file_damaged(edit),
    "a file torn, in runs of the pages": file_damaged_in_the_pages(tear),
    "a file deleted, in runs of the pages": file_damaged_in_the_pages(Path.unlink),
    "the disk full": disk_full,
    "the disk full in runs of the pages": disk_full_in_the_pages,
    "two daemons on one home": two_daemons,
}


def main(wanted):
    """Provoke the faults whose name has one of `wanted` (all of them without); returns the exit code."""
    wrong = 0
    print("| fault | what happens | seconds |\n|---|---|---|", flush=True)
    for name, provoke in FAULTS.items():
        if wanted and not any(part in name for part in wanted):
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                said = provoke(Path(folder).resolve())
            except Exception as error:  # whatever goes wrong with one fault, the others are provoked
                traceback.print_exc()
                wrong, said = wrong + 1, f"**not as wanted**: {type(error).__name__}: {error}"
        print(f"| {name} | {said} | {time.monotonic() - begin:.0f} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
