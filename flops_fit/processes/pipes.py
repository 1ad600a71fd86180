"""Messages between two processes: of a checked length, and bound to the task that they are about."""

from __future__ import annotations

import struct
from typing import IO

_HEADER = struct.Struct("<4sQQ")  # mark, task, length
_MARK = b"FLOP"
LONGEST = 1 << 28  # bytes of what a worker may say in one message


class Garbled(Exception):
    """What came through a pipe is no message of the task under way: something else wrote there."""


def send(pipe: IO[bytes], task: int, message: bytes) -> None:
    """Write one message about the task of this number."""
    pipe.write(_HEADER.pack(_MARK, task, len(message)) + message)
    pipe.flush()


def receive(pipe: IO[bytes], task: int | None = None, longest: int | None = None) -> tuple[int, bytes]:
    """Task and content of the next message.

    Raises `EOFError` where the pipe ends, `Garbled` for what is no message, is longer than `longest` bytes, or is about
    another task than `task`.
    """
    mark, about, length = _HEADER.unpack(_exactly(pipe, _HEADER.size))
    if mark != _MARK or (longest is not None and length > longest) or task not in (None, about):
        raise Garbled
    return about, _exactly(pipe, length)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content
