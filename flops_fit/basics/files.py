"""Files at rest: atomic writes, and readers that recognise a torn or foreign file."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from flops_fit.errors import FileError

T = TypeVar("T")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` so that a reader sees the old file or the new one, never a part (fsync, then rename)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")  # readable by whom the umask lets
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> Path:
    """`write_bytes` of JSON; NaN and infinity are refused, since JSON has neither."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], schema: str) -> dict[str, Any]:
    """Read what `write_json` wrote under `schema` (such as `"flops_fit.result/1"`).

    Raises `FileError` naming the file when it is torn, is not JSON or carries another schema,
    and `FileNotFoundError` when it is not there.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is torn or not JSON ({error}); delete it to have it made again") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise FileError(f"{path} holds {found!r} where {schema!r} was expected; delete it to have it made again")
    return content


def read_value(path: str | os.PathLike[str], schema: str, make: Callable[[dict[str, Any]], T]) -> T:
    """`make(content)` of a file under `schema`; `FileError` also where the content has another version's layout."""
    content = read_json(path, schema)
    try:
        return make(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FileError(
            f"{path} was written by another version ({type(error).__name__}: {error}); delete it to have it made again"
        ) from error


def remove_temporary(directory: str | os.PathLike[str]) -> None:
    """Delete what writes that were killed have left in `directory`; nothing may be writing there."""
    for path in Path(directory).glob(".*.tmp"):
        path.unlink()


def set_aside(path: str | os.PathLike[str]) -> Path:
    """Rename an unusable file to `<name>.unusable[-k]` so that nothing is lost; returns the new path."""
    path = Path(path)
    number, target = 0, path.with_name(path.name + ".unusable")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.unusable-{number}")
    return path.rename(target)
