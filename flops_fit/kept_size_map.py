"""A study's size map for whoever only looks: probed once for each model, data and loss, and kept by content."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import read_value, write_value
from flops_fit.datasets.files import cache_folder
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.identity.fingerprints import content_hash
from flops_fit.sizes.size_map import SizeMap
from flops_fit.stages import study_size_map

if TYPE_CHECKING:
    from flops_fit.study.study import Study

SCHEMA = "flops_fit.kept_size_map/1"
_BY_THE_CLOCK = "took more than"  # a size that was given up for its time may be had on another day


@dataclass(frozen=True, kw_only=True)
class KeptSizeMap:
    """A size map with what was warned of when it was made."""

    size_map: SizeMap
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.kept_size_map/1`."""
        return {"schema": SCHEMA, "size_map": self.size_map.to_dict(), "warnings": [*self.warnings]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> KeptSizeMap:
        """Inverse of `to_dict`. Raises `FileError` for what is no such thing."""
        try:
            return cls(size_map=SizeMap.from_dict(content["size_map"]), warnings=tuple(content["warnings"]))
        except (KeyError, TypeError) as error:
            raise FileError(f"a kept size map lacks {error}") from error


def kept_size_map(study: Study) -> SizeMap:
    """`study_size_map`, which a model, data, loss and torch that were probed before are not probed for again.

    Kept in the cache folder (`FLOPS_FIT_CACHE`, else `~/.cache/flops_fit`), which may be deleted at any time. What was
    warned of is warned of again.
    """
    path = _path(study)
    found = _load(path)
    if found is None:
        found = _made(study)
        _keep(path, found)
    for text in found.warnings:
        warnings.warn(text, FlopsFitWarning, stacklevel=2)
    return found.size_map


def _path(study: Study) -> Path:
    """By all that a map follows from: the model, how it is counted, its batch and loss, torch, and our own code."""
    import torch

    data, own = study.prepared_data, study.identity
    made_of = [own.model, own.counting, own.loss, data.fingerprint if data else None, torch.__version__, _own_code()]
    return cache_folder() / "size_maps" / f"{content_hash(made_of)[:32]}.json"


def _own_code() -> str:
    folder = Path(__file__).parent
    sources = [*sorted((folder / "sizes").glob("*.py")), folder / "stages.py"]
    return content_hash([path.read_text(encoding="utf-8") for path in sources])


def _load(path: Path) -> KeptSizeMap | None:
    try:
        return read_value(path, SCHEMA, KeptSizeMap.from_dict)
    except (FileNotFoundError, FileError, OSError):  # it is probed again for the asking
        return None


def _made(study: Study) -> KeptSizeMap:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", FlopsFitWarning)
        size_map = study_size_map(study)
    ours = [item for item in said if issubclass(item.category, FlopsFitWarning)]
    for item in said:
        if item not in ours:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno, source=item.source)
    return KeptSizeMap(size_map=size_map, warnings=tuple(str(item.message) for item in ours))


def _keep(path: Path, found: KeptSizeMap) -> None:
    texts = (*found.size_map.notes, *found.warnings, *(size.reason for size in found.size_map.skipped))
    if any(_BY_THE_CLOCK in text for text in texts):
        return
    try:
        write_value(path, found.to_dict())
    except OSError:  # a cache that cannot be written to is none
        return
