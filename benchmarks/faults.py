"""What can go wrong, done to `flops-fit run`: `python benchmarks/faults.py [NAME ...] [--jobs 2] [--write]`.

Half an hour. Kills and signals at every moment, damaged files, awkward models, edits, full disks, two processes at
once: each in a home of its own, to a study of eight trainings. After each fault the study is run again without it, and
against a study that nothing was done to it is counted

- lost: a result that was there and is not what it was,
- repeated: a result that was there, undamaged, and was made again,
- wrong: an experiment whose loss or weights are others than undisturbed,
- traceback: one that a user would have seen.

Prints a Markdown table (`--write` puts it into docs/faults.md), and ends with exit code 1 where a count is not 0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "tests" / "helpers"
sys.path[:0] = [str(HELPERS), str(ROOT)]

from live_processes import children_of  # noqa: E402
from pipeline_study import result_files, write_study  # noqa: E402

FLOPS_FIT = [sys.executable, "-m", "flops_fit_assets.cli"]
PAGE = ROOT / "docs" / "faults.md"
BUDGETS, SIZES = (4e6, 8e6), 4
FAILED = ("failed", "out_of_memory", "disk_full", "timed_out")


@dataclass(kw_only=True)
class Home:
    """A study in a folder of its own, and what was seen of it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def study(self) -> Path:
        return self.folder / "study.toml"

    @property
    def data(self) -> Path:
        return self.folder / "tiny"

    def start(self, *more, **options):
        """`flops-fit run` in a process of its own."""
        environment = os.environ | {
            "FLOPS_FIT_HOME": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(HELPERS), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "250",
        }
        return subprocess.Popen(
            [*FLOPS_FIT, "run", str(self.study), *more],
            env=environment | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **{"preexec_fn": hear_signals} | options,
        )

    def end(self, process):
        """Wait for the end of `process`; its exit code."""
        self.said.append(process.communicate(timeout=600)[0])
        return process.returncode

    def run(self, **options):
        """`flops-fit run` to its end; its exit code."""
        return self.end(self.start(**options))

    def results(self):
        """Experiment → what its result says, of those that are finished."""
        found = {name: (when, json.loads(text)) for name, (when, text) in result_files(self.folder).items()}
        return {name: kept for name, kept in found.items() if kept[1]["status"] not in FAILED}

    def wait_for(self, process, happened, seconds=300):
        """Wait until `happened()`, or until the process has ended."""
        end = time.monotonic() + seconds
        while process.poll() is None and not happened():
            if time.monotonic() > end:
                raise TimeoutError("what the fault waits for did not happen")
            time.sleep(0.01)

    def children(self, process):
        """The processes that it has started, the working one first."""
        found, todo = [], [process.pid]
        while todo:
            new = children_of(todo.pop(0))
            found, todo = found + new, todo + new
        return found


def hear_signals():
    """Also where this is run with `nohup`, or behind a shell's back, which makes children deaf to some."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`provoke` does it to a home and returns the exit code of the disturbed command, one of `codes` if all is well."""

    group: str
    name: str
    provoke: Callable[[Home], int]
    codes: tuple[int, ...]
    spared: Callable[[Home, dict], dict] = lambda home, before: before  # of the results before, what must stay
    adaptive: bool = False  # done to a study in rounds


FAULTS: list[Fault] = []


def add(group, name, provoke, *codes, **more):
    FAULTS.append(Fault(group=group, name=name, provoke=provoke, codes=codes, **more))


# --- kills and signals ------------------------------------------------------------------------------------------------


def some_results(count):
    return lambda home: len(result_files(home.folder)) >= count


MOMENTS = {
    "at its start": lambda home: True,
    "once the sizes are probed": lambda home: (home.data / "size_map.json").exists(),
    "once it is planned": lambda home: (home.data / "sweep_plan.json").exists(),
    "in the first training": lambda home: any(home.data.glob("runs/*/log.jsonl")),
    "once a checkpoint is written": lambda home: any(home.data.glob("runs/*/checkpoint.safetensors")),
    "after two results": some_results(2),
    "after six results": some_results(6),
    "after the last result": some_results(8),
    "once the law is written": lambda home: (home.data / "scaling_law.json").exists(),
}
VICTIMS = {
    "the command": lambda home, process: [process.pid],
    "its working process": lambda home, process: home.children(process)[:1],
    "the workers": lambda home, process: home.children(process)[1:],
    "everything": lambda home, process: [process.pid, *home.children(process)],
}


