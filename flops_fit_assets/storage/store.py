"""A study's folder: where its size map, plan, results and law lie, and how they are read and written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flops_fit.basics.files import read_value, set_aside, write_value
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.recipe.trunk_states import FOLDER
from flops_fit.results.results import RESULT_FILE, ExperimentResult
from flops_fit_assets.storage.background_upload import uploading
from flops_fit_assets.storage.mirror import Mirror
from flops_fit_assets.storage.remembered import Remembered

if TYPE_CHECKING:
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class StudyStore:
    """The files of one study in `directory`; readers raise `FileError` for a torn or foreign file.

    With a `mirror`, `directory` is a working copy: what is read is brought from the storage first, what is written is
    stored. Code that reads or writes files of the study by other means calls `pull` before and `push` after.

    `served` says that the pages which show the study serve its files too, as those of `flops-fit ui` do.
    """

    directory: Path
    mirror: Mirror | None = None
    served: bool = False

    @property
    def runs(self) -> Path:
        """The folder with one folder for each training."""
        return self.directory / "runs"

    @property
    def forecasts(self) -> Path:
        """The folder with a file for each forecast."""
        return self.directory / "forecasts"

    @property
    def report(self) -> Path:
        """The report, one self-contained page."""
        return self.directory / "report.html"

    @property
    def apart(self) -> str | None:
        """Why trainings of the study are never taken together in one process; None where they may be."""
        if self.mirror is None:
            return None
        return "the study is kept in a storage, from which each training fetches how far it had come"

    def address(self, path: Path) -> str | None:
        """Where the pages serve a file or folder of the study; None where they do not."""
        if not self.served:
            return None
        return quote(f"/flops_fit/{self.directory.name}/{path.relative_to(self.directory).as_posix()}", safe="/=+,")

    def room_for(self, path: Path) -> Path:
        """`path`, free to be written: a folder there, or a file where one of its folders belongs, is set aside."""
        blocking = [folder for folder in path.parents if self.directory in folder.parents and folder.is_file()]
        for found in [*blocking[-1:], *([path] if path.is_dir() else [])]:
            kept = set_aside(found)
            warnings.warn(
                f"{found} was in the way of what is written there; kept as {kept.name}", FlopsFitWarning, stacklevel=3
            )
        return path

    def path(self, asset: str, partition: str | None = None) -> Path:
        """Where the value of an asset is kept."""
        if asset == "training_run":
            if not partition or not _is_file_name(partition):
                raise FileError(f"partition {partition!r} is not an experiment id; give one from the plan")
            return self.runs / partition / RESULT_FILE
        return self.directory / f"{asset}.json"

    def write(self, asset: str, value: Any, partition: str | None = None) -> Path:
        """Keep `value` of an asset, atomically."""
        path = self.room_for(self.path(asset, partition))
        if hasattr(value, "save"):
            value.save(path)
        else:
            write_value(path, value.to_dict())
        self.push(path)
        return path

    def read(self, asset: str, partition: str | None = None) -> Any:
        """The kept value of an asset; raises `FileNotFoundError` where there is none."""
        self.pull(self.path(asset, partition))
        return self.read_here(asset, partition)

    def read_here(self, asset: str, partition: str | None = None) -> Any:
        """`read` of what was brought here before."""
        return _READERS[asset](self.path(asset, partition))

    def pull(self, *paths: Path) -> None:
        """Bring files from the storage, all at once."""
        if self.mirror and paths:
            self.mirror.pull(*paths)

    def pull_results(self, partitions: Iterable[str]) -> None:
        """Bring the results of experiments, all at once."""
        self.pull(*(self.path("training_run", partition) for partition in partitions))

    def pull_folder(self, folder: Path) -> None:
        """Bring every file of a folder."""
        if self.mirror:
            self.mirror.pull_folder(folder)

    def push(self, *paths: Path) -> None:
        """Store files, all at once."""
        if self.mirror and paths:
            self.mirror.push(*paths)

    def set_aside(self, asset: str, partition: str | None = None) -> Path:
        """Rename the file of an asset, of a partition in the storage too; returns where it is kept."""
        path = self.path(asset, partition)
        kept = set_aside(path)
        if self.mirror and partition:
            self.mirror.push_folder(path.parent, remove=True)
        return kept

    @contextmanager
    def training(self, partition: str, on_problem: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder of an experiment in step with the storage while it is trained in the body."""
        self.room_for(self.path("training_run", partition))
        if self.mirror is None:
            yield
            return
        with uploading(self.mirror, self.path("training_run", partition).parent, on_problem):
            yield

    @contextmanager
    def trunk(self, name: str) -> Iterator[None]:
        """Hold a trunk (`Experiment.trunk`) in step with the storage: its states are brought here before the body, and
        those that the body has left are stored after it."""
        if self.mirror is None or not name:
            yield
            return
        folder = self.runs / FOLDER / name
        self.mirror.pull_folder(folder)
        yield
        self.mirror.push_folder(folder, remove=False)


def _is_file_name(partition: str) -> bool:
    plain = partition.isprintable() and "\\" not in partition and not partition.startswith(".")
    return plain and Path(partition).name == partition


def _read_size_map(path: Path) -> SizeMap:
    from flops_fit.sizes.size_map import SCHEMA, SizeMap

    return read_value(path, SCHEMA, SizeMap.from_dict)


def _read_recipe_law(path: Path) -> TunedRecipe:
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe

    return TunedRecipe.load(path)


def _read_plan(path: Path) -> SweepPlan:
    from flops_fit.sweep.sweep_plan import SCHEMA, SweepPlan

    return read_value(path, SCHEMA, SweepPlan.from_dict)


def _read_law(path: Path) -> ScalingLaw:
    from flops_fit.scaling_law import ScalingLaw

    return ScalingLaw.load(path)


_READERS: Mapping[str, Callable[[Path], Any]] = {
    "size_map": _read_size_map,
    "recipe_law": _read_recipe_law,
    "sweep_plan": Remembered(_read_plan, most=4),
    "training_run": Remembered(ExperimentResult.load, most=10_000),  # some 3 kB each
    "scaling_law": _read_law,
}
