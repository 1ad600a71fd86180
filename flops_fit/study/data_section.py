"""The section [data] of a study."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flops_fit.basics.arguments import ARGUMENTS, LEFT_OUT, TEXT, Rule, check_fields, number, one_of, whole
from flops_fit.datasets.files import files_of, is_paths
from flops_fit.errors import DataError, StudyError
from flops_fit.study.measured_names import check_metrics, check_sets

DATA_RULES = {
    "train": Rule(lambda train: train is not None, "a dataset, or a function that returns one"),
    "kwargs": ARGUMENTS,
    "tokens_per_example": one_of("auto") | whole(),
    "context": whole() | LEFT_OUT,
    "tokenizer": TEXT | LEFT_OUT,
    "stream_tokens": whole() | LEFT_OUT,
    "pad": whole(0) | LEFT_OUT,
    "eval_fraction": number(above=0, below=1) | LEFT_OUT,
    "eval_draws": whole(),
    "version": TEXT | LEFT_OUT,
    "eval_for_law": TEXT | LEFT_OUT,
}
_HELD_OUT_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What is trained on and what is held out: datasets, functions that return them (called with `kwargs`), or paths.

    Paths are of files of tokens or of text, or of shards of samples, globs such as `"data/*.bin"`, or lists of them,
    which `flops_fit.datasets.open_path` opens with `context`, `tokenizer` and `kwargs`.

    Attributes:
        train: what is trained on.
        kwargs: arguments of the functions that return datasets, and of what opens files.
        eval: held-out data, or several sets of it by name, of which the first is part of experiments' ids and the
            others are not; without it `eval_fraction` of the training examples are split off, always the same ones.
        metrics: what else is measured on every held-out set, by name: functions of (model, batch) whose mean over all
            targets is kept with each result, or of (model, dataset).
        eval_for_law: the name of the set that the law is fitted to, where there are several; by default the first.
        tokens_per_example: "auto" (an example's integer targets that enter the loss, else 1) or a number.
        eval_fraction: the share of the training examples that is held out where there is no `eval`; 0.02 if left out.
        eval_draws: how often every held-out example is measured, where model or data draw at random; the mean counts.
        version: if given, names the data in experiment ids instead of a hash of it.
        context: tokens of an example, of data given as paths.
        tokenizer: of text given as paths: "bytes", the path of a `tokenizer.json`, or a name of tiktoken's; "ids" where
            rows hold ids already.
        stream_tokens: how many tokens a stream gives, which it cannot say itself; no experiment is planned on more.
        pad: a token, with which examples of different lengths are filled up on the right, their targets with -100.
    """

    train: Any
    eval: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tokens_per_example: int | str = "auto"
    eval_fraction: float | None = None
    eval_draws: int = 1
    version: str | None = None
    context: int | None = None
    tokenizer: str | None = None
    stream_tokens: int | None = None
    pad: int | None = None
    eval_for_law: str | None = None
    metrics: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, DATA_RULES, StudyError, prefix="data.")
        check_sets(self.eval, self.eval_for_law)
        check_metrics(self.metrics, self.eval_sets)
        if self.eval is not None and self.eval_fraction is not None:
            raise StudyError(
                f"data.eval_fraction = {self.eval_fraction} is the share of the training examples that is held out "
                "where there is no eval, and there is one; leave one of them out"
            )
        paths = [name for name, source in self._sources.items() if is_paths(source)]
        cut = [name for name in paths if not self._is_of_samples(self._sources[name])]
        if cut and self.context is None:
            raise StudyError(
                f"data.{cut[0]} = {self._sources[cut[0]]!r} is a path; set context to the tokens of an example, "
                "such as context = 256"
            )
        given = [source for source in self._sources.values() if source is not None]
        if self.pad is not None and len(paths) == len(given):
            raise StudyError(
                f"data.pad = {self.pad} is for examples of different lengths, and files have one context; leave it out"
            )
        for name in ("context", "tokenizer"):
            if not paths and getattr(self, name) is not None:
                raise StudyError(
                    f"data.{name} = {getattr(self, name)!r} is for data given as a path, such as "
                    'train = "data/train.bin"; leave it out'
                )

    def _is_of_samples(self, source: Any) -> bool:
        """Whether a path is of shards that hold examples, which need not be cut out of anything."""
        given = [source] if isinstance(source, str | os.PathLike) else source
        return self.tokenizer is None and all(os.fspath(item).endswith(".tar") for item in given)

    @property
    def files(self) -> list[Path]:
        """The files of data given as paths; those of a path that is not there are none."""
        return _found(self._sources.values())

    @property
    def files_in_ids(self) -> list[Path]:
        """Those whose content experiments' ids follow from: of the training data and the first held-out set."""
        return [] if self.version else _found(list(self._sources.values())[:2])

    @property
    def eval_sets(self) -> Mapping[str, Any]:
        """The held-out sets that have names, in their order; none where there is a single one without."""
        return self.eval if isinstance(self.eval, Mapping) else {}

    @property
    def law_set(self) -> str | None:
        """The named set that the law is fitted to."""
        return self.eval_for_law or next(iter(self.eval_sets), None)

    @property
    def held_out_share(self) -> float:
        """`eval_fraction`, or what it is if it is left out."""
        return _HELD_OUT_SHARE if self.eval_fraction is None else self.eval_fraction

    @property
    def _sources(self) -> dict[str, Any]:
        named = {f"eval.{name}": source for name, source in self.eval_sets.items()}
        return {"train": self.train, **(named or {"eval": self.eval})}


def _found(sources: Iterable[Any]) -> list[Path]:
    found: list[Path] = []
    for source in filter(is_paths, sources):
        with contextlib.suppress(DataError):
            found += files_of(source)
    return found
