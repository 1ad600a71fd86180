"""Real text on every machine: the source of Python's own standard library, about 10 MB, no download.

Files `*.py` of the standard library without its tests and encodings, in the order of the hash of their path (so that
training and held-out data are alike), ASCII bytes only. The last 131,072 bytes are held out.
"""

from __future__ import annotations

import functools
import hashlib
import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from flops_fit.examples.byte_mlp import CONTEXT

HELD_OUT_BYTES = 131_072
_LEFT_OUT = {"test", "tests", "idle_test", "encodings", "site-packages", "dist-packages"}


@functools.cache
def read_corpus() -> bytes:
    """The whole corpus as ASCII bytes."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [path.relative_to(root) for path in root.rglob("*.py")]
    kept = [path.as_posix() for path in paths if not _LEFT_OUT.intersection(path.parts)]
    kept.sort(key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    raw = np.frombuffer(b"".join((root / path).read_bytes() for path in kept), dtype=np.uint8)
    return raw[raw < 128].tobytes()


@functools.cache
def corpus_hash() -> str:
    """SHA-256 of the corpus: which Python's library it is."""
    return hashlib.sha256(read_corpus()).hexdigest()


def train_dataset() -> TensorDataset:
    """All of the corpus but its end: pairs of 8 bytes and the byte after them; one token an example."""
    return _windows(read_corpus()[:-HELD_OUT_BYTES], "train")


def held_out_dataset() -> TensorDataset:
    """The last 131,072 bytes, likewise."""
    return _windows(read_corpus()[-HELD_OUT_BYTES:], "held-out")


def _windows(text: bytes, part: str) -> TensorDataset:
    stream = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))
    windows = stream.unfold(0, CONTEXT + 1, 1)  # (positions, 9), a view that copies nothing
    dataset = TensorDataset(windows[:, :CONTEXT], windows[:, CONTEXT])
    dataset.fingerprint = f"stdlib {part} {corpus_hash()}"  # type: ignore[attr-defined]
    return dataset
