"""Several studies whose laws are compared: those of one file with [sweep.vary], or those of one code location."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetKey

from flops_fit.basics.arguments import need
from flops_fit.errors import FileError, FlopsFitError, StudyError
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.study.study import STUDY_NAME, Study
from flops_fit.study.study_file import name_of_all, varied
from flops_fit.sweep.experiment import parse_budget
from flops_fit_assets.instance.where import home_directory
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.mirror import Mirror
from flops_fit_assets.storage.remote import Storage, storage_url
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    import pandas as pd

    from flops_fit.scaling_law import Ranking, ScalingLaw

COMPARISON = "law_comparison"
COMPARISON_SCHEMA = "flops_fit.law_comparison/1"


@dataclass(frozen=True, kw_only=True)
class ComparedStudies:
    """Studies by the names that they have in their comparison, and where that is kept.

    Attributes:
        name: of the folder in `home` that the comparison is written to, and of its group in Dagster.
        prefix: put before the comparison's asset key.
        sources: the studies, in their order.
        axis: what is varied from study to study, and `values` what it is in each; None where they differ otherwise.
        at: FLOPs that are asked about; none stands for the laws' own.
        home, storage: as of `StudySource`.
    """

    name: str
    prefix: tuple[str, ...]
    sources: Mapping[str, StudySource]
    home: Path
    axis: str | None = None
    values: Sequence[Any] = ()
    at: Sequence[float] = ()
    storage: str | None = None

    @classmethod
    def in_file(
        cls,
        path: Path,
        key_prefix: str | Sequence[str] = (),
        home: str | os.PathLike[str] | None = None,
        storage: str | os.PathLike[str] | None = None,
        *,
        served: bool = False,
    ) -> ComparedStudies | None:
        """The studies of a file with [sweep.vary]; None for any other file, and for `study.toml@value`. `served` as of
        `StudySource`."""
        found = varied(Path(path))
        if found is None:
            return None
        vary, paths = found
        sources = {
            label: StudySource.of(each, key_prefix, home, storage, served=served) for label, each in paths.items()
        }
        return cls(
            name=name_of_all(Path(path)),
            prefix=_prefix(key_prefix),
            sources=sources,
            home=home_directory(home),
            axis=vary.name,
            values=vary.values,
            at=_targets(next(iter(sources.values())).study),
            storage=storage_url(storage),
        )

    @classmethod
    def of(
        cls,
        sources: Mapping[str, StudySource],
        *,
        name: str,
        key_prefix: str | Sequence[str] = (),
        at: Sequence[float | str] = (),
        home: str | os.PathLike[str] | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> ComparedStudies:
        """Raises `StudyError` for fewer than two studies, for two of one folder, and for a name that is none."""
        if len(sources) < 2:
            raise StudyError(f"{len(sources)} studies are to be compared; give two or more by name")
        need("name", name, STUDY_NAME, StudyError)
        folders = [source.directory for source in sources.values()]
        twice = next((folder for folder in folders if folders.count(folder) > 1 or folder.name == name), None)
        if twice is not None:
            raise StudyError(f"{twice} would belong to two of what is compared; give each study a name of its own")
        targets = tuple(sorted(parse_budget(each, "at") for each in at))
        return cls(name=name, prefix=_prefix(key_prefix), sources=dict(sources), home=home_directory(home), at=targets,
                   storage=storage_url(storage))  # fmt: skip

    @property
    def key(self) -> AssetKey:
        """Of the comparison."""
        return AssetKey([*self.prefix, COMPARISON])

    @property
    def law_keys(self) -> list[AssetKey]:
        """Of the laws."""
        return [source.key("scaling_law") for source in self.sources.values()]

    @property
    def store(self) -> StudyStore:
        """The files of the comparison."""
        directory = self.home / self.name
        mirror = (
            None
            if self.storage is None
            else Mirror(storage=Storage(url=self.storage, folder=self.name), directory=directory)
        )
        return StudyStore(directory=directory, mirror=mirror)

    @property
    def suggestions(self) -> dict[str, str]:
        """What is typed to find the next experiments of each study, but for the target."""
        laws = {name: source.store.path("scaling_law") for name, source in self.sources.items()}
        return {name: shlex.join(["flops-fit", "suggest", str(law)]) for name, law in laws.items()}

    @property
    def file(self) -> Path:
        """Where the comparison's numbers are kept."""
        return self.store.path(COMPARISON)

    @property
    def report(self) -> Path:
        """Where its report is."""
        return self.store.directory / f"{COMPARISON}.html"

    @property
    def figure(self) -> Path:
        """Where its figure is."""
        return self.store.directory / "plots" / f"{COMPARISON}.png"


def compare_studies(compared: ComparedStudies, laws: Mapping[str, ScalingLaw], *, at: Sequence[float] = ()) -> Ranking:
    """The ranking of `laws`, by the names of the studies, at `at`, else at the studies' own targets, else at the
    largest run and at ten times as much compute."""
    from flops_fit.scaling_law import rank_laws

    largest = float(f"{max(float(law.runs.flops.max()) for law in laws.values()):.3g}")  # as it is shown and typed
    values = dict(zip(compared.sources, compared.values, strict=False))
    return rank_laws(
        laws,
        at or compared.at or [largest, 10 * largest],
        axis=compared.axis,
        values=[values[name] for name in laws] if compared.axis else None,
        timed={name: timed_runs(compared.sources[name].store, law) for name, law in laws.items()},
        same_data=compared.axis is not None,
    )


def laws_kept(compared: ComparedStudies) -> dict[str, ScalingLaw]:
    """The law that each study has now; raises `FlopsFitError` for one that has none."""
    laws = {}
    for name, source in compared.sources.items():
        try:
            laws[name] = source.store.read("scaling_law")
        except FileNotFoundError as error:
            typed = source.origin if isinstance(source.origin, Path) else name
            raise FlopsFitError(f"{error.filename} does not exist; `flops-fit run {typed}` makes it") from error
    return laws


def timed_runs(store: StudyStore, law: ScalingLaw) -> pd.DataFrame:
    """The runs of `law` with their seconds, as far as their results are there."""
    names = [str(name) for name in law.runs.experiment_id]
    store.pull_results(names)
    found: list[ExperimentResult] = []
    for name in names:
        try:
            found.append(store.read_here("training_run", name))
        except (FileError, FileNotFoundError):
            continue
    return results_frame(found)


def _targets(study: Study) -> tuple[float, ...]:
    """What the study is asked about; none stands for the laws' own."""
    asked = (study.adaptive.target_budget,) if study.adaptive else study.sweep.target_budgets
    return tuple(parse_budget(budget, "target budget") for budget in asked)


def _prefix(key_prefix: str | Sequence[str]) -> tuple[str, ...]:
    return (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