def send(numbers, happened, victims=VICTIMS["the command"]):
    """Send each signal of `numbers` to `victims` once `happened(home)`."""

    def provoke(home):
        process = home.start(start_new_session=True)
        home.wait_for(process, lambda: happened(home))
        for number in numbers:
            for victim in victims(home, process):
                try:
                    os.kill(victim, number)
                except ProcessLookupError:
                    continue
            time.sleep(0.2)
        code = home.end(process)
        time.sleep(2.5)  # workers notice that they are alone
        return code

    return provoke


for moment, happened in MOMENTS.items():
    add("killed (-9)", f"the command, {moment}", send([signal.SIGKILL], happened), -9, 0)
for victim in ("its working process", "the workers", "everything"):
    for moment in ("in the first training", "after two results"):
        codes = {"its working process": (1,), "the workers": (0,), "everything": (-9,)}[victim]
        add("killed (-9)", f"{victim}, {moment}", send([signal.SIGKILL], MOMENTS[moment], VICTIMS[victim]), *codes)
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    number = getattr(signal, name)
    for moment in ("at its start", "after two results"):
        add("signals", f"{name} {moment}", send([number], MOMENTS[moment]), 128 + number, -number)
add("signals", "SIGINT, three times", send([signal.SIGINT] * 3, MOMENTS["after two results"]), 130)
add("signals", "SIGSTOP and SIGCONT", send([signal.SIGSTOP, signal.SIGCONT], MOMENTS["after two results"]), 0)


def round_planned(number):
    return lambda home: bool(list(home.data.glob(f"rounds/*/round_{number:03d}.json")))


def training_in_round(number):
    """An experiment of that round has begun."""

    def happened(home):
        return any((home.data / "runs" / name / "log.jsonl").exists() for name in ids_of_round(home, number))

    return happened


def round_trained(number):
    """Every experiment of that round has its result: the law is fitted next."""

    def happened(home):
        names = ids_of_round(home, number)
        return bool(names) and all((home.data / "runs" / name / "result.json").exists() for name in names)

    return happened


def ids_of_round(home, number):
    paths = list(home.data.glob(f"rounds/*/round_{number:03d}.json"))
    chosen = json.loads(paths[0].read_text())["choices"] if paths else []
    return [choice["experiment"]["experiment_id"] for choice in chosen]


def after_the_law_of_round(number):
    """The law is there and says so: the next round is planned next."""
    return lambda home: round_trained(number)(home) and (home.data / "scaling_law.json").exists()


PHASES = {
    "once round 1 is planned": round_planned(1),
    "in a training of round 1": training_in_round(1),
    "while the law of round 1 is fitted": round_trained(1),
    "while round 2 is planned": after_the_law_of_round(1),
    "once round 2 is planned": round_planned(2),
    "in a training of round 2": training_in_round(2),
    "while the law of round 2 is fitted": round_trained(2),
}
for phase, happened in PHASES.items():
    add("rounds", f"everything killed {phase}", send([signal.SIGKILL], happened, VICTIMS["everything"]), -9, 0,
        adaptive=True)  # fmt: skip
add("rounds", "SIGINT in a training of round 2", send([signal.SIGINT], training_in_round(2)), 130, adaptive=True)
add("rounds", "the workers killed in a training of round 2", send([signal.SIGKILL], training_in_round(2),
    VICTIMS["the workers"]), 0, adaptive=True)  # fmt: skip


# --- damage -----------------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def other_bytes(path):
    path.write_bytes(os.urandom(4096))


