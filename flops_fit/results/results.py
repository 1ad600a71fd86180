"""The outcome of experiments, and the runs table that a scaling law is fitted to."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.arguments import LEFT_OUT, TEXT, check_fields, number, one_of, whole
from flops_fit.basics.files import read_value, write_text, write_value
from flops_fit.basics.formatting import safe_text
from flops_fit.basics.from_json import from_json
from flops_fit.errors import FileError, ResultError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.sweep.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

RESULT_SCHEMA = "flops_fit.result/1"
RESULT_FILE = "result.json"
FINAL_STATUSES = ("completed", "diverged")  # trained again, these would only end the same way
STATUSES = (*FINAL_STATUSES, "out_of_data", "out_of_memory", "timed_out", "interrupted", "disk_full", "failed")
SOURCES = ("trained", "imported")
_PLANNED = (
    "experiment_id", "compute_budget", "size_param", "size_param_value", "num_params", "flops_per_token", "seed",
    "outcome_fingerprint", "trunk",
)  # fmt: skip
_OF_NAMED = ("losses", "metrics", "measured_by")  # which only results of several held-out sets or metrics have
_OF_TRUNKS = ("trunk", "trunk_tokens", "trunk_steps", "trunk_seconds")  # of studies that share trunks alone
_OF_FEW = (*_OF_NAMED, *_OF_TRUNKS, "stacked", "devices")
_MAPPINGS = ("versions", *_OF_NAMED)
_HOW_FAST_AND_WHERE = ("seconds", "tokens_per_second", "device", "versions", "stacked", "devices", *_OF_TRUNKS[1:])
_COUNT, _AMOUNT = whole(0), number(least=0)
_RULES = {
    **dict.fromkeys(("experiment_id", "size_param", "device"), TEXT),
    **dict.fromkeys(("compute_budget", "flops_per_token"), number(above=0)),
    **dict.fromkeys(("size_param_value", "num_params", "devices"), whole()),
    **dict.fromkeys(("num_tokens", "seed", "steps", "trunk_tokens", "trunk_steps", "stacked"), _COUNT),
    **dict.fromkeys(
        ("flops", "batch_examples", "learning_rate", "seconds", "trunk_seconds", "tokens_per_second"), _AMOUNT
    ),
    "status": one_of(*STATUSES),
    "source": one_of(*SOURCES),
    "loss": number() | LEFT_OUT,
    "train_loss": number() | LEFT_OUT,
    "epochs": _AMOUNT | LEFT_OUT,
}


@dataclass(frozen=True, kw_only=True)
class ExperimentResult:
    """What came of one experiment.

    Attributes:
        num_params: N, in the plan's convention.
        num_tokens: D, tokens actually trained (a whole number of examples).
        flops: training FLOPs done: `flops_per_token * num_tokens`, forward and backward.
        status: "completed"; or with a `reason` "diverged" (a loss that is not finite), "out_of_data" (more tokens than
            the data has), "out_of_memory", "timed_out", "interrupted" (it was asked to stop, and goes on where it was
            the next time), "disk_full", "failed" (any other error).
        reason: as text that can be shown, 4,000 characters at most.
        loss: held-out loss at the end, mean over the study's held-out data; None unless completed.
        train_loss: mean training loss over the last tenth of the steps.
        epochs: passes over the training data; above 1, data was repeated. None for a stream.
        seconds: training time, held-out evaluation not included, summed over resumed parts, and with the trunk's.
        weights_sha256: of the final weights, so that a repetition can be compared bit by bit.
        source: "trained" by this study, or "imported" from a table of runs.
        outcome_fingerprint: of the study that it was trained from; "" where the experiment was of none.
        losses: held-out loss on each of several named sets, of which `loss` is the first's; else empty.
        metrics: the study's metrics on its held-out data by name, of named sets as `accuracy_web`.
        measured_by: of what `losses` and `metrics` were measured with, by name, a hash.
        trunk: that it branched from, a name that all experiments of one trunk have; "" where it was trained on its own.
        trunk_tokens, trunk_steps, trunk_seconds: of `num_tokens`, `steps` and `seconds`, those that another experiment
            of its trunk had trained. Results of earlier versions have the first alone.
        stacked: how many trainings took steps together with it in one process, itself included
            (docs/training.md#several-at-once); 0 where it was trained alone. Its `seconds` are then its share.
        devices: that trained it together, the last time that it was taken up.

    Raises `ResultError` for a value outside its limits, and for a loss without completion or the other way round.
    """

    experiment_id: str
    compute_budget: float
    size_param: str
    size_param_value: int
    num_params: int
    num_tokens: int
    flops: float
    flops_per_token: float
    seed: int
    status: str
    reason: str | None = None
    loss: float | None = None
    train_loss: float | None = None
    steps: int = 0
    batch_examples: float = 0.0
    learning_rate: float = 0.0
    epochs: float | None = None
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    device: str = "cpu"
    weights_sha256: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str = "trained"
    outcome_fingerprint: str = ""
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    measured_by: Mapping[str, str] = field(default_factory=dict)
    trunk: str = ""
    trunk_tokens: int = 0
    trunk_steps: int = 0
    trunk_seconds: float = 0.0
    stacked: int = 0
    devices: int = 1

    def __post_init__(self) -> None:
        check_fields(self, _RULES, ResultError)
        if self.reason is not None:
            object.__setattr__(self, "reason", safe_text(self.reason))
        if (self.status == "completed") != (self.loss is not None):
            raise ResultError(f"a {self.status} experiment cannot have loss = {self.loss!r}")

    @property
    def is_final(self) -> bool:
        """Whether training the same experiment again could not end otherwise."""
        return self.status in FINAL_STATUSES

    @cached_property
    def outcome_hash(self) -> str:
        """SHA-256 of all but how fast it was, on what machine, and which other had trained its trunk."""
        return content_hash({name: each for name, each in self.to_dict().items() if name not in _HOW_FAST_AND_WHERE})

    @property
    def own_share(self) -> float:
        """The share of its tokens that it trained itself: all but those that others of its trunk had trained."""
        return 1.0 - self.trunk_tokens / self.num_tokens if self.trunk_tokens else 1.0

    @property
    def own_flops(self) -> float:
        """FLOPs that it did itself."""
        return self.flops * self.own_share

    @property
    def own_steps(self) -> float:
        """Optimizer steps that are its own; by its share of tokens where an earlier version kept these alone."""
        return self.steps - self.trunk_steps if self.trunk_steps else self.steps * self.own_share

    @property
    def own_seconds(self) -> float:
        """Seconds of training that are its own; by its share of tokens where an earlier version kept these alone."""
        return self.seconds - self.trunk_seconds if self.trunk_seconds else self.seconds * self.own_share

    @property
    def device_seconds(self) -> float:
        """Seconds of all its devices together that are its own."""
        return self.own_seconds * self.devices

    @classmethod
    def of(cls, experiment: Experiment, **outcome: Any) -> ExperimentResult:
        """The result of `experiment`; `outcome` has the fields that the plan does not know."""
        return cls(**{name: getattr(experiment, name) for name in _PLANNED}, **outcome)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of named sets, metrics, trunks, stacks, several devices nothing where there are none."""
        values = dataclasses.asdict(self) | {name: dict(getattr(self, name)) for name in _MAPPINGS}
        values["devices"] = None if self.devices == 1 else self.devices
        return {name: value for name, value in values.items() if value or name not in _OF_FEW}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ExperimentResult:
        """The inverse of `to_dict`; raises `FileError` naming a field that is missing, unknown or not valid."""
        return from_json(cls, content, without=["schema"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result as JSON, atomically."""
        return write_value(path, {"schema": RESULT_SCHEMA} | self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExperimentResult:
        """Read what `save` wrote; raises `FileError` for a torn or foreign file."""
        return read_value(path, RESULT_SCHEMA, cls.from_dict)


def results_frame(results: Iterable[ExperimentResult]) -> pd.DataFrame:
    """The runs table: one row per result, columns as the fields of `ExperimentResult` (without versions, and trunks
    where there are none); the losses on named held-out sets are `loss_` and the name, metrics have their own."""
    import pandas as pd

    results = list(results)
    left_out = {*_MAPPINGS, *(() if any(result.trunk for result in results) else _OF_TRUNKS)}
    left_out |= set() if any(result.devices > 1 for result in results) else {"devices"}
    columns = [item.name for item in dataclasses.fields(ExperimentResult) if item.name not in left_out]
    rows = [{name: getattr(result, name) for name in columns} | measured(result) for result in results]
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*columns, *itertools.chain.from_iterable(rows)])))


def measured(result: ExperimentResult) -> dict[str, float]:
    """The losses on named held-out sets and the metrics, by the names of the table's columns."""
    return {f"loss_{name}": loss for name, loss in result.losses.items()} | dict(result.metrics)


def save_runs(results: Iterable[ExperimentResult], path: str | os.PathLike[str]) -> Path:
    """Write the runs table as CSV, atomically."""
    return write_text(path, results_frame(results).to_csv(index=False))


def load_results(directory: str | os.PathLike[str]) -> list[ExperimentResult]:
    """Every `*/result.json` below `directory`, in order of experiment id; raises `FileError` for a torn file."""
    return [ExperimentResult.load(path) for path in sorted(Path(directory).glob(f"*/{RESULT_FILE}"))]


def load_runs(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A runs table from a directory of results, or from a file (`flops_fit.tables.files`).

    Raises `FileNotFoundError` where nothing is there and `FileError` for another kind of file or an empty directory.
    """
    from flops_fit.tables.files import read_table

    path = Path(path)
    if path.is_dir():
        results = load_results(path) or load_results(path / "runs")
        if not results:
            tables = sorted(item.name for item in path.glob("*.csv"))[:3]
            instead = f", or a table of its: {', '.join(tables)}" if tables else ""
            raise FileError(f"{path} holds no */{RESULT_FILE}; give the directory that the trainings wrote to{instead}")
        return results_frame(results)
    return read_table(path)


def failed_result(experiment: Experiment, reason: str, *, status: str = "failed") -> ExperimentResult:
    """The result of an experiment whose process died, with nothing known of how far it came."""
    return ExperimentResult.of(experiment, num_tokens=0, flops=0.0, status=status, reason=reason)
