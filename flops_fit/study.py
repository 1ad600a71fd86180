"""One study as data: model, data, loss, sweep, recipe, hardware; in Python or from `study.toml`."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.identity import canonical, content_hash, fingerprint_callable
from flops_fit.cost.hardware import Hardware
from flops_fit.errors import StudyError
from flops_fit.loss import LossFn, validate_loss_fn
from flops_fit.recipe.recipe import Recipe
from flops_fit.sweep.command import check_template
from flops_fit.sweep.experiment import parse_budget
from flops_fit.sweep.grid import GridOptions

if TYPE_CHECKING:
    from flops_fit.data.study_data import StudyData

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
PARAM_COUNTS = ("total", "trainable", "non_embedding")


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
    """The user's own training command, instead of this library's loop; see docs/trainers.md and `flops_fit.external`.

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


@dataclass(frozen=True, kw_only=True)
class Study:
    """One IsoFLOP study.

    `name` names its folder and its assets: a letter, then letters, digits or underscores. Without `data` and `loss` a
    study can be planned but not trained, unless it has a `trainer`: that trains in a process of its own, one experiment
    at a time where `hardware.workers` does not say otherwise. `owners` are shown in the pipeline's pages: e-mail
    addresses, or teams as in "team:scaling".
    """

    name: str
    model: ModelSpec
    sweep: SweepOptions
    data: DataSpec | None = None
    loss: LossSpec | None = None
    training: Recipe = field(default_factory=Recipe)
    hardware: Hardware = field(default_factory=Hardware)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    owners: tuple[str, ...] = ()
    trainer: TrainerSpec | None = None

    def __post_init__(self) -> None:
        good = isinstance(self.name, str) and _NAME.fullmatch(self.name) is not None
        _need(good, "name", self.name, "a letter followed by at most 63 letters, digits or underscores")
        listed = isinstance(self.owners, tuple | list) and all(isinstance(owner, str) for owner in self.owners)
        _need(listed, "owners", self.owners, 'a list of text, such as ["team:scaling"]')
        object.__setattr__(self, "owners", tuple(self.owners))
        if self.trainer is not None:
            more = [] if self.trainer.study_dir is None else ["study_dir"]
            check_template(self.trainer.command, self.model.size_param, more=more)
            if self.hardware.workers is None:  # a command may well take the whole machine for itself
                object.__setattr__(self, "hardware", replace(self.hardware, workers=1))

    @classmethod
    def from_toml(cls, path: str | Path) -> Study:
        """Read `study.toml`: see `flops_fit.study_file`. Raises `StudyError` for whatever cannot be meant."""
        from flops_fit.study_file import read_study

        return read_study(Path(path))

    @functools.cached_property
    def prepared_data(self) -> StudyData | None:
        """The opened datasets; None for a study without data."""
        if self.data is None:
            return None
        from flops_fit.data.study_data import prepare_data

        spec = self.data
        return prepare_data(
            _made(spec.train, spec.kwargs),
            _made(spec.eval, spec.kwargs),
            tokens_per_example=spec.tokens_per_example,
            eval_fraction=spec.eval_fraction,
            version=spec.version,
        )

    @functools.cached_property
    def loss_function(self) -> LossFn | None:
        """The loss, checked; None for a study without one."""
        if self.loss is None:
            return None
        made = self.loss.fn if self.loss.kwargs is None else self.loss.fn(**self.loss.kwargs)
        return validate_loss_fn(made)

    def __getstate__(self) -> dict[str, Any]:
        """Without the opened data, which a worker process opens itself."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def model_fingerprint(self) -> str:
        """Changes with the model's source (not its comments), its arguments, and how it is counted."""
        spec = self.model
        flops = fingerprint_callable(spec.flops) if callable(spec.flops) else spec.flops
        counted = [spec.min_size, spec.max_size, spec.size_values, spec.max_params, flops]
        counted += [spec.flops_per_param_per_token, spec.param_count]
        return content_hash([self._model_definition(), counted])

    def outcome_fingerprint(self) -> str:
        """Changes with whatever decides an experiment's outcome besides its size, tokens and seed."""
        data = self.prepared_data.fingerprint if self.prepared_data else None
        loss = None
        if self.loss is not None:
            loss = self.loss.version or [fingerprint_callable(self.loss.fn), canonical(self.loss.kwargs)]
        if self.trainer is not None:  # which knows nothing of the recipe
            own = [self.trainer.command, self.trainer.version]
            return content_hash([self._model_definition(), data, loss, {"trainer": own}])
        return content_hash([self._model_definition(), data, loss, canonical(self.training.outcome())])

    def sweep_fingerprint(self) -> str:
        """Changes with whatever the plan holds or depends on besides the size map, or whether it may be trained."""
        more = [terms] if (terms := self.hardware.spending_terms) else []
        more += [{"centre_on_law": True}] if self.sweep.centre_on_law else []
        more += [{"target_budgets": self.sweep.target_budgets}] if self.sweep.target_budgets else []
        return content_hash([self.sweep.compute_budgets, self.sweep.grid(), self.outcome_fingerprint(), *more])

    def _model_definition(self) -> list[Any]:
        spec = self.model
        return [spec.version or fingerprint_callable(spec.factory), spec.size_param, canonical(spec.kwargs)]

    def to_dict(self) -> dict[str, Any]:
        """A readable description in plain JSON values: callables by name, datasets by type."""
        return {item.name: _described(getattr(self, item.name)) for item in fields(self)}


def _made(source: Any, kwargs: Mapping[str, Any]) -> Any:
    is_factory = callable(source) and not hasattr(source, "__getitem__") and not hasattr(source, "__iter__")
    return source(**kwargs) if is_factory or isinstance(source, type) else source


def _described(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: _described(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


def _need(good: bool, name: str, value: Any, limit: str) -> None:
    if not good:
        raise StudyError(f"{name} = {value!r} must be {limit}")
