"""Where a study comes from (a file, or Python), and the names it has in Dagster."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.errors import StudyError
from flops_fit.study.study import Study
from flops_fit.study.study_file import part_of
from flops_fit_assets.instance.where import home_directory
from flops_fit_assets.storage.mirror import Mirror
from flops_fit_assets.storage.remote import Storage, storage_url
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:  # loaded where it is needed: `flops-fit plan` does without
    from dagster import AssetKey, DynamicPartitionsDefinition


@dataclass(frozen=True, kw_only=True)
class StudySource:
    """A study with its place on disk and its asset keys.

    Attributes:
        origin: a `Study`, or the path of a `study.toml`, as `study.toml@value` of one with [sweep.vary].
        prefix: put before every asset key, so that several studies fit in one code location; of one value of
            [sweep.vary] it ends in the value's part, such as "embedding_8".
        home: the directory that holds `<study name>/`.
        storage: the URL below which `<study name>/` is the truth and the one in `home` a working copy; None for none.
        served: whether the pages that show it serve its files too, so that what they show may link to them.
    """

    origin: Study | Path
    prefix: tuple[str, ...]
    home: Path
    storage: str | None = None
    served: bool = False

    @classmethod
    def of(
        cls,
        origin: Study | str | os.PathLike[str],
        key_prefix: str | Sequence[str] = (),
        home: str | os.PathLike[str] | None = None,
        storage: str | os.PathLike[str] | None = None,
        *,
        served: bool = False,
    ) -> StudySource:
        """Raises `StudyError` where the file, or an owner in it, is not valid, `StorageError` for a URL that is not."""
        prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
        part = None if isinstance(origin, Study) else part_of(Path(origin))
        source = cls(
            origin=origin if isinstance(origin, Study) else Path(origin).resolve(),
            prefix=(*prefix, part) if part else prefix,
            home=home_directory(home),
            storage=storage_url(storage),
            served=served,
        )
        _check_owners(source.study)
        return source

    @functools.cached_property
    def study(self) -> Study:
        """The study; a file is read once in a process, so a run (a process of its own) sees it as it is then."""
        return self.origin if isinstance(self.origin, Study) else Study.from_toml(self.origin)

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self.home / self.study.name

    @functools.cached_property
    def mirror(self) -> Mirror | None:
        """What keeps the study's folder and its storage the same; None where there is no storage."""
        if self.storage is None:
            return None
        return Mirror(storage=Storage(url=self.storage, folder=self.study.name), directory=self.directory)

    @property
    def store(self) -> StudyStore:
        """The study's files."""
        return StudyStore(directory=self.directory, mirror=self.mirror, served=self.served)

    @property
    def partitions(self) -> DynamicPartitionsDefinition:
        """The partition set of this study: one key for each experiment of the current plan."""
        from dagster import DynamicPartitionsDefinition

        return DynamicPartitionsDefinition(name=f"{self.study.name}_experiments")

    @property
    def resource_key(self) -> str:
        """The name of this study's IO manager."""
        return f"{self.study.name}_files"

    @property
    def made(self) -> list[AssetKey]:
        """The keys of the assets that runs make, in their order."""
        tuned = ["recipe_law"] if self.study.tuning else []
        return [self.key(stage) for stage in ("size_map", *tuned, "sweep_plan", "training_run", "scaling_law")]

    def key(self, *name: str) -> AssetKey:
        """The key of the asset called `name`."""
        from dagster import AssetKey

        return AssetKey([*self.prefix, *name])


def _check_owners(study: Study) -> None:
    """Refuse with a readable message what Dagster does not take as an owner."""
    if not study.owners:
        return
    from dagster import AssetSpec, DagsterInvalidDefinitionError

    for owner in study.owners:
        try:
            AssetSpec("checked", owners=[owner])
        except DagsterInvalidDefinitionError as error:
            raise StudyError(
                f'owners has {owner!r}; each must be an e-mail address or a team, written "team:scaling"'
            ) from error
