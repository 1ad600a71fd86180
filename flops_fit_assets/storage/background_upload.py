"""The folder of an experiment in training, kept in the storage by a thread of its own.

A thread, not the training's progress hook: a large checkpoint does not hold up the steps, and a trainer of the user's
own, which reports no progress, is served too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flops_fit.errors import FlopsFitError
from flops_fit.results.finished import load_finished
from flops_fit_assets.storage.mirror import Mirror

UPLOAD_SECONDS = 30.0  # between two looks for a new checkpoint or log while a training runs


@contextmanager
def uploading(mirror: Mirror, folder: Path, on_problem: Callable[[str], None]) -> Iterator[None]:
    """Bring the folder here, store what changes in it while the body runs, and all of it at the end.

    While the body runs, and after an error in it, a storage that cannot be written is told to `on_problem`; at the end
    of a body without error it raises `StorageError`: what was trained is here and is stored by the next attempt.
    """
    mirror.pull_folder(folder)
    uploader = _Uploader(mirror=mirror, folder=folder, on_problem=on_problem)
    uploader.start()
    try:
        yield
    except BaseException:
        uploader.stop()
        uploader.store()
        raise
    uploader.stop()
    if load_finished(folder) is not None:
        _remove_checkpoint(folder)
    mirror.push_folder(folder, remove=True)


def _remove_checkpoint(folder: Path) -> None:
    """One that was brought here again beside a final result is of no use."""
    from flops_fit.training.checkpoint import CHECKPOINT_FILE

    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


@dataclass(kw_only=True)
class _Uploader:
    mirror: Mirror
    folder: Path
    on_problem: Callable[[str], None]
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"upload {self.folder.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        assert self._thread is not None
        self._thread.join()

    def store(self) -> None:
        try:
            self.mirror.push_folder(self.folder, remove=False)
        except FlopsFitError as error:  # of the storage, or a name that no storage should be given
            if not isinstance(error.__cause__, FileNotFoundError):  # the training removed it meanwhile
                self.on_problem(f"{error}; the training goes on, and this is tried again")

    def _work(self) -> None:
        while not self._end.wait(UPLOAD_SECONDS):
            self.store()
