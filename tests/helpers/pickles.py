"""Pickles in files: alone, within another file such as a database, or in an archive."""

import struct
import zipfile
from pathlib import Path


def pickles_in(folder):
    """Every file below `folder` that is, or holds, a pickle."""
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and is_or_holds_a_pickle(path)]


def is_or_holds_a_pickle(path):
    """Whether `path` is a pickle by name or content, holds one of protocol 4 or 5, or is an archive with one."""
    content = path.read_bytes()
    if path.suffix in {".pkl", ".pickle", ".pt", ".pth"} or (content[:1] == b"\x80" and content[-1:] == b"."):
        return True
    if zipfile.is_zipfile(path):  # what torch.save writes
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    return any(_has_frame(content, b"\x80" + bytes([protocol]) + b"\x95") for protocol in (4, 5))


def _has_frame(content, header):
    """Whether a pickle's header is followed by the length of a frame that fits into what is left."""
    at = content.find(header)
    while at >= 0:
        frame = content[at + 3 : at + 11]
        if len(frame) == 8 and struct.unpack("<Q", frame)[0] <= len(content) - at:
            return True
        at = content.find(header, at + 1)
    return False
