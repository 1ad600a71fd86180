"""The sections of a study: model, data, loss, trainer, sweep, schedule."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from flops_fit.basics.arguments import (
    ARGUMENTS,
    FLAG,
    LEFT_OUT,
    TEXT,
    Rule,
    check_fields,
    is_list,
    made_of,
    need,
    number,
    several,
)
from flops_fit.errors import ModelContractError, StudyError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.rate_check.planned import OPTION as CHECK_OPTION
from flops_fit.sizes.options import ProbeRequest, SizeOptions
from flops_fit.study.data_section import DATA_RULES as DATA_RULES
from flops_fit.study.data_section import DataSpec as DataSpec
from flops_fit.study.measured_names import check_reported
from flops_fit.sweep.experiment import parse_budget, parse_budgets
from flops_fit.sweep.options import GridOptions

_SIZE_OPTIONS = (
    "min_size", "max_size", "size_values", "size_multiple", "max_params", "flops", "flops_per_param_per_token",
    "attention_flops", "param_count",
)  # fmt: skip
MODEL_RULES = {
    "factory": Rule(callable, "a class or function that returns a model"),
    "kwargs": ARGUMENTS,
    "version": TEXT | LEFT_OUT,
}
TRAINER_RULES = {
    "command": Rule(TEXT.holds, "the text of a shell command"),
    "timeout_seconds": number(above=0) | LEFT_OUT,
    "version": TEXT | LEFT_OUT,
    "study_dir": TEXT | LEFT_OUT,
    "loss_unit": TEXT | LEFT_OUT,
    "eval_sets": several(TEXT, 'a list of names, such as ["web", "code"]', least=0),
    "eval_for_law": TEXT | LEFT_OUT,
    "metrics": several(TEXT, 'a list of names, such as ["accuracy"]', least=0),
}
LOSS_RULES = {"kwargs": ARGUMENTS | LEFT_OUT, "version": TEXT | LEFT_OUT, "unit": TEXT | LEFT_OUT}
CROSS_ENTROPIES = {"cross_entropy", "CrossEntropyLoss"}
SWEEP_RULES = {
    "target_budgets": made_of(tuple | list, "a list of numbers of FLOPs"),
    "centre_on_law": FLAG,
    "check_learning_rate": CHECK_OPTION,
}
_CRON_FIELDS = (  # least, greatest, names
    (0, 59, ""),
    (0, 23, ""),
    (1, 31, "l"),
    (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    (0, 7, "sun mon tue wed thu fri sat"),
)


def is_cron(line: Any) -> bool:
    """Whether this is a cron line: minute, hour, day of month, month, day of week."""
    parts = line.lower().split() if isinstance(line, str) else ()
    return len(parts) == len(_CRON_FIELDS) and all(map(_is_cron_field, parts, _CRON_FIELDS))


def _is_cron_field(part: str, limits: tuple[int, int, str]) -> bool:
    """Whether this is `*`, a value or a range, with or without `/step`, or several of them with commas between."""
    least, greatest, names = limits
    known = {str(value) for value in range(least, greatest + 1)} | set(names.split())
    for item in part.split(","):
        found = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/0*[1-9]\d*)?", item)
        values = [value.lstrip("0") or "0" for value in found.groups() if value] if found else []
        if found is None or not known.issuperset(values):
            return False
    return True


SCHEDULE_RULES = {"cron": Rule(is_cron, 'a cron line of five fields, such as "0 6 * * *"')}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What is trained: anything callable with the size parameter (a class, a factory, a partial).

    Attributes:
        factory: called as `factory(**kwargs, size_param=size)`.
        size_param: the name of the argument that is the size.
        kwargs: further arguments of the factory, the same at every size.
        sizes: further arguments that a size sets, by expressions such as `{"width": "64*depth"}`; or a list of rows,
            such as `[{"label": "S", "width": 512, "depth": 8}, ...]`, each a size; then `size_param` may be left out.
        config: a class or function that takes all of these instead: the model is `factory(config(...))`.
        version: if given, replaces the hash of the source code in experiment ids.
        min_size: the least size that may be used.
        max_size: the largest size that may be used.
        size_values: the only sizes that may be used.
        max_params: how many parameters a size may have.
        size_multiple: only multiples of it, such as 64, are used; or "powers of two".
        flops: "6nd" (FLOPs per token = `flops_per_param_per_token` * N), "measured", "model" (what its own
            `estimate_flops()` says), or a callable of a model.
        flops_per_param_per_token: of "6nd", 6 unless said.
        attention_flops: of measured FLOPs, "full" (every token with every other) or "causal" (with those before it).
        param_count: which parameters N counts: "total", "trainable", "non_embedding" or "active". Both are "auto" if
            not given: "measured" and "non_embedding" for a model with embeddings, "6nd" and "total" for any other.
    """

    factory: Callable[..., Any]
    size_param: str = None  # type: ignore[assignment]  # a name once it is made
    sizes: Any = None
    config: Callable[..., Any] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    size_values: tuple[int, ...] | None = None
    size_multiple: int | str | None = None
    max_params: float = SizeOptions.max_params
    flops: str | Callable[[Any], float] = SizeOptions.flops
    flops_per_param_per_token: float = SizeOptions.flops_per_param_per_token
    attention_flops: str = SizeOptions.attention_flops
    param_count: str = SizeOptions.param_count

    def __post_init__(self) -> None:
        check_fields(self, MODEL_RULES, ModelContractError, prefix="model.")
        if isinstance(self.size_param, str) and self.size_param in self.kwargs:
            raise ModelContractError(
                f"model.kwargs sets {self.size_param} = {self.kwargs[self.size_param]!r}, which is the size parameter; "
                "take it out"
            )
        request = self.request()
        options = request.options
        object.__setattr__(self, "size_param", request.size_param)
        for name in _SIZE_OPTIONS:  # as they are written at rest: whole numbers of Python, tuples
            object.__setattr__(self, name, getattr(options, name))

    def request(self, **sample: Any) -> ProbeRequest:
        """What `flops_fit.sizes.size_map.size_map_of` takes; `sample` has a batch, its loss and tokens per example."""
        options = SizeOptions(**{name: getattr(self, name) for name in _SIZE_OPTIONS}, **sample)
        return ProbeRequest(
            model_cls=self.factory,
            size_param=self.size_param,
            model_kwargs=self.kwargs,
            sizes=self.sizes,
            config=self.config,
            options=options,
        )

    def build(self, size: int, arguments: Mapping[str, Any] | None = None) -> Any:
        """The model of a size; `arguments` are what it sets besides the size parameter, where a plan has them."""
        return self.request().build(size, arguments or None)

    @classmethod
    def from_counts(cls, num_params: Sequence[float], **options: Any) -> ModelSpec:
        """A model known by its parameter counts alone, for a study with a trainer; its size is N itself.

        `num_params` are two counts, between which any will do, or more, which are the ones there are.
        """
        from flops_fit.sweep.counts import GivenCount, counts_of

        counts = counts_of(num_params)
        if len(counts) < 2:
            raise StudyError(f"model.num_params = {num_params!r} must be [smallest, largest] or a list of counts")
        given: dict[str, Any] = {"size_param": "num_params", "version": "num_params", "max_params": float(counts[-1])}
        given |= {"size_values": counts} if len(counts) > 2 else {"min_size": counts[0], "max_size": counts[1]}
        named = options.get("size_param", "num_params")
        need("model.size_param", named, Rule("num_params".__eq__, '"num_params"'), StudyError)
        return cls(factory=GivenCount, **given | options)


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """The loss.

    Attributes:
        fn: called as `fn(outputs, targets)`, the mean over the batch; or `flops_fit.loss:model_loss` for a model that
            computes its own.
        kwargs: where given, `fn` is a class or factory that is called with them to make the loss.
        version: if given, names the loss in experiment ids instead of a hash of its source.
        unit: what it is in, in words, for what is printed and drawn; of cross-entropies nats, else not known.
    """

    fn: Any
    kwargs: Mapping[str, Any] | None = None
    version: str | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, LOSS_RULES, StudyError, prefix="loss.")

    def unit_of(self, data_unit: str) -> str:
        """`unit`, else of a cross-entropy nats for each of what the data is counted in, "token" or "example"."""
        if self.unit is not None:
            return self.unit
        made = self.fn if inspect.isroutine(self.fn) or inspect.isclass(self.fn) else type(self.fn)
        known = getattr(made, "__name__", "") in CROSS_ENTROPIES
        return f"nats per {data_unit}" if known else ""


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """The user's own training command, instead of this library's loop (docs/trainers.md).

    Attributes:
        command: a shell command in which names in braces are replaced: fields of `Experiment`, the size parameter by
            its own name, `{experiment_path}`, `{result_path}`, `{output_dir}` and, where it is given, `{study_dir}`.
        timeout_seconds: an experiment whose command takes longer is ended as "timed_out".
        version: counts in experiment ids beside the command; change it when the code that the command runs changes.
        study_dir: what `{study_dir}` stands for; of a study file, by default the folder it is in.
        loss_unit: what the losses that it reports are in, in words, for what is printed and drawn.
        eval_sets: names of the held-out sets on each of which it reports a loss, of which `loss` is the first's.
        eval_for_law: the name of the set that the law is fitted to, where there are several; by default the first.
        metrics: names of what else it reports, on each held-out set that has a name.
    """

    command: str
    timeout_seconds: float | None = None
    version: str | None = None
    study_dir: str | None = None
    loss_unit: str | None = None
    eval_sets: tuple[str, ...] = ()
    eval_for_law: str | None = None
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, TRAINER_RULES, StudyError, prefix="trainer.")
        check_reported(self.eval_sets, self.eval_for_law, self.metrics)
        object.__setattr__(self, "eval_sets", tuple(self.eval_sets))
        object.__setattr__(self, "metrics", tuple(self.metrics))

    @property
    def measured_by(self) -> dict[str, str]:
        """Name → hash of what each held-out set and each metric is: all that is known of it is the version."""
        return {name: content_hash([name, self.version])[:16] for name in (*self.eval_sets, *self.metrics)}


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """The grid: budgets in FLOPs, and how sizes are placed around the prior optimum of each.

    The other attributes are as in `flops_fit.sweep.options.GridOptions`; a `span` of None is its default.

    Attributes:
        compute_budgets: training FLOPs of each IsoFLOP curve, in the order given.
        target_budgets: FLOPs that the law is asked to predict for, besides its own, each once and from the least to the
            greatest; nothing is planned for them.
        centre_on_law: whether the pipeline centres a budget that is new on the study's own law, where there is a
            trustworthy one.
        check_learning_rate: trains the centre size of several budgets at half and at double its rate too
            (`flops_fit.rate_check`): of those named, or, where it is true, of those that take a tenth of the grid's
            FLOPs; left out, where the recipe's learning rate is "tune".
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
    check_learning_rate: bool | Sequence[float | str] | None = None

    def __post_init__(self) -> None:
        check_fields(self, SWEEP_RULES, StudyError, prefix="sweep.")
        object.__setattr__(self, "compute_budgets", parse_budgets(self.compute_budgets, "sweep.compute_budgets"))
        targets = [parse_budget(target, "target budget") for target in self.target_budgets]
        object.__setattr__(self, "target_budgets", tuple(sorted(set(targets))))
        object.__setattr__(self, "seeds", GridOptions.checked(self.grid()).seeds)
        if is_list(self.check_learning_rate):
            named = parse_budgets(self.check_learning_rate, "sweep.check_learning_rate")
            object.__setattr__(self, "check_learning_rate", tuple(sorted(set(named))))

    def grid(self) -> dict[str, Any]:
        """The options of `flops_fit.plan_from_size_map` besides the budgets."""
        others = ("compute_budgets", "target_budgets", "centre_on_law", "check_learning_rate")
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in others}
        return {name: value for name, value in values.items() if (name, value) != ("span", None)}


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """When the pipeline plans again by itself.

    Attributes:
        cron: minute, hour, day of month, month and day of week, in UTC; off until switched on in Dagster's pages.
    """

    cron: str = "0 6 * * *"

    def __post_init__(self) -> None:
        check_fields(self, SCHEDULE_RULES, StudyError, prefix="schedule.")
