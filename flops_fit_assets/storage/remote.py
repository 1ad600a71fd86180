"""Files below a URL that fsspec knows (a directory, s3://, gs://, …), with errors that can be acted upon."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from flops_fit.errors import FileError, FlopsFitError

STORAGE_VARIABLE = "FLOPS_FIT_STORAGE"
_FEW = 8  # files that are asked after one by one; more by one listing of their folder
_CONTENT_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created", "ino")
# Where a file appears whole or not at all. Elsewhere it is written under another name first, then renamed.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
_SECRET = re.compile(r"//[^/@]*@")


class StorageError(FlopsFitError):
    """A storage that cannot be used; the message has its URL, the reason and the remedy."""


def storage_url(given: str | os.PathLike[str] | None = None) -> str | None:
    """The base of all studies' files: `given`, else `FLOPS_FIT_STORAGE`; None where there is none.

    A path without a protocol is a directory, made absolute. Raises `StorageError` for a URL that is not valid: a
    protocol that fsspec does not know or that needs a package, or a chain of several. Nothing is sent anywhere, and
    nothing opened: to open S3 begins a thread, and a process with threads has no forks (`warm_runs`).
    """
    url = os.fspath(given) if given is not None else os.environ.get(STORAGE_VARIABLE, "")
    if not url:
        return None
    if "::" in url:
        raise StorageError(f"storage {shown(url)} is a chain of URLs, whose caches go stale; give the last one alone")
    if "://" not in url:
        url = str(Path(url).expanduser().resolve())
    _checked(url, _protocol_class)
    return url


def refuse_unusable(url: str | None) -> None:
    """Raise `StorageError` for a storage that this machine's processes cannot all use; None is none."""
    if url is None:
        return
    storage = Storage(url=url)
    if storage.in_this_process_alone:
        raise StorageError(
            f"storage {storage} is seen by one process alone, and each worker is one; give a directory or another URL"
        )
    storage.probe()


