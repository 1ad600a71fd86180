"""What happens to machines, done to a live pipeline: `python benchmarks/live_faults.py [NAME ...]`, about half an hour.

Each fault is provoked in a home of its own, and it is asserted that no finished training is lost or repeated. Prints a
Markdown table, and ends with exit code 1 where anything else happened.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

import live_processes
from dagster_pages import ask, launch, messages, runs, served
from faulty_study import (
    FLOPS_FIT,
    all_ended,
    completed,
    done,
    environment,
    nothing_lost_or_repeated,
    settled,
    short,
    slow_study,
    steps,
)
from live_daemon import Live, own_module
from live_damage import (
    disk_full,
    disk_full_in_the_pages,
    edit,
    file_damaged,
    file_damaged_in_the_pages,
    study_torn,
    tear,
)
from pipeline_study import result_files
from webdriver import wait_for


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
        all_ended(address)
    return "started again, it goes on by itself"


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
        all_ended(address)
        states = {status for status, _, _ in runs(address).values()}
        trainings = [partition for _, _, partition in runs(address).values() if partition == name]
    nothing_lost_or_repeated(folder, before)
    assert states == {"SUCCESS"}, states
    assert trainings == [name], trainings
    return "what is under way goes on to its end in the same process; the next are forked from new ones"


def closed(folder):
    """As Ctrl-C closes the pages; a training that is under way then goes on."""
    study = slow_study(folder)
    with served(study, folder) as address:
        Live(folder, address).switch_on()
        process, name = live_processes.training_under_way(folder / "tiny" / "runs")
        before = completed(folder)
    assert live_processes.is_running(process) or name in completed(folder)
    wait_for(lambda: name in completed(folder), 300, "the end of the training")
    with served(study, folder) as address:
        settled(folder)
        all_ended(address)
        states = {status for status, _, _ in runs(address).values()}
    nothing_lost_or_repeated(folder, before)
    assert states == {"SUCCESS"}, states
    return "what is under way goes on to its end; opened again, the rest follows by itself"


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
        all_ended(address)
        refused = sum(state[0] == "FAILURE" for state in runs(address).values())
    plan = json.loads((folder / "tiny" / "sweep_plan.json").read_text())
    results = {name: json.loads(text) for name, (_, text) in result_files(folder).items()}
    for item in plan["experiments"]:
        assert results[item["experiment_id"]]["status"] == "completed", item["experiment_id"]
    again = trained_alone(study)
    assert len(again) == 2
    assert {name: results[name]["loss"] for name in again} == again
    return f"what was under way ends as it began, {refused} that were queued are refused; all follows the new source"


TRAINED_ALONE = """
import json, sys
from pathlib import Path
from flops_fit.training.training_run import run_experiment
from flops_fit_assets.source import StudySource

source = StudySource.of(Path(sys.argv[1]), home=Path(sys.argv[2]))
shortest = sorted(source.store.read("sweep_plan").experiments, key=lambda item: item.num_tokens)[:2]
results = [run_experiment(source.study, item, output_dir=Path(sys.argv[3])) for item in shortest]
print(json.dumps({result.experiment_id: result.loss for result in results}))
"""


def trained_alone(study):
    """Experiment → its loss, of the two shortest as the study is now, trained by a new process elsewhere."""
    home = study.parent
    with tempfile.TemporaryDirectory() as other:
        command = [sys.executable, "-c", TRAINED_ALONE, str(study), str(home), other]
        said = subprocess.run(command, env=environment(home), cwd=home, capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


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


def two_daemons(folder):
    study = slow_study(folder)
    with served(study, folder):
        second = subprocess.run([*FLOPS_FIT, "ui", str(study), "--port", "0"], env=environment(folder), text=True,
                                capture_output=True, timeout=60, check=False)  # fmt: skip
    assert second.returncode == 1, second.stdout
    return f"the second is refused: “{short(second.stderr, folder.parent).replace('Error: ', '')}”"


FAULTS = {
    "a training's process killed (-9)": a_training_killed,
    "what runs are forked from killed (-9) during a training": what_runs_are_forked_from_killed,
    "the daemon killed (-9) during a training": killed("quick_daemon"),
    "the web server killed (-9) during a training": killed("web-server"),
    "the pages closed during a training": closed,
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
