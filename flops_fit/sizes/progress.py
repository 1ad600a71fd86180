"""A line now and then on the standard error stream, while a size map takes long."""

from __future__ import annotations

import sys
import time

EVERY_SECONDS = 10.0


class MapProgress:
    """Tells what a map is at, every ten seconds; of one that takes less, nothing.

    It keeps the stream that was there when it was made, as the user's code runs with its output put aside.
    """

    def __init__(self, name: str) -> None:
        self._name, self._stream = name, sys.stderr
        self._begin = self._last = time.monotonic()

    def tell(self, found: int, measured: int, at: str) -> None:
        """So many sizes were `found`, so many of them `measured`, the last one `at`."""
        now = time.monotonic()
        if now - self._last < EVERY_SECONDS or self._stream is None:
            return
        self._last = now
        steps = f", {measured} of them measured" if measured else ""
        sizes = f"{found} size{'' if found == 1 else 's'}"
        print(f"size map of {self._name}: {sizes}{steps}, {at}; {now - self._begin:.0f} s", file=self._stream)
