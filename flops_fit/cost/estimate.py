"""FLOPs → device-hours → money, and memory: before launch from the hardware, afterwards from measured runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_bytes
from flops_fit.cost.devices import Devices, devices_of
from flops_fit.cost.evaluation import Evaluation
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.step_seconds import StepSeconds, overhead, steps_of
from flops_fit.recipe.trunk import own_parts
from flops_fit.recipe.trunk_parts import at_branch

if TYPE_CHECKING:
    from flops_fit.recipe.recipe import Recipe
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan

BYTES_PER_PARAM = 16  # float32 weights and gradients, and AdamW's two moments


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What a plan costs.

    Attributes:
        seconds: experiment id → seconds of training and evaluation on one device, without what it takes to start, of
            what an experiment trains itself.
        shares: experiment id → what that is of all its FLOPs, where it shares a trunk: of finished ones as it was, of
            the others by the order they are trained in (`flops_fit.recipe.trunk`).
        workers: experiments trained side by side.
        device_hours: of all experiments together.
        money: device-hours times the price of one.
        basis: what the seconds rest on.
        memory_bytes: experiment id → peak memory with whole batches; None where the parameters were not counted.
        device_bytes: memory of one worker's device; None where it is not known.
        in_parts: ids of experiments whose batch does not fit at once: its gradient is accumulated in parts.
        too_large: ids of experiments that do not fit the device in any number of parts.
        devices: experiment id → how many train it together, and why.
        error: median relative error of predicting finished runs from the others (`flops_fit.cost.calibration`); None
            before there are four.
    """

    seconds: Mapping[str, float]
    workers: int
    device_hours: float
    money: float
    basis: str
    memory_bytes: Mapping[str, float | None] = field(default_factory=dict)
    device_bytes: float | None = None
    in_parts: tuple[str, ...] = ()
    too_large: tuple[str, ...] = ()
    error: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, Devices] = field(default_factory=dict)

    def wall_seconds_of(self, experiment_id: str) -> float:
        """Of one training on the devices that it takes, if each does its share at the speed of one alone."""
        return self.seconds[experiment_id] / self.devices.get(experiment_id, Devices()).count

    def own_flops(self, experiment: Experiment) -> float:
        """FLOPs that `experiment` does itself."""
        return experiment.planned_flops * self.shares.get(experiment.experiment_id, 1.0)

    @property
    def wall_seconds(self) -> float:
        """Seconds until the last of `workers` is done, if they never wait."""
        longest = max(map(self.wall_seconds_of, self.seconds), default=0.0)
        return max(longest, self.device_hours * 3600 / self.workers)

    def memory_text(self) -> str:
        """The largest peak memory, and whether everything fits the device, in a sentence; "" where nothing is known."""
        known = [needed for needed in self.memory_bytes.values() if needed is not None]
        if not known:
            return ""
        text = f"peak memory up to {format_bytes(max(known))}"
        if self.device_bytes is None:
            return text
        fitting = f"{text} of {format_bytes(self.device_bytes)}"
        if self.too_large:
            return f"{fitting}: {len(self.too_large)} experiments do not fit the device, not even in parts"
        if self.in_parts:
            return f"{fitting}: {len(self.in_parts)} experiments train their batch in parts"
        return f"{fitting}: everything fits"


def estimate(
    plan: SweepPlan,
    hardware: Hardware | None = None,
    results: Iterable[Any] | None = None,
    *,
    recipe: Recipe | None = None,
    tokens_per_example: float = 1,
    timed: StepSeconds | None = None,
    evaluation: Evaluation | None = None,
    learn: bool = True,
    kept: Mapping[str, Collection[int]] | None = None,
) -> CostEstimate:
    """Seconds, device-hours, money and memory of `plan`.

    Args:
        hardware: its peak and utilisation give the seconds until runs are finished.
        results: `ExperimentResult`s; those completed calibrate the seconds, see `flops_fit.cost.calibration`, and
            those that are final have trained what they have of the trunks that they share.
        recipe: its batch decides how many steps there are, each of which takes some time however small the model, and
            how many activations are in memory at once; without it none and one token's are.
        tokens_per_example: a batch has at least one example.
        timed: first steps of these experiments, which count until runs are finished.
        evaluation: what is evaluated at the end of each training, which is in its seconds.
        learn: whether results calibrate the seconds; if not, these are as they were before any run was finished.
        kept: trunk → steps after which states of it are kept (`flops_fit.recipe.trunk.own_parts`).
    """
    results = list(results or ())
    evaluation = evaluation or Evaluation(tokens=0, batches=0)
    hardware = hardware or Hardware()
    taken = {result.experiment_id: result.trunk_tokens for result in results if result.is_final}
    own = own_parts(recipe, plan.trainings, tokens_per_example, taken, kept) if recipe else {}
    shares = {name: part.share for name, part in own.items()}
    finished = [result for result in results if learn and result.status == "completed" and result.own_seconds > 0]
    finished = [result for result in finished if result.source == "trained"]  # imported ones ran on another machine
    finished = [_on_one_device(item) for item in finished]
    steps = {name: part.steps for name, part in own.items()}
    alone = [item for item in plan.trainings if item.experiment_id not in own]
    steps |= {item.experiment_id: steps_of(item, recipe, tokens_per_example) for item in alone if recipe}
    error = None
    if finished:
        seconds, basis, error = _measured(plan, hardware, finished, steps, evaluation, shares)
    elif timed and steps:
        seconds, basis = _timed(plan, steps, timed, evaluation, shares)
    else:
        seconds, basis = _guessed(plan, hardware, steps, evaluation, shares)
    memory = {experiment.experiment_id: peak_memory(experiment, recipe) for experiment in plan.trainings}
    smallest = {experiment.experiment_id: peak_memory(experiment) for experiment in plan.trainings}
    too_large = _above(smallest, hardware.memory)
    hours = sum(seconds.values()) / 3600
    batches = {}
    if recipe:
        batches = {
            item.experiment_id: recipe.tokens_per_step(at_branch(recipe, item)) / tokens_per_example
            for item in plan.trainings
        }
    return CostEstimate(
        seconds=seconds,
        workers=hardware.num_workers(),
        device_hours=hours,
        money=hours * hardware.price_per_hour,
        basis=basis,
        memory_bytes=memory,
        device_bytes=hardware.memory,
        in_parts=tuple(name for name in _above(memory, hardware.memory) if name not in too_large),
        too_large=too_large,
        error=error,
        shares=shares,
        devices=devices_of(plan.trainings, hardware, seconds, memory, smallest, batches) if recipe else {},
    )