def removed(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def one_byte_changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def one_number_changed(path):
    text = path.read_text()
    found = list(re.finditer(r"[: ](\d+)\.?\d*[,\n}]", text))
    at = found[len(found) // 2].start(1)
    path.write_text(text[:at] + str((int(text[at]) + 1) % 9 + 1) + text[at + 1 :])


FILES = {
    "the size map": lambda home: home.data / "size_map.json",
    "the plan": lambda home: home.data / "sweep_plan.json",
    "a result": lambda home: sorted(home.data.glob("runs/*/result.json"))[3],
    "the law": lambda home: home.data / "scaling_law.json",
}
DAMAGES = (cut, emptied, other_bytes, removed, a_folder, one_number_changed)


def damaged(file, damage):
    def provoke(home):
        damage(file(home))
        return home.run()

    return provoke


def undamaged(file):
    return lambda home, before: {name: kept for name, kept in before.items() if file(home).parent.name != name}


for what, file in FILES.items():
    for damage in DAMAGES:
        add("damage", f"{what}: {damage.__name__.replace('_', ' ')}", damaged(file, damage), 0, spared=undamaged(file))
for what, pattern in {"the report": "report.html", "the table of runs": "runs.csv"}.items():
    for damage in (removed, a_folder):
        file = lambda home, pattern=pattern: home.data / pattern  # noqa: E731
        add("damage", f"{what}: {damage.__name__.replace('_', ' ')}", damaged(file, damage), 0)


def checkpoint_damaged(damage):
    """Interrupt a training that has written a checkpoint, damage that, and go on."""

    def provoke(home):
        send([signal.SIGKILL], MOMENTS["once a checkpoint is written"], VICTIMS["everything"])(home)
        for path in home.data.glob("runs/*/checkpoint.safetensors"):
            damage(path)
        return home.run()

    return provoke


for damage in (cut, emptied, one_byte_changed, a_folder):
    add("damage", f"a checkpoint: {damage.__name__.replace('_', ' ')}", checkpoint_damaged(damage), 0)


def of_dagster(damage, remedy):
    """Damage Dagster's own files, see it refused, and do what the message says."""

    def provoke(home):
        damage(home.folder / "dagster")
        code = home.run()
        remedy(home.folder / "dagster")
        return code

    return provoke


def history(damage):
    return lambda folder: damage(folder / "history" / "runs.db")


def index(damage):
    return lambda folder: damage(folder / "history" / "runs" / "index.db")


configuration = lambda text: lambda folder: (folder / "dagster.yaml").write_text(text)  # noqa: E731
delete_configuration = lambda folder: (folder / "dagster.yaml").unlink()  # noqa: E731
add("damage", "dagster.yaml: torn", of_dagster(configuration("telemetry: ["), delete_configuration), 1)
add("damage", "dagster.yaml: an unknown key", of_dagster(configuration("colour: blue\n"), delete_configuration), 1)
for damage in (other_bytes, a_folder, cut):
    name = f"Dagster's database: {damage.__name__.replace('_', ' ')}"
    add("damage", f"{name} (history)", of_dagster(history(damage), shutil.rmtree), 1)
    add("damage", f"{name} (index)", of_dagster(index(damage), shutil.rmtree), 1)
add("damage", "Dagster's database: removed", of_dagster(shutil.rmtree, lambda folder: None), 0)


# --- awkward models ---------------------------------------------------------------------------------------------------


def awkward(what, *, once=False, model="Evil", module="evil_model"):
    """Train a model that does `what` in the middle of a training: every time, or once."""

    def provoke(home):
        home.study.write_text(home.study.read_text().replace("tiny_study:TinyMLP", f"{module}:{model}"))
        home.environment = {"EVIL": what, "FLOPS_FIT_PATIENCE_SECONDS": "30"}
        if once:
            home.environment["EVIL_ONCE"] = str(home.folder / "once")
        code = home.run()
        home.environment = {}
        return code

    return provoke


DEADLY = ("crash", "abort", "exit_now", "killed", "write_everywhere", "close_everything", "interrupt", "raise_base")
NAMED = ("sys_exit", "hang", "sleep", "say_much", "say_control_characters", "run_out_of_memory", "recurse")
HARMLESS = ("fork", "close_output", "close_descriptors_of_output", "move_away", "change_settings",
            "change_environment", "reseed")  # fmt: skip
for what in (*DEADLY, *NAMED):
    add("awkward models", what.replace("_", " "), awkward(what), 2)
for what in DEADLY[:4]:
    add("awkward models", f"{what.replace('_', ' ')}, once", awkward(what, once=True), 0)
for what in HARMLESS:
    add("awkward models", what.replace("_", " "), awkward(what), 0, 2)


# --- edits ------------------------------------------------------------------------------------------------------------

EDITED = """
import helper_module
from tiny_study import TinyMLP

class Model(TinyMLP):
    def forward(self, inputs):
        return helper_module.scale(1.0) * super().forward(inputs)
"""
HELPER = "def scale(factor):\n    return factor\n"


def edited(file, old, new):
    """Edit source in the middle of a sweep and kill the workers; then put it back."""

    def provoke(home):
        (home.folder / "edited_model.py").write_text(EDITED)
        (home.folder / "helper_module.py").write_text(HELPER)
        home.study.write_text(home.study.read_text().replace("tiny_study:TinyMLP", "edited_model:Model"))
        process = home.start(start_new_session=True)
        home.wait_for(process, lambda: some_results(2)(home))
        path = home.folder / file
        text = path.read_text()
        path.write_text(text.replace(old, new))
        for victim in VICTIMS["the workers"](home, process):
            os.kill(victim, signal.SIGKILL)
        code = home.end(process)
        path.write_text(text)
        return code

    return provoke


add("edits", "the model, workers killed", edited("edited_model.py", "(1.0)", "(0.0)"), 1, 2)
add(
    "edits", "a module that it imports, workers killed", edited("helper_module.py", "return factor", "return 0.0"), 1, 2
)
add("edits", "a comment, workers killed", edited("edited_model.py", "\nclass", "\n# a comment\nclass"), 0)
add("edits", "the model cannot be compiled, workers killed", edited("edited_model.py", "class Model", "class ("), 1, 2)


# --- disks ------------------------------------------------------------------------------------------------------------


def small_files(limit):
    """No file may grow beyond `limit` bytes, as on a disk that is full at that moment."""

    def provoke(home):
        return home.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))

    return provoke


