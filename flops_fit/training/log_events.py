"""What `on_log` is called with while experiments train, and how: the one hook for whoever watches a training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flops_fit.errors import FlopsFitWarning
from flops_fit.results.results import ExperimentResult

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

LogEvent = dict[str, Any]
"""One event, a dict of plain values.

In every event:
    experiment_id: which experiment.
    step: optimizer steps done.
    tokens, num_tokens: trained so far, and planned.
    planned_flops: FLOPs of the whole training by the plan's convention.
    tokens_per_second: mean over the training so far.
    flops_per_second: the same in FLOPs, measured ones per token where these are known, else the plan's.
    utilisation: `flops_per_second` over the peak of its devices; None where the peak is not known.
    devices: that train it together; left out where it is one.
    seconds: of training, those before an interruption included.

While it trains, a few times a second and always at the last step, also:
    steps: of the whole training.
    loss: training loss of the step's batch.
    learning_rate: of the step.
    trunk_tokens: of `tokens`, those that another experiment of its trunk had trained; left out where there are none.

Once when it has ended, however it ended, instead:
    status, reason: see `flops_fit.ExperimentResult`.
    held_out_loss: None unless completed.
    losses, metrics: of several named held-out sets and of metrics, each by name; else left out.
"""

OnLog = Callable[[LogEvent], None]


def step_event(
    experiment: Experiment,
    *,
    step: int,
    steps: int,
    tokens: int,
    loss: float,
    learning_rate: float,
    seconds: float,
    peak: float | None = None,
    trunk_tokens: int = 0,
) -> LogEvent:
    """The event of one step; `peak` is the device's FLOP/s where known."""
    shared = _shared(experiment, step=step, tokens=tokens, seconds=seconds)
    shared |= {"trunk_tokens": trunk_tokens} if trunk_tokens else {}
    return with_utilisation(shared | {"steps": steps, "loss": loss, "learning_rate": learning_rate}, peak)


def finished_event(experiment: Experiment, result: ExperimentResult, *, peak: float | None = None) -> LogEvent:
    """The last event of an experiment."""
    shared = _shared(experiment, step=result.steps, tokens=result.num_tokens, seconds=result.seconds)
    ending: dict[str, Any] = {"status": result.status, "reason": result.reason, "held_out_loss": result.loss}
    ending |= {name: dict(of) for name in ("losses", "metrics") if (of := getattr(result, name))}
    return with_utilisation(shared | ending, peak)


def with_utilisation(event: Mapping[str, Any], peak: float | None) -> LogEvent:
    """The event with its `utilisation` of a `peak` (FLOP/s), unless it has one or the peak is not known."""
    known, devices = event["utilisation"], event.get("devices", 1)
    return {**event, "utilisation": event["flops_per_second"] / (peak * devices) if known is None and peak else known}


def _shared(experiment: Experiment, *, step: int, tokens: int, seconds: float) -> LogEvent:
    rate = tokens / seconds if seconds else 0.0
    return {
        "experiment_id": experiment.experiment_id,
        "step": step,
        "tokens": tokens,
        "num_tokens": experiment.num_tokens,
        "planned_flops": experiment.planned_flops,
        "tokens_per_second": rate,
        "flops_per_second": rate * (experiment.measured_flops_per_token or experiment.flops_per_token),
        "utilisation": None,
        "seconds": seconds,
    }


@dataclass
class Guarded:
    """A user's `on_log`, whose errors must not end a training: the first is said in a warning, the calls go on."""

    on_log: OnLog
    has_warned: bool = False

    def __call__(self, event: LogEvent) -> None:
        """Pass the event on."""
        try:
            self.on_log(event)
        except Exception as error:  # whatever a user's hook raises
            if self.has_warned:
                return
            self.has_warned = True
            message = (
                f"on_log raised {type(error).__name__}: {error}; the training goes on, and further errors of on_log "
                "are not shown"
            )
            warnings.warn(message, FlopsFitWarning, stacklevel=2)
