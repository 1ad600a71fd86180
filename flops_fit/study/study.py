"""One study as data: model, data, loss, sweep, recipe, hardware; in Python or from `study.toml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.basics.arguments import LEFT_OUT, TEXT, check_fields, made_of, matching, several
from flops_fit.cost.hardware import Hardware
from flops_fit.datasets.files import OF_METRICS, is_paths
from flops_fit.errors import DataError, FlopsFitError, LossError, SourceChanged, StudyError
from flops_fit.identity.fingerprints import Pieces, changed_pieces, content_hash, fingerprint_callable
from flops_fit.loss import LossFn, validate_loss_fn
from flops_fit.processes.alive import users_code
from flops_fit.processes.blame import said_by
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.slurm.options import SlurmOptions
from flops_fit.study.identity import StudyIdentity, differences
from flops_fit.study.sections import DataSpec, LossSpec, ModelSpec, ScheduleSpec, SweepOptions, TrainerSpec
from flops_fit.study.study_file import SECTIONS, read_study_file
from flops_fit.sweep.command import check_template

if TYPE_CHECKING:
    from flops_fit.data.study_data import StudyData
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe

STUDY_NAME = matching(r"[A-Za-z][A-Za-z0-9_]{0,63}", "a letter followed by at most 63 letters, digits or underscores")
_RULES = {
    "name": STUDY_NAME,
    "owners": several(TEXT, 'a list of text, such as ["team:scaling"]', least=0),
    **{name: made_of(kind, f"a {kind.__name__}") for name, kind in SECTIONS.items()},
}
_RULES |= {name: _RULES[name] | LEFT_OUT for name in ("data", "loss", "trainer", "adaptive", "tuning", "slurm")}


@dataclass(frozen=True, kw_only=True)
class Study:
    """One IsoFLOP study.

    `name` names its folder and its assets: a letter, then letters, digits or underscores. Without `data` and `loss` a
    study can be planned but not trained, unless it has a `trainer`: that trains in a process of its own, one experiment
    at a time where `hardware.workers` does not say otherwise. An `adaptive` study trains in rounds what teaches most;
    its `sweep` may be left out, which then has the budgets of `AdaptiveOptions.budgets`. Where the recipe has a number
    that is "tune", `tuning` says how it is found; see `with_tuned_recipe`. With `slurm`, trainings are its jobs.
    `owners` are shown in the pipeline's pages: e-mail addresses, or teams as in "team:scaling".
    """

    name: str
    model: ModelSpec
    sweep: SweepOptions = None  # type: ignore[assignment]  # an adaptive study's once it is made
    data: DataSpec | None = None
    loss: LossSpec | None = None
    training: Recipe = field(default_factory=Recipe)
    hardware: Hardware = field(default_factory=Hardware)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    owners: tuple[str, ...] = ()
    trainer: TrainerSpec | None = None
    adaptive: AdaptiveOptions | None = None
    tuning: TuningOptions | None = None
    slurm: SlurmOptions | None = None

    def __post_init__(self) -> None:
        if self.sweep is None and isinstance(self.adaptive, AdaptiveOptions):
            object.__setattr__(self, "sweep", SweepOptions(compute_budgets=self.adaptive.budgets()))
        check_fields(self, _RULES, StudyError)
        if self.adaptive is not None:
            _refuse_with_rounds(self.sweep, self.adaptive, self.hardware)
        self._check_tuning()
        if self.sweep.check_learning_rate and (self.trainer is not None or self.adaptive is not None):
            what = "a trainer, which does not get the recipe" if self.trainer else "[adaptive], which has no grid"
            raise StudyError(f"sweep.check_learning_rate with {what}; leave it out")
        object.__setattr__(self, "owners", tuple(self.owners))
        if self.slurm is not None:
            self._check_slurm(self.slurm)
        if self.training.share_trunk:
            self._refuse_with_trunks()
        if self.trainer is not None:
            more = [*self.model.request().dial.names, *([] if self.trainer.study_dir is None else ["study_dir"])]
            check_template(self.trainer.command, self.model.size_param, more=more)
            if self.hardware.devices_per_training != 1:
                raise StudyError(
                    f"hardware.devices_per_training = {self.hardware.devices_per_training!r} with a [trainer], whose "
                    "command takes its devices itself; put torchrun into trainer.command and leave it out"
                )
            if self.hardware.workers is None:  # a command may well take the whole machine for itself
                object.__setattr__(self, "hardware", replace(self.hardware, workers=1))

    def _check_slurm(self, slurm: SlurmOptions) -> None:
        if self.trainer is not None:
            raise StudyError("[slurm] with a [trainer], whose command starts what it wants; put sbatch or srun into it")
        if self.hardware.workers is None:
            raise StudyError("[slurm] needs workers in [hardware]: how many devices its jobs may take at a time")
        if self.hardware.trainings_per_device != 1:
            raise StudyError("[slurm] with trainings_per_device in [hardware]: every training is a job; leave one out")
        if isinstance(asked := self.hardware.devices_per_training, int):
            slurm.refuse_uneven(asked)

    def _refuse_with_trunks(self) -> None:
        refused = {
            "a [trainer], which does not get the recipe": self.trainer is not None,
            "[adaptive], which chooses sizes of its own for every round": self.adaptive is not None,
            "sweep.check_learning_rate, whose trainings have one rate each": bool(self.sweep.check_learning_rate),
        }
        for what, given in refused.items():
            if given:
                raise StudyError(f"training.share_trunk = true with {what}; leave one of the two out")

    def _check_tuning(self) -> None:
        if self.tuning is not None:
            self.tuning.refuse_unless_for(self.training)
        elif self.training.tuned:
            object.__setattr__(self, "tuning", TuningOptions())
        if self.tuning is not None and self.trainer is not None:
            raise StudyError(
                f'{", ".join(self.training.tuned)} = "tune" with a trainer, which does not get the recipe; tune it '
                "with your own tools, or train with this library's loop"
            )
        if self.tuning is not None and self.adaptive is not None and self.adaptive.total_compute is None:
            raise StudyError(
                '"tune" with [adaptive] needs total_compute, of which the trials take their share; give it'
            )

    @classmethod
    def from_toml(cls, path: str | Path) -> Study:
        """Read `study.toml`: see `flops_fit.study.study_file`. Raises `StudyError` where it is not valid."""
        path = Path(path)
        with users_code(f"what {path} names is imported"):
            given = read_study_file(path)
        try:
            return cls(**given)
        except FlopsFitError as error:
            raise StudyError(f"{path}: {error}") from error

    @functools.cached_property
    @users_code("its data is opened")
    def prepared_data(self) -> StudyData | None:
        """The opened datasets; None for a study without data."""
        if self.data is None:
            return None
        from flops_fit.data.study_data import prepare_data
        from flops_fit.data.targets import IGNORED, ignored_target

        spec = self.data
        return prepare_data(
            _dataset("data.train", spec.train, spec),
            {name: _dataset(f"data.eval.{name}", each, spec) for name, each in spec.eval_sets.items()}
            or _dataset("data.eval", spec.eval, spec),
            tokens_per_example=spec.tokens_per_example,
            eval_fraction=spec.held_out_share,
            eval_draws=spec.eval_draws,
            version=spec.version,
            code=self.__dict__.get("data_code"),
            stream_tokens=spec.stream_tokens,
            pad=spec.pad,
            ignored=ignored_target(self.loss.fn, self.loss.kwargs) if self.loss else IGNORED,
        )

    @functools.cached_property
    def loss_function(self) -> LossFn | None:
        """The loss, checked; None for a study without one."""
        if self.loss is None:
            return None
        made = self.loss.fn
        if self.loss.kwargs is not None:
            made = _called("loss.fn", self.loss.fn, self.loss.kwargs, LossError)
        return validate_loss_fn(made)

    @functools.cached_property
    def identity(self) -> StudyIdentity:
        """What decides outcomes besides the data: taken once, as later the code may be edited or have run."""
        return StudyIdentity.of(self.model, self.loss, self.training, self.trainer)

    def __getstate__(self) -> dict[str, Any]:
        """Without the opened data, which a worker process opens itself; with what only this process can tell."""
        sections = {item.name: getattr(self, item.name) for item in fields(self)}
        code = {"metric_code": self.metric_code, "data_code": self._opened and self._opened.code}
        return sections | {"identity": self.identity} | code

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process modules are imported anew: they may be others than where the study was sent from."""
        pieces = {**state["identity"].pieces, **(state["data_code"].pieces if state["data_code"] else {})}
        self.__dict__.update(state, changed=changed_pieces(pieces))

    @property
    def checks_learning_rate(self) -> bool | tuple[float, ...]:
        """Whether its grid checks the rate, or at which budgets: as it says, else where the rate is tuned."""
        asked: Any = self.sweep.check_learning_rate
        return ("learning_rate" in self.training.tuned and self.adaptive is None) if asked is None else asked

    @property
    def tuned_recipe(self) -> TunedRecipe | None:
        """The rule for what is tuned, once it is known; see `with_tuned_recipe`."""
        return self.__dict__.get("tuned_recipe_found")

    def tuning_fingerprint(self) -> str:
        """Changes with what a tuned recipe follows from: model, data, loss, recipe and [tuning]; no budgets. Trials are
        judged by the loss on `law_set`, which is in the data where it is the first."""
        tuning = self.tuning.outcome() if self.tuning else None
        name = self.law_set if self.law_set not in self.eval_names[:1] else None
        judged = [{"judged_by": [name, self.measured_by[name]]}] if name else []
        return content_hash([self.outcome_fingerprint(), self.model_fingerprint(), tuning, *judged])

    def with_tuned_recipe(self, found: TunedRecipe) -> Study:
        """This study, knowing the rule that its experiments take what is tuned from: they have other ids then.

        It trains the same: each experiment has its own values. What is opened already stays open. Raises `StudyError`
        where `found` is the rule of another study.
        """
        if found.tuned_for != self.tuning_fingerprint():
            raise StudyError(
                f"the recipe that was found is of another model, data, loss, recipe or [tuning] than {self.name!r} has "
                "now; tune again (`flops-fit run` does, or materialize recipe_law)"
            )
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, tuned_recipe_found=found)
        return other

    @property
    def _opened(self) -> StudyData | None:
        return self.__dict__.get("prepared_data")

    def model_fingerprint(self) -> str:
        """Changes with the model's source (not its comments), its arguments, and how it is counted."""
        return content_hash([self.identity.model, self.identity.counting])

    def outcome_fingerprint(self) -> str:
        """Changes with whatever decides an experiment's outcome besides its size, tokens and seed."""
        own = self.identity
        return content_hash([own.model, self._data_fingerprint, own.loss, own.training])

    def outcome_parts(self) -> dict[str, str]:
        """Name → hash of the parts of `outcome_fingerprint`, to tell which of them has changed, and of what else is
        measured: a plan is another where that is, its experiments are the same."""
        measured = {f"measured by {name}": digest for name, digest in self.measured_by.items()}
        for_law = {"held-out set of the law": self.law_set} if self.law_set else {}
        return self.identity.parts(self._data_fingerprint) | measured | for_law

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The held-out sets that have names, in their order: of the data, or those that a trainer reports."""
        if self.trainer is not None:
            return self.trainer.eval_sets
        return tuple(self.data.eval_sets) if self.data else ()

    @property
    def law_set(self) -> str | None:
        """The held-out set with a name that the law is fitted to, and the recipe tuned for."""
        of = self.trainer or self.data
        return (of.eval_for_law if of else None) or next(iter(self.eval_names), None)

    @property
    def measured_by(self) -> Mapping[str, str]:
        """Name → hash of each held-out set that has a name, and of each metric."""
        if self.trainer is not None:
            return self.trainer.measured_by
        return {**self.prepared_data.measured_by, **self.metric_code} if self.prepared_data else {}

    @functools.cached_property
    def metric_code(self) -> dict[str, str]:
        """Name → hash of the code of each metric, and of what is said of the data for it alone; of a trainer's metrics
        of its version."""
        if self.trainer is not None:
            return {name: self.trainer.measured_by[name] for name in self.trainer.metrics}
        metrics = self.data.metrics if self.data else {}
        said = {name: value for name, value in (self.data.kwargs if self.data else {}).items() if name in OF_METRICS}
        code = {name: fingerprint_callable(metric, Pieces()) for name, metric in metrics.items()}
        return {name: content_hash([digest, said]) if said else digest for name, digest in code.items()}

    def covered(self) -> Pieces:
        """The code that its experiments' ids follow from, that of the data included."""
        return self.identity.pieces | (self.prepared_data.code.pieces if self.prepared_data else {})

    def refuse_unless_planned(self, planned: str, parts: Mapping[str, str] | None = None) -> None:
        """Raise `SourceChanged` unless `planned` is this study's `outcome_fingerprint`; "" stands for any study.

        `parts` are the `outcome_parts` that it was planned from, to name what has changed since.
        """
        changed = self.__dict__.get("changed", [])
        if not changed and planned not in ("", self.outcome_fingerprint()):
            changed = differences(parts, self.outcome_parts()) if parts else []
            changed = changed or ["model, data, loss or recipe"]
        if changed:
            raise SourceChanged(
                f"study {self.name!r} is not what its experiments were planned from: {', '.join(changed)} changed "
                "since; plan again (`flops-fit run` does), or restore what was changed. Data that is read differently "
                "every time needs a `version` in [data]"
            )

    @property
    def _data_fingerprint(self) -> str | None:
        return self.prepared_data.fingerprint if self.prepared_data else None

    def sweep_fingerprint(self) -> str:
        """Changes with all that a plan depends on besides the size map, and with what may be spent on it."""
        more = [terms] if (terms := self.hardware.spending_terms) else []
        more += [{"centre_on_law": True}] if self.sweep.centre_on_law else []
        more += [{"check_learning_rate": asked}] if (asked := self.checks_learning_rate) else []
        more += [{"target_budgets": self.sweep.target_budgets}] if self.sweep.target_budgets else []
        if self.measured_by:  # decides no experiment, but the law
            more += [{"held_out_sets": dict(self.measured_by), "for_law": self.law_set}]
        more += [{"stream_tokens": self.data.stream_tokens}] if self.data and self.data.stream_tokens else []
        more += [{"adaptive": self.adaptive.to_dict()}] if self.adaptive else []
        more += [{"tuning": vars(self.tuning)}] if self.tuning else []
        budgets = sorted(set(self.sweep.compute_budgets))  # whose order and repetition change no experiment
        return content_hash([budgets, self.sweep.grid(), self.outcome_fingerprint(), *more])

    def to_dict(self) -> dict[str, Any]:
        """A readable description in plain JSON values: callables by name, datasets by type."""
        return {item.name: _described(getattr(self, item.name)) for item in fields(self)}