def _on_one_device(result: Any) -> Any:
    """The result with the seconds of all its devices together."""
    count = result.devices
    if count == 1:
        return result
    return replace(result, seconds=result.seconds * count, trunk_seconds=result.trunk_seconds * count)


def _above(memory: Mapping[str, float | None], limit: float | None) -> tuple[str, ...]:
    return tuple(name for name, needed in memory.items() if None not in (needed, limit) and needed > limit)  # type: ignore[operator]


def peak_memory(experiment: Experiment, recipe: Recipe | None = None) -> float | None:
    """Bytes of weights, gradients, AdamW's moments and kept activations, all as float32; None without a count.

    Autocast to bfloat16 about halves the activations, so this bounds them.
    """
    if experiment.total_params is None:
        return None
    tokens = recipe.tokens_per_step(at_branch(recipe, experiment)) if recipe else 1.0
    return BYTES_PER_PARAM * experiment.total_params + tokens * (experiment.activation_bytes_per_token or 0.0)


def _guessed(
    plan: SweepPlan, hardware: Hardware, steps: Mapping[str, float], evaluation: Evaluation, shares: Mapping[str, float]
) -> tuple[dict[str, float], str]:
    """Seconds of every experiment from its FLOPs and its steps, where these are known, and what they rest on."""
    rate, each = hardware.flops_per_second, overhead(hardware)
    seconds = {
        item.experiment_id: (item.planned_flops * shares.get(item.experiment_id, 1.0) + evaluation.flops(item)) / rate
        + each * (steps[item.experiment_id] + evaluation.batches if item.experiment_id in steps else 0.0)
        for item in plan.trainings
    }
    basis = f"assumed {hardware.utilisation:.0%} of {hardware.peak:.2g} FLOP/s"
    return seconds, f"{basis} and {1000 * each:g} ms a step; flops-fit check measures it" if steps else basis


def _timed(
    plan: SweepPlan, steps: Mapping[str, float], timed: StepSeconds, evaluation: Evaluation, shares: Mapping[str, float]
) -> tuple[dict[str, float], str]:
    """Seconds of every experiment from the first steps of some."""
    seconds = {
        item.experiment_id: timed.total(
            steps[item.experiment_id] + evaluation.batches,
            item.num_tokens * shares.get(item.experiment_id, 1.0) + evaluation.tokens,
            item.planned_flops * shares.get(item.experiment_id, 1.0) + evaluation.flops(item),
        )
        for item in plan.trainings
    }
    return seconds, f"from first steps timed on {timed.device}"


def _measured(
    plan: SweepPlan,
    hardware: Hardware,
    finished: Sequence[Any],
    steps: Mapping[str, float],
    evaluation: Evaluation,
    shares: Mapping[str, float],
) -> tuple[dict[str, float], str, float | None]:
    """Seconds of every experiment, what they rest on, and how far off they are where that is known."""
    from flops_fit.cost.calibration import MOST_LEFT_OUT, calibrate

    fitted = calibrate(finished, hardware.peak)
    basis = f"measured on {len(finished)} finished run{'s' if len(finished) > 1 else ''}"
    if fitted.error is not None:
        tried = "each" if len(finished) <= MOST_LEFT_OUT else f"{MOST_LEFT_OUT} of them"
        basis += f", {tried} predicted from the others within {fitted.error:.0%} (median)"
    seconds = {
        item.experiment_id: fitted.total(
            steps.get(item.experiment_id) or fitted.steps(item.num_tokens),
            item.num_tokens * shares.get(item.experiment_id, 1.0),
            item.planned_flops * shares.get(item.experiment_id, 1.0),
        )
        + fitted.total(evaluation.batches, evaluation.tokens, evaluation.flops(item))
        for item in plan.trainings
    }
    return seconds, basis, fitted.error
