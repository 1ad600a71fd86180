"""What the pages of `experiment` and `training_run` show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dagster import MetadataValue

from flops_fit.cost.hardware import Hardware
from flops_fit.loss_curves.curves import LOG_FILE, curve_of
from flops_fit.loss_curves.one_curve import curve_blocks, curve_svg, curve_text
from flops_fit.recipe.steps import BranchSteps, plan_steps
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.metadata.shared import FIGURE_WIDTH, Metadata, file_value, finite, rounded, svg_markdown
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment


def state_of(result: ExperimentResult) -> str:
    """`"completed"`, `"imported"`, `"imported, diverged"`, …"""
    if result.source == "trained":
        return result.status
    return result.source if result.status == "completed" else f"{result.source}, {result.status}"


def experiment_metadata(experiment: Experiment, store: StudyStore) -> Metadata:
    """The planned numbers of one partition of `experiment`, and where its training can be watched."""
    shown = {
        **training_links(store, experiment.experiment_id),
        "compute budget (FLOPs)": rounded(experiment.compute_budget),
        "size" if experiment.label else experiment.size_param: experiment.size_cell,
        **_sets(experiment),
        "parameters": experiment.num_params,
        "tokens": experiment.num_tokens,
        "tokens per parameter (ratio)": rounded(experiment.tokens_per_param),
        "planned FLOPs": rounded(experiment.planned_flops, 5),
        **({"trunk": experiment.trunk} if experiment.trunk else {}),
        "seed": experiment.seed,
        **_tuned(experiment),
    }
    return finite(shown)


def _curve(experiment: Experiment, result: ExperimentResult, store: StudyStore) -> Metadata:
    """The loss on the way, in a line and as a picture, which shows without a click where the pages serve it; nothing
    where no log has it."""
    folder = store.runs / result.experiment_id
    try:
        curve = curve_of(experiment, result, folder / LOG_FILE)
        if curve is None:
            return {}
        address = store.address(folder / "curve.svg")
        picture = svg_markdown(curve_text(curve), curve_svg(curve))
        if address:
            picture = MetadataValue.md(f"[![{curve_text(curve)}]({address}?width={FIGURE_WIDTH})]({address})")
        return {"loss in training": curve_blocks(curve), "loss curve": picture}
    except (ValueError, ArithmeticError, IndexError):  # no picture is worth a training
        return {}


def _sets(experiment: Experiment) -> Metadata:
    """What its size sets besides the size parameter, and of a mixture of experts the parameters that a token meets."""
    plain = {name: str(value) if isinstance(value, list) else value for name, value in experiment.arguments.items()}
    experts = {"active parameters": experiment.active_params} if experiment.active_params else {}
    return {f"sets {name}": value for name, value in plain.items()} | experts


def trunk_metadata(study: Study, experiment: Experiment, result: ExperimentResult) -> Metadata:
    """Which trunk it shares, at which steps it took that up and left it, and what of it all is its own; nothing where
    it was trained on its own."""
    if not result.trunk or study.prepared_data is None:
        return {}
    steps = plan_steps(study.training, experiment, study.prepared_data.tokens_per_example)
    assert isinstance(steps, BranchSteps)
    of_others = f"after step {result.trunk_steps}, from the state of another experiment"
    return {
        "trunk": result.trunk,
        "trunk taken up": of_others if result.trunk_steps else "at its first step",
        "trunk left": f"after step {steps.branch} of {steps.steps}",
        "steps of its own": round(result.own_steps),
        "tokens of others": result.trunk_tokens,
        "FLOPs of its own": rounded(result.own_flops, 5),
        "share of its own": rounded(result.own_share),
    }


def _tuned(experiment: Experiment) -> Metadata:
    return {f"tuned {name.replace('_', ' ')}": value for name, value in experiment.tuned}


def run_metadata(
    experiment: Experiment, result: ExperimentResult, predicted_seconds: float, hardware: Hardware, store: StudyStore
) -> Metadata:
    """What one training came to and cost, against what was planned, and where its curve and its log are."""
    losses = {"held-out loss": result.loss, "training loss": result.train_loss}
    losses |= {f"held-out loss on {name}": loss for name, loss in result.losses.items()}
    shown = {
        "status": result.status,
        **({"reason": result.reason} if result.reason else {}),
        **{name: rounded(loss, 6) for name, loss in losses.items() if loss is not None},
        **{name.replace("_", " "): rounded(value, 6) for name, value in result.metrics.items()},
        **training_links(store, result.experiment_id),
        **_curve(experiment, result, store),
        "compute budget (FLOPs)": rounded(experiment.compute_budget),
        "size" if experiment.label else result.size_param: experiment.size_cell,
        **_sets(experiment),
        "parameters": result.num_params,
        "tokens": result.num_tokens,
        "FLOPs": rounded(result.flops, 5),
        **_speed(result, predicted_seconds, hardware),
        "FLOPs over budget (ratio)": rounded(result.flops / experiment.compute_budget, 5),
        "optimizer steps": result.steps,
        **({"trained at once with (experiments)": result.stacked - 1} if result.stacked else {}),
        **_tuned(experiment),
        **({"epochs": rounded(result.epochs)} if result.epochs is not None else {}),
        "device": result.device,
        "source": result.source,
        **_files(store, result),
    }
    return finite(shown)


def training_links(store: StudyStore, experiment_id: str) -> Metadata:
    """The page with the curve and the log of a training, also while it is under way, where the pages serve it."""
    address = store.address(store.runs / experiment_id)
    return {"curve and log": MetadataValue.url(address)} if address else {}


def _speed(result: ExperimentResult, predicted_seconds: float, hardware: Hardware) -> Metadata:
    """Seconds, speed and money, and the ratios to what was expected of them."""
    rate = result.flops / result.seconds / result.devices if result.seconds else 0.0
    predicted = predicted_seconds / result.devices  # as `CostEstimate.wall_seconds_of`
    measured = {
        "seconds": result.own_seconds,
        "seconds predicted": predicted,
        "seconds over predicted (ratio)": result.own_seconds / predicted if predicted else math.nan,
        "tokens per second": result.tokens_per_second,
        "FLOP/s": rate,
        "utilisation (share of peak)": rate / (hardware.flops_per_second / hardware.utilisation),
    }
    if hardware.price_per_hour:
        measured["cost"] = result.device_seconds / 3600 * hardware.price_per_hour
    return {name: rounded(value) for name, value in measured.items()}


def _files(store: StudyStore, result: ExperimentResult) -> Metadata:
    path = store.path("training_run", result.experiment_id)
    files = {"file": file_value(store, path)}
    if result.source == "trained":
        log = path.with_name("trainer.log" if path.with_name("trainer.log").exists() else "log.jsonl")
        files["training log"] = file_value(store, log)
    return files