def shown(url: str) -> str:
    """The URL without a user's name and password."""
    return _SECRET.sub("//…@", url)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The files in `<url>/<folder>`, named by their paths below it, with `/`.

    Every method raises `StorageError` where the storage cannot be used, `FileError` for a name that would lead out.
    """

    url: str
    folder: str = ""

    def __str__(self) -> str:
        return posixpath.join(shown(self.url), self.folder) if self.folder else shown(self.url)

    @property
    def in_this_process_alone(self) -> bool:
        """Whether no other process can see what is stored."""
        return "memory" in _protocols(self._fs)

    def probe(self) -> None:
        """Write, read and remove a small file, so that what is wrong is said before anything is spent."""
        name, content = f".flops_fit_probe-{uuid.uuid4().hex[:8]}", b"flops-fit may remove this file\n"
        path = self._full(name, hidden=True)
        with self._readably("written, read and cleaned"):
            self._make_parents([path])
            self._fs.pipe_file(path, content)
            found = self._fs.cat_file(path)
            self._fs.rm_file(path)
        if found != content:
            raise StorageError(
                f"storage {self} gave back {found!r} for {content!r}; give one that keeps what it is given"
            )

    def stamps(self, names: Sequence[str]) -> dict[str, str]:
        """Name → what changes with its content, for those of `names` that are there."""
        if len(names) <= _FEW:
            found = {name: self._stamp(name) for name in names}
            return {name: stamp for name, stamp in found.items() if stamp is not None}
        folder = posixpath.commonpath([posixpath.dirname(name) for name in names])
        listed, wanted = self.listing(folder), set(names)
        return {name: stamp for name, stamp in listed.items() if name in wanted}

    def listing(self, folder: str = "") -> dict[str, str]:
        """Name → stamp of every file below `folder`, in one question; those whose name begins with a dot left out."""
        root, base = self._full(folder) if folder else self._root, self._root
        with self._readably("listed"):
            self._fs.invalidate_cache()
            found = self._fs.find(root, detail=True)
        names = {path[len(base) :].lstrip("/"): _stamp_of(info) for path, info in found.items()}
        return {name: stamp for name, stamp in names.items() if not _is_hidden(name)}

    def is_empty(self) -> bool:
        """Whether there is no file below it; one question where it holds a study, whatever else there is."""
        with self._readably("listed"):
            self._fs.invalidate_cache(self._root)
            try:
                found = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return True
        if any(info["type"] == "file" and not _is_hidden(posixpath.basename(info["name"])) for info in found):
            return False
        return not (found and self.listing())  # folders stay on a disk when their files are gone

    def download(self, files: Mapping[str, Path]) -> None:
        """Copy each named file to its path; several at once where the protocol can."""
        if files:
            with self._readably("read"):
                self._fs.get([self._full(name) for name in files], [str(path) for path in files.values()])

    def upload(self, files: Mapping[str, Path]) -> None:
        """Copy each path to its name; a reader sees the old file or the new one, never a part."""
        if not files:
            return
        names = [self._full(name) for name in files]
        whole = _protocols(self._fs) & _WHOLE
        temporary = names if whole else [f"{posixpath.dirname(n)}/.{uuid.uuid4().hex[:12]}.tmp" for n in names]
        with self._readably("written"):
            self._make_parents(names)
            self._fs.put([str(path) for path in files.values()], temporary)
            for before, after in zip(temporary, names, strict=True):
                if before != after:
                    self._fs.mv(before, after)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files; one that is gone already is fine."""
        with self._readably("cleaned"):
            for name in names:
                try:
                    self._fs.rm_file(self._full(name))
                except FileNotFoundError:
                    continue

    @functools.cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        fs, root = _checked(self.url, url_to_fs)
        return fs, posixpath.join(root, self.folder) if self.folder else root

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    def _full(self, name: str, *, hidden: bool = False) -> str:
        parts = name.split("/")
        bad = any(part in ("", ".", "..") or "\\" in part or not part.isprintable() for part in parts)
        if bad or (_is_hidden(name) and not hidden):
            raise FileError(
                f"{name!r} is not a valid file name in {self}; it must not have empty, hidden or parent folders"
            )
        return posixpath.join(self._root, name)

    def _stamp(self, name: str) -> str | None:
        path = self._full(name)
        with self._readably("read"):
            self._fs.invalidate_cache(posixpath.dirname(path))
            try:
                info = self._fs.info(path)
            except FileNotFoundError:
                return None
        return _stamp_of(info) if info["type"] == "file" else None

    def _make_parents(self, paths: Sequence[str]) -> None:
        if not _protocols(self._fs) & _WHOLE:  # the others have no folders
            for parent in {posixpath.dirname(path) for path in paths}:
                self._fs.makedirs(parent, exist_ok=True)

    @contextmanager
    def _readably(self, what: str) -> Iterator[None]:
        """Any error of a protocol (each has its own) as an error that names the storage and a remedy."""
        try:
            yield
        except Exception as error:
            raise StorageError(
                f"storage {self} could not be {what} ({type(error).__name__}: {error}); see that it exists, that it "
                "can be reached, and that the credentials which fsspec finds allow to list, read, write and delete"
            ) from error


def _protocol_class(url: str) -> None:
    """Import what speaks the URL's protocol."""
    from fsspec import get_filesystem_class

    get_filesystem_class(url.partition("://")[0] if "://" in url else "file")


def _checked(url: str, use: Callable[[str], Any]) -> Any:
    """What `use` makes of the URL, its errors as ones that name the URL and a remedy."""
    try:
        return use(url)
    except Exception as error:  # each protocol has errors of its own
        remedy = "give a directory, or a URL that fsspec knows, such as s3://bucket/folder"
        if isinstance(error, ImportError):
            remedy = "install that package beside flops-fit"
        raise StorageError(f"storage {shown(url)} cannot be used ({error}); {remedy} ({STORAGE_VARIABLE})") from error


def _protocols(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _stamp_of(info: Mapping[str, Any]) -> str:
    """A hash of the content where the storage keeps one, else its size and times."""
    tags = [str(info[name]).strip('"') for name in _CONTENT_TAGS if info.get(name)][:1]
    return " ".join([str(info["size"]), *(tags or [str(info[name]) for name in _TIMES if info.get(name)])])


__all__ = ["STORAGE_VARIABLE", "Storage", "StorageError", "refuse_unusable", "shown", "storage_url"]
