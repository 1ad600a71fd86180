"""Train one experiment as a job of Slurm: submit it, wait for its result, and submit it again where it got further.

The job runs `flops_fit.distributed` with one process for each device, on as many nodes as it takes, and leaves log,
checkpoint and result in the experiment's folder, which submitter and nodes must share. What is known of the job is a
file there too, so that whoever was killed while waiting waits on for the same job the next time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import read_json, write_json, write_text
from flops_fit.basics.formatting import format_seconds
from flops_fit.errors import FileError, StudyError
from flops_fit.loss_curves.curves import LOG_FILE
from flops_fit.processes.alive import still_alive
from flops_fit.processes.stop_requests import StopRequest, end_as_asked, stop_requests
from flops_fit.processes.waited_locks import held
from flops_fit.processes.workers import outer_environment
from flops_fit.recipe.steps import plan_steps
from flops_fit.recipe.trunk import siblings_of
from flops_fit.results.finished import load_finished
from flops_fit.results.results import RESULT_FILE, ExperimentResult, failed_result
from flops_fit.slurm import queue
from flops_fit.slurm.script import LOG, job_script
from flops_fit.training.checkpoint import CHECKPOINT_FILE
from flops_fit.training.log_events import Guarded, OnLog, finished_event, step_event

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

_LOCK = ".slurm.lock"  # of who submits: one process at a time for an experiment
JOB_FILE, SCRIPT_FILE, TOLD_FILE = "slurm_job.json", "slurm_job.sh", "slurm_experiment.json"
JOB_SCHEMA, TOLD_SCHEMA = "flops_fit.slurm_job/1", "flops_fit.experiment_of_job/1"
_HANDED_ON = ("PYTHONPATH", "FLOPS_FIT_HOME", "FLOPS_FIT_PATIENCE_SECONDS", "FLOPS_FIT_STORAGE")
_MOST_WITHOUT_PROGRESS = 3  # jobs, one after the other
_SETTLE_SECONDS = 20.0  # for a file that another machine has written
_UNANSWERED_SECONDS = 3600.0  # of a queue that cannot be asked, until that is an error
_STOP_SECONDS = 15.0  # for a checkpoint once the job is to end: less than a pool leaves to its workers
_SLICE_SECONDS = 0.2
_LOG_LINES = 8


def train_by_slurm(
    study: Study,
    experiment: Experiment,
    devices: int,
    *,
    output_dir: Path,
    on_log: OnLog | None = None,
    resume: bool = True,
    siblings: Sequence[Experiment] = (),
) -> ExperimentResult:
    """The result of `experiment`, trained by jobs of so many devices, also written to its folder in `output_dir`.

    A job that ends before the training does, as its time was over or the cluster took its nodes back, is followed by
    another that goes on from the checkpoint, until three in a row have not got further. Whoever is asked to stop
    cancels the job and gives it time to save. Without `resume` a job that is under way is cancelled, and another begins
    anew. Raises `StudyError` where `sbatch` refuses it.
    """
    assert study.slurm is not None
    if study.slurm.study_file is None:
        raise StudyError(
            f"study {study.name!r} has [slurm] and no file that a job could read it from; write it as study.toml, or "
            "give slurm.study_file"
        )
    directory = Path(output_dir).absolute() / experiment.experiment_id
    directory.mkdir(parents=True, exist_ok=True)
    study.refuse_unless_planned(experiment.outcome_fingerprint)
    hook, stop = Guarded(on_log) if on_log else None, StopRequest()
    with held(directory / _LOCK), stop_requests(stop):  # the job itself holds the experiment's own
        if resume and (finished := load_finished(directory, experiment)) is not None:
            return finished
        jobs = _Jobs(
            study=study,
            experiment=experiment,
            devices=study.slurm.usable(devices),
            directory=directory,
            siblings=siblings_of(experiment, siblings),
            on_log=hook,
            stop=stop,
        )
        if not resume:
            jobs.forget()
        result = jobs.train()
    if hook:
        hook(finished_event(experiment, result))
    end_as_asked(stop)
    return result


@dataclass(kw_only=True)
class _Jobs:
    """The jobs of one experiment, one after the other."""

    study: Study
    experiment: Experiment
    devices: int
    directory: Path
    siblings: Sequence[Experiment]
    on_log: Guarded | None
    stop: StopRequest
    environment: Mapping[str, str] = field(default_factory=outer_environment)
    _told: int = 0  # the step that was last told of
    _not_cancelled: str = ""  # what Slurm said where it did not cancel the job

    def train(self) -> ExperimentResult:
        """The result that the last of them left; that of the job under way first, where there is one."""
        reached, in_vain = self._reached(), 0
        job = self._under_way() or self._submit()
        while True:
            self._wait(job)
            result = self._left_by(job)
            if result.is_final or self.stop.number is not None or not _is_cut_short(result):
                return result
            further = max(result.steps, self._reached())
            in_vain, reached = (0, further) if further > reached else (in_vain + 1, reached)
            if in_vain == _MOST_WITHOUT_PROGRESS:
                return failed_result(
                    self.experiment,
                    f"{in_vain} jobs in a row got no further than step {reached}; raise slurm.time, or see why: "
                    f"{result.reason}",
                )
            job = self._submit()

    def forget(self) -> None:
        """Remove what is there, once a job that goes on with it has been cancelled and is gone."""
        if job := self._under_way():
            queue.cancel(job, self.environment)
            self._wait(job)
        for name in (RESULT_FILE, CHECKPOINT_FILE, JOB_FILE):
            (self.directory / name).unlink(missing_ok=True)

    def _under_way(self) -> str | None:
        """The job that an earlier process has submitted, where it has not ended."""
        try:
            job = str(read_json(self.directory / JOB_FILE, JOB_SCHEMA)["job"])
        except (FileNotFoundError, FileError, KeyError):
            return None
        return job if queue.state(job, self.environment) is not None else None

    def _submit(self) -> str:
        slurm = self.study.slurm
        assert slurm is not None
        assert slurm.study_file is not None
        told = {"experiment": self.experiment.to_dict(), "siblings": [item.to_dict() for item in self.siblings]}
        write_json(self.directory / TOLD_FILE, {"schema": TOLD_SCHEMA} | told)
        command = [sys.executable, "-m", "flops_fit.distributed", slurm.study_file, self.experiment.experiment_id]
        command += ["--output-dir", str(self.directory.parent), "--told", str(self.directory / TOLD_FILE)]
        handed_on = {name: self.environment[name] for name in _HANDED_ON if name in self.environment}
        script = job_script(
            slurm,
            command,
            name=f"flops-fit {self.experiment.experiment_id}",
            devices=self.devices,
            on_gpus=self.study.hardware.device != "cpu",
            folder=str(self.directory),
            directory=os.getcwd(),
            environment={"OMP_NUM_THREADS": str(slurm.cpus_per_device)} | handed_on,
        )
        write_text(self.directory / SCRIPT_FILE, script)
        (self.directory / RESULT_FILE).unlink(missing_ok=True)  # not final: of an earlier attempt
        job = queue.submit(self.directory / SCRIPT_FILE, self.environment)
        write_json(self.directory / JOB_FILE, {"schema": JOB_SCHEMA, "job": job})
        return job

    def _wait(self, job: str) -> None:
        """Until the job has ended; where this process is asked to stop, it is cancelled and may save.

        Raises `StudyError` where the queue could not be asked for an hour.
        """
        assert self.study.slurm is not None
        answered = time.monotonic()
        while True:
            state, said = queue.state_and_why(job, self.environment)
            if state is None:
                return
            if state != queue.UNKNOWN:
                answered = time.monotonic()
            elif time.monotonic() - answered > _UNANSWERED_SECONDS:
                raise StudyError(
                    f"squeue could not be asked about job {job} for {format_seconds(_UNANSWERED_SECONDS)}: {said}; the "
                    f"job may go on: see that `squeue --jobs={job}` answers here, and start again to wait for it"
                )
            self._tell()
            end = time.monotonic() + self.study.slurm.poll_seconds
            while time.monotonic() < end and self.stop.number is None:
                still_alive()
                time.sleep(min(_SLICE_SECONDS, self.study.slurm.poll_seconds))
            if self.stop.number is not None:
                self._not_cancelled = queue.cancel(job, self.environment)
                self._let_it_save(job)
                return

    def _let_it_save(self, job: str) -> None:
        end = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < end and not (self.directory / RESULT_FILE).exists():
            if queue.state(job, self.environment) is None:
                return
            time.sleep(_SLICE_SECONDS)

    def _left_by(self, job: str) -> ExperimentResult:
        """The result that a job left which has ended, or what is known of why it left none."""
        end = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < end:
            os.listdir(self.directory)  # so that a shared file system looks again
            with contextlib.suppress(FileNotFoundError, FileError):
                return ExperimentResult.load(self.directory / RESULT_FILE)
            if self.stop.number is not None:
                reason = f"{self.stop.name} asked it to stop, and its job {job} {self._end_of(job)}; run again to go on"
                return failed_result(self.experiment, reason, status="interrupted")
            still_alive()
            time.sleep(_SLICE_SECONDS)
        ended = queue.how_it_ended(job, self.environment)
        said = f"job {job} of Slurm ended{f' as {ended}' if ended else ''} without a result{self._last_lines(job)}"
        taken = ended.split(" ")[0] in ("TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED")
        return failed_result(self.experiment, said, status="interrupted" if taken else "failed")

    def _end_of(self, job: str) -> str:
        if not self._not_cancelled:
            return "was cancelled"
        return f"may go on, since scancel said: {self._not_cancelled} (`scancel {job}` to end it)"

    def _last_lines(self, job: str) -> str:
        log = self.directory / LOG.format(job=job)
        if not log.exists():
            return ", and without a log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return "".join([f"; the end of {log}:", *(f"\n  {line}" for line in lines)])

    def _reached(self) -> int:
        """The last step that was logged."""
        line = self._last_logged()
        return int(line["step"]) if line else 0

    def _last_logged(self) -> dict[str, Any] | None:
        try:
            lines = (self.directory / LOG_FILE).read_text(encoding="utf-8").split("\n")[:-1]
            return json.loads(lines[-1]) if lines else None
        except (FileNotFoundError, ValueError):
            return None

    def _tell(self) -> None:
        """How far the job is, by its log."""
        line = self._last_logged() if self.on_log else None
        if self.on_log is None or line is None or line["step"] == self._told:
            return
        self._told = int(line["step"])
        data, peak = self.study.prepared_data, self.study.hardware.known_peak
        assert data is not None
        event = step_event(
            self.experiment,
            step=self._told,
            steps=plan_steps(self.study.training, self.experiment, data.tokens_per_example).steps,
            tokens=int(line["tokens"]),
            loss=line["loss"],
            learning_rate=line["learning_rate"],
            seconds=line["seconds"],
            peak=peak and peak * self.devices,
        )
        self.on_log(event | ({"devices": self.devices} if self.devices > 1 else {}))


def _is_cut_short(result: ExperimentResult) -> bool:
    """Whether another job may go on where this one was."""
    return result.status == "interrupted"
