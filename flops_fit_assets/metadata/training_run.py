"""What the pages of `experiment` and `training_run` show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import MetadataValue

from flops_fit.cost.hardware import Hardware
from flops_fit.loss_curves.curves import curve_of
from flops_fit.loss_curves.one_curve import curve_blocks, curve_svg, curve_text
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.metadata.shared import Metadata, finite, svg_markdown

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment


def state_of(result: ExperimentResult) -> str:
    """`"completed"`, `"imported"`, `"imported, diverged"`, …"""
    if result.source == "trained":
        return result.status
    return result.source if result.status == "completed" else f"{result.source}, {result.status}"


def experiment_metadata(experiment: Experiment) -> Metadata:
    """The planned numbers of one partition of `experiment`."""
    shown = {
        "compute budget": experiment.compute_budget,
        "size" if experiment.label else experiment.size_param: experiment.size_cell,
        **_sets(experiment),
        "parameters": experiment.num_params,
        "tokens": experiment.num_tokens,
        "tokens per parameter": experiment.tokens_per_param,
        "planned FLOPs": experiment.planned_flops,
        "seed": experiment.seed,
        **_tuned(experiment),
    }
    return finite(shown)


def _curve(experiment: Experiment, result: ExperimentResult, log: Path) -> Metadata:
    """The loss on the way, in a line that shows without a click and as a picture; nothing where no log has it."""
    try:
        curve = curve_of(experiment, result, log)
        if curve is None:
            return {}
        picture = svg_markdown(curve_text(curve), curve_svg(curve))
        return {"loss in training": curve_blocks(curve), "loss curve": picture}
    except (ValueError, ArithmeticError, IndexError):  # no picture is worth a training
        return {}


def _sets(experiment: Experiment) -> Metadata:
    """What its size sets besides the size parameter, and of a mixture of experts the parameters that a token meets."""
    plain = {name: str(value) if isinstance(value, list) else value for name, value in experiment.arguments.items()}
    experts = {"active parameters": experiment.active_params} if experiment.active_params else {}
    return {f"sets {name}": value for name, value in plain.items()} | experts


def _of_trunk(result: ExperimentResult) -> Metadata:
    """Where it branched from, and what of its tokens others had trained; nothing where it was trained on its own."""
    return {"trunk": result.trunk, "tokens of others": result.trunk_tokens} if result.trunk else {}


def _tuned(experiment: Experiment) -> Metadata:
    return {f"tuned {name.replace('_', ' ')}": value for name, value in experiment.tuned}


def run_metadata(
    experiment: Experiment, result: ExperimentResult, predicted_seconds: float, hardware: Hardware, path: Path
) -> Metadata:
    """What one training did and cost, against what was planned."""
    rate = result.flops / result.seconds if result.seconds else 0.0
    peak = hardware.flops_per_second / hardware.utilisation
    measured = {
        "seconds": result.own_seconds,
        "seconds predicted": predicted_seconds,
        "seconds over predicted": result.own_seconds / predicted_seconds if predicted_seconds else math.nan,
        "tokens per second": result.tokens_per_second,
        "FLOP/s": rate,
        "utilisation": rate / peak,
    }
    if hardware.price_per_hour:
        measured["cost"] = result.own_seconds / 3600 * hardware.price_per_hour
    losses = {"held-out loss": result.loss, "training loss": result.train_loss}
    losses |= {f"held-out loss on {name}": loss for name, loss in result.losses.items()}
    shown = {
        "status": result.status,
        **({"reason": result.reason} if result.reason else {}),
        **{name: loss for name, loss in losses.items() if loss is not None},
        **{name.replace("_", " "): value for name, value in result.metrics.items()},
        "compute budget": experiment.compute_budget,
        "size" if experiment.label else result.size_param: experiment.size_cell,
        **_sets(experiment),
        "parameters": result.num_params,
        "tokens": result.num_tokens,
        "FLOPs": float(result.flops),
        "FLOPs over budget": float(result.flops / experiment.compute_budget),
        **_of_trunk(result),
        **{name: float(f"{value:.5g}") for name, value in measured.items()},
        "optimizer steps": result.steps,
        **_tuned(experiment),
        "device": result.device,
        "source": result.source,
        "file": MetadataValue.path(str(path)),
    }
    if result.source == "trained":
        log = path.with_name("trainer.log" if path.with_name("trainer.log").exists() else "log.jsonl")
        shown |= {"training log": MetadataValue.path(str(log))} | _curve(experiment, result, log)
    if result.epochs is not None:
        shown |= {"epochs": result.epochs}
    return finite(shown)
