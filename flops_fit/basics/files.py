"""Files at rest: atomic writes, and readers that recognise a torn, changed or foreign file."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from flops_fit.errors import FileError
from flops_fit.identity.fingerprints import content_hash

T = TypeVar("T")
_SEAL = "sha256"  # key of the hash of all else in a file that `write_value` wrote
_REMEDY = "delete it to have it made again"


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


def write_value(path: str | os.PathLike[str], content: Mapping[str, Any]) -> Path:
    """`write_json` of `content`, which names its `schema`, with a hash of it all: what `read_value` reads."""
    return write_json(path, {**content, _SEAL: content_hash(content)})


def read_text(path: str | os.PathLike[str], remedy: str = _REMEDY) -> str:
    """The UTF-8 text of a file; raises `FileNotFoundError`, and `FileError` for a directory or what is no text."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise FileError(f"{path} is not a file; move what is there away")
    try:
        return path.read_text(encoding="utf-8")
    except NotADirectoryError as error:
        raise FileError(f"{path} is below a file where a folder belongs; move that file away") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is torn or not text ({error}); {remedy}") from error


def read_json(path: str | os.PathLike[str], schema: str, remedy: str = _REMEDY) -> dict[str, Any]:
    """Read what `write_json` wrote under `schema` (such as `"flops_fit.result/1"`).

    Raises `FileError` naming the file when it is torn, is not JSON, carries another schema, or is no file,
    and `FileNotFoundError` when it is not there.
    """
    text = read_text(path, remedy)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or too deep a nesting
        raise FileError(f"{path} is torn or not JSON ({error}); {remedy}") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise FileError(f"{path} holds {ascii(found)[:60]} where {schema!r} was expected; {remedy}")
    return content


def read_value(
    path: str | os.PathLike[str], schema: str, make: Callable[[dict[str, Any]], T], remedy: str = _REMEDY
) -> T:
    """`make(content)` of what `write_value` wrote under `schema`.

    Raises `FileError` naming the file also where it was changed since it was written, or `make` refuses its content;
    `remedy` says what to do then.
    """
    content = read_json(path, schema, remedy)
    seal = content.pop(_SEAL, None)
    try:
        if seal != content_hash(content):
            raise FileError("was changed since it was written, or is of another version")
        return make(content)
    except (FileError, RecursionError, OverflowError) as error:
        raise FileError(f"{path}: {error}; {remedy}") from error


def remove_temporary(directory: str | os.PathLike[str]) -> None:
    """Delete what writes that were killed have left in `directory`; nothing may be writing there."""
    for path in Path(directory).glob(".*.tmp"):
        path.unlink()


def set_aside(path: str | os.PathLike[str]) -> Path:
    """Rename an unusable file or folder to `<name>.unusable[-k]` so that nothing is lost; returns the new path."""
    path = Path(path)
    number, target = 0, path.with_name(path.name + ".unusable")
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.unusable-{number}")
    return path.rename(target)