def small_disk(kilobytes, folder):
    """A real disk of that size below `folder`, mounted (needs root) and made larger afterwards."""

    def provoke(home):
        place = home.folder / folder
        kept = home.folder / "kept"
        place.mkdir(exist_ok=True)
        shutil.copytree(place, kept)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            return SKIPPED
        shutil.copytree(kept, place, dirs_exist_ok=True)
        try:
            code = home.run()
            subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
            home.run()
            shutil.rmtree(kept)
            shutil.copytree(place, kept)
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
        shutil.copytree(kept, place, dirs_exist_ok=True)
        return code

    return provoke


SKIPPED = 999
for limit in (0, 2_000, 20_000, 60_000, 150_000):
    add("disks", f"no file beyond {limit:,} bytes", small_files(limit), 1, 2)
for kilobytes in (40, 96):
    add("disks", f"{kilobytes} kB for the study", small_disk(kilobytes, "tiny"), 1, 2, SKIPPED)
for kilobytes in (700, 1200):
    add("disks", f"{kilobytes} kB for Dagster", small_disk(kilobytes, "dagster"), 0, 1, 2, SKIPPED)


def elsewhere(home_of):
    """Run with a home that cannot be used."""

    def provoke(home):
        home.environment = {"FLOPS_FIT_HOME": str(home_of(home))}
        code = home.run()
        home.environment = {}
        return code

    return provoke


def a_file(home):
    (home.folder / "a_file").write_text("mine")
    return home.folder / "a_file"


add("disks", "a home that cannot be written", elsewhere(lambda home: "/sys/flops_fit"), 1)
add("disks", "a home that is a file", elsewhere(a_file), 1)


# --- two processes, and study files -----------------------------------------------------------------------------------


def two_at_once(home):
    first = home.start()
    home.wait_for(first, lambda: some_results(1)(home))
    second = home.run()
    assert home.end(first) == 0
    return second


def killed_and_at_once_again(home):
    first = home.start(start_new_session=True)
    home.wait_for(first, lambda: some_results(2)(home))
    first.kill()
    code = home.run()
    home.end(first)
    return code


add("two at once", "a second run", two_at_once, 1)
add("two at once", "a run killed and at once started again", killed_and_at_once_again, 0, 1)


def study_file(text):
    """Run with another text in the study file, or a folder in its place, and put it back."""

    def provoke(home):
        kept = home.study.read_text()
        home.study.unlink()
        home.study.mkdir() if text is None else home.study.write_text(text(kept))
        code = home.run()
        home.study.rmdir() if text is None else home.study.unlink()
        home.study.write_text(kept)
        return code

    return provoke


STUDY_FILES = {
    "half of it": lambda text: text[:60],
    "a folder in its place": None,
    "a number of 5,000 digits": lambda text: text.replace("workers = 2", f"workers = {'9' * 5000}"),
    "not a key": lambda text: text.replace("size_param", "size_parm"),
    "a model that is not there": lambda text: text.replace("TinyMLP", "TinyMLQ"),
    "a module with a syntax error": lambda text: text.replace("tiny_study:TinyMLP", "broken_module:Model"),
}
for name, text in STUDY_FILES.items():
    add("study files", name, study_file(text), 1)


# --- the judge --------------------------------------------------------------------------------------------------------


def study_in(folder):
    """The study that faults are done to; its trainings write checkpoints as soon as they can."""
    path = write_study(folder, budgets=BUDGETS, sizes=SIZES, workers=2)
    path.write_text(path.read_text().replace("[training]", "[training]\nbatch_tokens = 8\ncheckpoint_seconds = 0.05"))
    (folder / "broken_module.py").write_text("class (:\n")
    return path


def adaptive_in(folder):
    """The same in rounds."""
    path = study_in(folder)
    text = path.read_text().replace("[4000000.0, 8000000.0]", "[8e5, 2.4e6, 8e6]")
    text = text.replace('size_param = "width"', 'size_param = "width"\nflops = "measured"')
    path.write_text(text + "\n[adaptive]\ntarget_budget = 1e8\ntotal_compute = 6e7\nN_opt_within = 1.01\n")
    return path


