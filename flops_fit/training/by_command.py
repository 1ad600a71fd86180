"""Train one experiment by the user's own command, and take its word only where it agrees with the plan."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import write_json
from flops_fit.errors import TimedOut
from flops_fit.processes.workers import outer_environment
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.command import PATHS, fill, values_of
from flops_fit.sweep.experiment import PLAN_TOLERANCE
from flops_fit.sweep.export import SCHEMA
from flops_fit.tables.losses import offset_for, why_no_law
from flops_fit.training.attempt import attempt
from flops_fit.training.child_process import run_command
from flops_fit.training.log_events import OnLog
from flops_fit.training.reported import BadReport, measured_in, with_loss_of_first

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

EXPERIMENT_FILE, REPORT_FILE, LOG_FILE = "experiment.json", "trainer_result.json", "trainer.log"
EXPERIMENT_VARIABLE, REPORT_VARIABLE = "FLOPS_FIT_EXPERIMENT", "FLOPS_FIT_RESULT"
_LOG_LINES, _LOG_BYTES = 12, 8192
_REMEDY = f"the command must write one JSON object with num_tokens and loss to {{result_path}} (${REPORT_VARIABLE})"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a command says it has done; a `loss` of None is one that was not finite."""

    num_tokens: int
    flops: float
    loss: float | None
    train_loss: float | None = None
    seconds: float | None = None
    steps: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def run_external(
    study: Study, experiment: Experiment, *, directory: Path, on_log: OnLog | None = None, resume: bool = True
) -> ExperimentResult:
    """Run the command of `study.trainer` for `experiment` in `directory`, and return its result, also written there.

    The command finds the experiment in `experiment.json` and leaves its result in `trainer_result.json`; what it prints
    is in `trainer.log`. A final result that is there already is returned as it is (with `resume`).

    Whatever goes wrong becomes the result's status with its reason: an exit code other than 0, no result, one that is
    not JSON, tokens or FLOPs more than 2 % off the plan ("failed"), a loss that is not finite ("diverged"), a command
    that takes too long ("timed_out").
    """
    return attempt(
        experiment, directory, lambda _: _outcome(study, experiment, directory), resume=resume, on_log=on_log
    )


def _outcome(study: Study, experiment: Experiment, directory: Path) -> ExperimentResult:
    assert study.trainer is not None
    paths = dict(zip(PATHS, (directory / EXPERIMENT_FILE, directory / REPORT_FILE, directory), strict=True))
    paths = {name: path.resolve() for name, path in paths.items()}
    values = values_of(experiment) | paths | {"study_dir": study.trainer.study_dir}
    for stale in (REPORT_FILE, LOG_FILE):  # of an earlier attempt, which must not be taken for this one's
        _keep_as_previous(directory / stale)
    write_json(directory / EXPERIMENT_FILE, _description(study, experiment))
    environment = outer_environment() | {
        EXPERIMENT_VARIABLE: str(paths["experiment_path"]),
        REPORT_VARIABLE: str(paths["result_path"]),
    }
    log, started = directory / LOG_FILE, time.monotonic()
    try:
        code = run_command(
            fill(study.trainer.command, values),
            directory=directory,
            log=log,
            environment=environment,
            timeout_seconds=study.trainer.timeout_seconds,
        )
    except TimedOut as error:
        reason = f"{error}; raise trainer.timeout_seconds, or see {log} for what took so long{_last_lines(log)}"
        return _ended(experiment, time.monotonic() - started, "timed_out", reason)
    seconds = time.monotonic() - started
    if code:
        return _ended(experiment, seconds, "failed", _exit_reason(code, log))
    try:
        report = read_report(paths["result_path"], experiment, study.trainer.eval_sets, study.trainer.metrics)
        return _taken(experiment, report, seconds, study.measured_by)
    except BadReport as error:
        return _ended(experiment, seconds, "failed", f"{error}{_last_lines(log)}")


