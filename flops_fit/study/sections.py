"""The sections of a study: model, data, loss, trainer, sweep, schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from flops_fit.errors import StudyError
from flops_fit.sizes.size_map import PARAM_COUNTS
from flops_fit.sweep.experiment import parse_budget
from flops_fit.sweep.grid import GridOptions


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What is trained: anything callable with the size parameter (a class, a factory, a partial).

    Attributes:
        factory: called as `factory(**kwargs, size_param=size)`.
        version: if given, replaces the hash of the source code in experiment ids.
        min_size, max_size, size_values, max_params: which sizes may be used.
        flops: "6nd" (FLOPs per token = `flops_per_param_per_token` * N), "measured", or a callable of a model.
        param_count: which parameters N counts: "total", "trainable" or "non_embedding".
    """

    factory: Callable[..., Any]
    size_param: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    size_values: tuple[int, ...] | None = None
    max_params: float = 1e11
    flops: str | Callable[[Any], float] = "6nd"
    flops_per_param_per_token: float = 6.0
    param_count: str = "total"

    def __post_init__(self) -> None:
        _need(callable(self.factory), "model.factory", self.factory, "a class or function that returns a model")
        _need(isinstance(self.size_param, str) and self.size_param.isidentifier(), "model.size_param", self.size_param,
              "the name of a constructor argument")  # fmt: skip
        _need(self.size_param not in self.kwargs, "model.kwargs", dict(self.kwargs), f"free of {self.size_param!r}")
        _need(callable(self.flops) or self.flops in ("6nd", "measured"), "model.flops", self.flops,
              '"6nd", "measured" or a callable')  # fmt: skip
        _need(self.param_count in PARAM_COUNTS, "model.param_count", self.param_count, f"one of {PARAM_COUNTS}")
        if self.size_values is not None:
            object.__setattr__(self, "size_values", tuple(self.size_values))

    @classmethod
    def from_counts(cls, num_params: Sequence[float], **options: Any) -> ModelSpec:
        """A model known by its parameter counts alone, for a study with a trainer; its size is N itself.

        `num_params` are two counts, between which any will do, or more, which are the ones there are.
        """
        from flops_fit.sweep.counts import GivenCount, counts_of

        counts = counts_of(num_params)
        _need(len(counts) >= 2, "model.num_params", num_params, "[smallest, largest] or a list of counts")
        given: dict[str, Any] = {"size_param": "num_params", "version": "num_params", "max_params": float(counts[-1])}
        given |= {"size_values": counts} if len(counts) > 2 else {"min_size": counts[0], "max_size": counts[1]}
        spec = cls(factory=GivenCount, **given | options)
        _need(spec.size_param == "num_params", "model.size_param", spec.size_param, '"num_params"')
        return spec


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What is trained on and what is held out: datasets, or functions that return them (called with `kwargs`).

    Attributes:
        eval: held-out data; without it `eval_fraction` of the training examples are split off, always the same ones.
        tokens_per_example: "auto" (the number of integer targets of an example, else 1) or a number.
        version: if given, names the data in experiment ids instead of a hash of it.
    """

    train: Any
    eval: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tokens_per_example: int | str = "auto"
    eval_fraction: float = 0.02
    version: str | None = None

    def __post_init__(self) -> None:
        tokens = self.tokens_per_example
        _need(tokens == "auto" or (type(tokens) is int and tokens > 0), "data.tokens_per_example", tokens,
              '"auto" or a positive integer')  # fmt: skip
        _need(isinstance(self.eval_fraction, float) and 0 < self.eval_fraction < 1, "data.eval_fraction",
              self.eval_fraction, "between 0 and 1")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """The loss: `fn(outputs, targets)`, or with `kwargs` a class or factory that is called with them to make it."""

    fn: Any
    kwargs: Mapping[str, Any] | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """The user's own training command, instead of this library's loop (docs/trainers.md).

    Attributes:
        command: a shell command in which names in braces are replaced: fields of `Experiment`, the size parameter by
            its own name, `{experiment_path}`, `{result_path}`, `{output_dir}` and, where it is given, `{study_dir}`.
        timeout_seconds: an experiment whose command takes longer is ended as "timed_out".
        version: counts in experiment ids beside the command; change it when the code that the command runs changes.
        study_dir: what `{study_dir}` stands for; of a study file, by default the folder it is in.
    """

    command: str
    timeout_seconds: float | None = None
    version: str | None = None
    study_dir: str | None = None

    def __post_init__(self) -> None:
        good = isinstance(self.command, str) and bool(self.command.strip())
        _need(good, "trainer.command", self.command, "the text of a shell command")
        limit = self.timeout_seconds
        number = isinstance(limit, int | float) and not isinstance(limit, bool)
        _need(limit is None or (number and 0 < limit < math.inf), "trainer.timeout_seconds", limit,
              "a number of seconds above 0")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """The grid: budgets in FLOPs, and how sizes are placed around the prior optimum of each.

    Attributes as in `flops_fit.sweep.grid.GridOptions`; a `span` of None is its default. `target_budgets` are FLOPs
    that the law is asked to predict for, besides its own; nothing is planned for them. With `centre_on_law` the
    pipeline centres a budget that is new on the study's own law, where there is a trustworthy one.
    """

    compute_budgets: Sequence[float | str]
    num_sizes_per_budget: int = 7
    tokens_per_param: float = 20.0
    span: float | None = None
    min_tokens_per_param: float = 0.1
    max_tokens_per_param: float = 1000.0
    seeds: tuple[int, ...] = (0,)
    max_epochs: float = 4.0
    target_budgets: Sequence[float | str] = ()
    centre_on_law: bool = False

    def __post_init__(self) -> None:
        _need(isinstance(self.centre_on_law, bool), "sweep.centre_on_law", self.centre_on_law, "true or false")
        budgets = self.compute_budgets
        _need(isinstance(budgets, tuple | list) and len(budgets) > 0, "sweep.compute_budgets", budgets,
              "a list of at least one number of FLOPs")  # fmt: skip
        object.__setattr__(self, "compute_budgets", tuple(sorted({parse_budget(budget) for budget in budgets})))
        targets = self.target_budgets
        _need(isinstance(targets, tuple | list), "sweep.target_budgets", targets, "a list of numbers of FLOPs")
        object.__setattr__(self, "target_budgets", tuple(sorted({parse_budget(target) for target in targets})))
        object.__setattr__(self, "seeds", GridOptions.checked(self.grid()).seeds)

    def grid(self) -> dict[str, Any]:
        """The options of `flops_fit.plan_from_size_map` besides the budgets."""
        others = ("compute_budgets", "target_budgets", "centre_on_law")
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in others}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """When the pipeline plans again by itself: a cron line (off until switched on)."""

    cron: str = "0 6 * * *"


def _need(good: bool, name: str, value: Any, limit: str) -> None:
    if not good:
        raise StudyError(f"{name} = {value!r} must be {limit}")