def judged(fault, reference, finished):
    """A row of the table: what came of one fault, and how often a count is not 0."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        home = Home(folder=Path(name).resolve())
        (adaptive_in if fault.adaptive else study_in)(home.folder)
        if fault.group == "damage" and not fault.name.startswith("a checkpoint"):
            shutil.copytree(finished, home.folder, dirs_exist_ok=True)
        before = home.results()
        begin = time.monotonic()
        code = fault.provoke(home)
        after = home.results()
        last = home.run()
        seconds = time.monotonic() - begin
        spared = fault.spared(home, before)
        end = home.results()
        own = {name: kept for name, kept in after.items() if name not in spared}
        kept = [*spared.items(), *own.items()]
        lost = sum(name not in end for name, _ in kept)
        repeated = sum(name in end and end[name][0] != when for name, (when, _) in kept)
        wrong = sum(_outcome(kept[1]) not in reference for kept in end.values())
        tracebacks = sum("Traceback (most recent call last)" in text for text in home.said)
        unexpected = code not in fault.codes or last != 0
        text = next((line for line in reversed("\n".join(home.said[:1]).splitlines()) if line.strip()), "")
        row = (fault.group, fault.name, code, lost, repeated, wrong, tracebacks, f"{seconds:.0f}")
        if lost or repeated or wrong or tracebacks or unexpected:
            print(
                f"--- {fault.group}: {fault.name}: exit code {code}, then {last}", *home.said, sep="\n", file=sys.stderr
            )
        return row, _shown(text, home.folder), bool(lost or repeated or wrong or tracebacks or unexpected)


def _outcome(result):
    """What must be the same however it was reached: a training is known by its size and tokens."""
    return result["size_param_value"], result["num_tokens"], result["loss"], result["weights_sha256"]


def _shown(text, folder):
    return text.replace(f"{folder}/", "").replace("|", "/").strip()[:160]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    wanted = [f for f in FAULTS if not options.names or any(part in f"{f.group}: {f.name}" for part in options.names)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        finished = Home(folder=Path(name).resolve() / "grid")
        reference = undisturbed(finished, study_in) if any(not fault.adaptive for fault in wanted) else set()
        if any(fault.adaptive for fault in wanted):
            reference |= undisturbed(Home(folder=finished.folder.with_name("rounds")), adaptive_in)
        with ThreadPoolExecutor(options.jobs) as pool:
            rows = []
            for row, text, is_wrong in pool.map(lambda fault: judged(fault, reference, finished.folder), wanted):
                rows.append((row, text, is_wrong))
                if options.write:
                    write_page(rows)
                print(
                    "| " + " | ".join(map(str, row)) + f" | {text} |{' **not as wanted**' if is_wrong else ''}",
                    flush=True,
                )
    bad = sum(is_wrong for _, _, is_wrong in rows)
    print(f"{len(rows)} faults, {bad} not as wanted")
    return 1 if bad else 0


def undisturbed(home, study):
    """The outcomes of a study to which nothing is done."""
    home.folder.mkdir()
    study(home.folder)
    assert home.run() == 0, home.said
    return {_outcome(result) for _, result in home.results().values()}


def write_page(rows):
    """The table in docs/faults.md, below its introduction; rows of faults that were not provoked now stay."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    head, _, below = PAGE.read_text().partition(TABLE)
    old = [line.strip("| ").split(" | ") for line in below.splitlines() if line.startswith("| ")]
    table = {cells[0]: cells for cells in old if cells[0] in NAMES}
    for (group, name, code, *counts, _), text, _ in rows:
        shown = "not provoked" if code == SKIPPED else str(code)
        table[f"{group}: {name}"] = [f"{group}: {name}", shown, *map(str, counts), commit, f"`{text}`" if text else ""]
    lines = [table[name] for name in NAMES if name in table]
    totals = [f"**{sum(int(cells[at]) for cells in lines)}**" for at in range(2, 6)]
    lines.append([f"**{len(lines)} faults**", "", *totals, "", ""])
    titles = ["fault", "exit code", "lost", "repeated", "wrong", "tracebacks", "measured at", "last line printed"]
    lines = [titles, ["---"] * len(titles), *lines]
    PAGE.write_text(f"{head}{TABLE}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n")


TABLE, NAMES = "<!-- table -->", [f"{fault.group}: {fault.name}" for fault in FAULTS]


if __name__ == "__main__":
    sys.exit(main())