def read_report(path: Path, experiment: Experiment, sets: Sequence[str] = (), metrics: Sequence[str] = ()) -> Report:
    """What a command wrote about `experiment`, with a loss on each of `sets` and all `metrics` on each of them.

    Raises `BadReport` stating value, limit and remedy for what is wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadReport(f"the command ended without a result in {path}; {_REMEDY}") from error
    except (ValueError, RecursionError, IsADirectoryError) as error:  # of JSON or of UTF-8, or no file at all
        raise BadReport(f"{path} is not JSON ({error}); {_REMEDY}") from error
    if isinstance(content, dict) and sets:
        content = with_loss_of_first(content, sets[0], path)
    if not isinstance(content, dict) or not {"num_tokens", "loss"} <= content.keys():
        found = f"has {', '.join(sorted(content)) or 'nothing'}" if isinstance(content, dict) else "is no object"
        raise BadReport(f"{path} {found}; {_REMEDY}")
    loss = _number(content, "loss", path) if content["loss"] is not None else None
    loss = loss if loss is not None and math.isfinite(loss) else None
    if loss is not None and (problem := why_no_law(loss)):
        raise BadReport(f"{problem} (in {path}); have the command add a number to all its losses, such as "
                        f"{offset_for(loss):g}, or change the sign of a log-likelihood or reward")  # fmt: skip
    tokens = _whole(content, "num_tokens", path)
    params = content.get("num_params")
    if params is not None and params != experiment.num_params:
        raise BadReport(f"num_params = {params!r} in {path}, planned are {experiment.num_params:,}; train that size, "
                        "or count as the plan does (model.param_count)")  # fmt: skip
    given = _optional(content, "flops", path)
    flops = experiment.flops_per_token * tokens if given is None else given
    if loss is not None:  # what diverged may have stopped early
        check_planned("num_tokens", tokens, experiment.num_tokens, str(path))
        check_planned("flops", flops, experiment.planned_flops, str(path))
    return Report(
        num_tokens=tokens,
        flops=flops,
        loss=loss,
        train_loss=_optional(content, "train_loss", path),
        seconds=_optional(content, "seconds", path),
        steps=_whole(content, "steps", path) if content.get("steps") is not None else 0,
        **({} if loss is None else measured_in(content, path, sets, metrics)),
    )


def check_planned(name: str, value: float, planned: float, where: str) -> None:
    """Raise `BadReport` for a number that is more than 2 % off what was planned."""
    if not abs(value - planned) <= PLAN_TOLERANCE * planned:
        raise BadReport(
            f"{name} = {value:,.12g} in {where}, planned are {planned:,.12g}: {value / planned - 1:+.1%} where "
            f"{PLAN_TOLERANCE:.0%} is allowed; train what was planned, or report what was trained"
        )


def _optional(content: Mapping[str, Any], name: str, path: Path) -> float | None:
    """A finite number of at least 0 (a loss may be below), or None."""
    if content.get(name) is None:
        return None
    value = _number(content, name, path)
    if name == "train_loss":
        return value if math.isfinite(value) else None
    if not 0 <= value < math.inf:
        raise BadReport(f"{name} = {value!r} in {path} must be a finite number of at least 0; correct or leave it out")
    return value


def _number(content: Mapping[str, Any], name: str, path: Path) -> float:
    value = content[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not _fits(value):
        raise BadReport(f"{name} = {value!r} in {path} must be a number; correct what the command writes")
    return float(value)


def _fits(value: float) -> bool:
    return isinstance(value, float) or abs(value) <= sys.float_info.max  # JSON's whole numbers have no end


def _whole(content: Mapping[str, Any], name: str, path: Path) -> int:
    value = _number(content, name, path)
    if not 0 <= value < math.inf or value != int(value):
        raise BadReport(f"{name} = {value!r} in {path} must be a whole number of at least 0; correct what is written")
    return int(value)


def _description(study: Study, experiment: Experiment) -> dict[str, Any]:
    model = study.to_dict()["model"]
    shared = {"schema": SCHEMA, "model": model["factory"], "model_kwargs": model["kwargs"]}
    return shared | experiment.to_dict()


def _taken(experiment: Experiment, report: Report, seconds: float, measured_by: Mapping[str, str]) -> ExperimentResult:
    if report.loss is None:
        reason = f"the command reported a loss that is not finite, after {report.num_tokens:,} tokens"
        ended = _ended(experiment, report.seconds or seconds, "diverged", reason)
        return dataclasses.replace(ended, num_tokens=report.num_tokens, flops=report.flops, steps=report.steps)
    took = report.seconds or seconds
    return dataclasses.replace(
        _ended(experiment, took, "completed", None, loss=report.loss),
        num_tokens=report.num_tokens,
        flops=report.flops,
        train_loss=report.train_loss,
        steps=report.steps,
        losses=report.losses,
        metrics=report.metrics,
        measured_by=measured_by,
        tokens_per_second=report.num_tokens / took if took else 0.0,
    )


def _ended(
    experiment: Experiment, seconds: float, status: str, reason: str | None, *, loss: float | None = None
) -> ExperimentResult:
    return ExperimentResult.of(
        experiment,
        num_tokens=0,
        flops=0.0,
        status=status,
        reason=reason,
        loss=loss,
        seconds=seconds,
        device="trainer",
        versions={"python": platform.python_version()},
    )


def _exit_reason(code: int, log: Path) -> str:
    how = f"exited with code {code}" if code > 0 else f"was ended by signal {-code}"
    lines = _tail(log)
    last = f": {lines[-1]}" if lines else " and printed nothing"
    return f"the command {how}{last}; see {log}{_last_lines(log)}"


def _last_lines(log: Path) -> str:
    return "".join(f"\n  {line}" for line in _tail(log))


def _tail(log: Path) -> list[str]:
    """The last lines of a log that may be very long, without what a terminal would do with them."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LOG_BYTES))
        text = file.read().decode(errors="replace")
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[^\x20-\x7e\x80-\U0010ffff]", "", line) for line in text.splitlines()]
    return [line.rstrip() for line in lines if line.strip()][-_LOG_LINES:]


def _keep_as_previous(path: Path) -> None:
    if path.exists():
        path.replace(path.with_name(f"{path.stem}.previous{path.suffix}"))
