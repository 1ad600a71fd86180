"""Values that are kept once under a number and never changed: `round_001.json`, `round_002.json` and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flops_fit.basics.files import write_value
from flops_fit.errors import FileError

T = TypeVar("T")


def numbered_path(folder: Path, number: int) -> Path:
    """Where number `number` is kept."""
    return folder / f"round_{number:03d}.json"


def save_numbered(folder: Path, item: Any) -> Path:
    """Write a new value with a `number`, atomically; raises `FileError` where there is another one of that number."""
    path = numbered_path(folder, item.number)
    if path.exists() and type(item).load(path) != item:
        raise FileError(f"{path} holds another round {item.number}; what was planned once is not changed")
    return write_value(path, item.to_dict())


def load_numbered(folder: Path, load: Callable[[Path], T]) -> tuple[T, ...]:
    """What is in `folder`, in order; raises `FileError` where one is damaged or missing."""
    return tuple(_numbered(folder, load)) if folder.is_dir() else ()


def _numbered(folder: Path, load: Callable[[Path], Any]) -> Iterator[Any]:
    paths = sorted(folder.glob("round_*.json"))
    for number, path in enumerate(paths, start=1):
        if path != numbered_path(folder, number):
            raise FileError(
                f"{numbered_path(folder, number)} is gone, but {path.name} is there; restore it from a copy"
            )
        found = load(path)
        if found.number != number:
            raise FileError(f"{path} holds round {found.number}; restore it from a copy")
        yield found