def _refuse_with_rounds(sweep: SweepOptions, adaptive: AdaptiveOptions, hardware: Hardware) -> None:
    if len(sweep.seeds) > 1:
        raise StudyError(
            f"sweep.seeds = {list(sweep.seeds)} with [adaptive], which trains each size once; give one seed"
        )
    if sweep.centre_on_law:
        raise StudyError(
            "sweep.centre_on_law is for grids; with [adaptive] every round follows the law, so leave it out"
        )
    if adaptive.max_cost is not None and hardware.price_per_hour == 0:
        raise StudyError(
            f"adaptive.max_cost = {adaptive.max_cost!r} must be given together with price_per_hour of [hardware], "
            "which is 0"
        )


def _dataset(name: str, source: Any, spec: DataSpec) -> Any:
    if is_paths(source):
        from flops_fit.datasets.paths import open_path, own_options

        paths = [each for each in (spec.train, *(spec.eval_sets.values() or [spec.eval])) if is_paths(each)]
        options = own_options(source, paths, {"context": spec.context, "tokenizer": spec.tokenizer, **spec.kwargs})
        return _called(name, functools.partial(open_path, source), options, DataError)
    return _made(name, source, spec.kwargs)


def _made(name: str, source: Any, kwargs: Mapping[str, Any]) -> Any:
    is_factory = callable(source) and not hasattr(source, "__getitem__") and not hasattr(source, "__iter__")
    return _called(name, source, kwargs, DataError) if is_factory or isinstance(source, type) else source


def _called(name: str, function: Any, kwargs: Mapping[str, Any], kind: type[FlopsFitError]) -> Any:
    """`function(**kwargs)`; what the user's code raises becomes an error of `kind` that says so in a line."""
    try:
        return function(**kwargs)
    except FlopsFitError:
        raise
    except (Exception, SystemExit) as error:
        raise kind(f"{name} raised {said_by(error)}; correct it there") from error


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
