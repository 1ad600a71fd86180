"""One file of tokens: where its tokens begin, how many there are, and of which type they are.

Formats: raw `.bin` (nanoGPT's `prepare.py`), `.bin` with the header of llm.c (256 int32: magic, version, count), `.bin`
beside an `.idx` (Megatron-LM's indexed_dataset), and `.npy`. Little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flops_fit.errors import DataError

DTYPES = ("uint8", "uint16", "uint32", "int32", "int64")
_LLM_C = {20240520: "uint16", 20240801: "uint32"}  # magic → type: GPT-2's tokens, Llama 3's
_LLM_C_HEADER = 256 * 4
_MEGATRON = b"MMIDIDX\x00\x00"
_MEGATRON_TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}
_SAMPLE, _BLOCKS = 4096, 16  # numbers of a block, and blocks evenly spaced, that a type is told by
_FEWEST = 64  # numbers of 32 bits in a file, to tell anything by them
_VALUES = 8  # distinct bytes at least, to tell single bytes by
_SPREAD = 0.25  # from evenly spread, which tells nothing
_ALIKE = 0.5  # of that: the low and the high bytes of ids are further apart than this
_ALLOWED = {  # what is told by the numbers → types that these do not contradict; single bytes look like any other
    "uint8": ("uint8", "uint16"),
    "uint16": ("uint8", "uint16"),
    "uint32": ("uint8", "uint32", "int32"),
    "int64": ("uint8", "int64"),
}
_HIGH_HALF = 16  # no vocabulary has a million ids, so the upper 16 bits of one are below
_LOW_HALF = 256  # more than a file of 16 bits can have in half of its places while it has less than 16 in the others


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A file of `count` tokens of type `dtype` (little-endian) that begin at byte `offset`.

    `documents` are the places at which documents begin, rising, where an index says so.
    """

    path: Path
    dtype: np.dtype[Any]
    offset: int
    count: int
    documents: np.ndarray[Any, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def end(self) -> int:
        """The byte after the last token."""
        return self.offset + self.count * self.dtype.itemsize


def open_shard(path: Path, dtype: str = "auto") -> Shard:
    """What is in the file at `path`; `dtype` as "auto" is told by its header, index or numbers, else uint16.

    Raises `DataError` for a file that is torn, of a type that holds no tokens, or whose numbers contradict `dtype`.
    """
    if dtype not in ("auto", *DTYPES):
        raise DataError(f"dtype = {dtype!r} must be one of auto, {', '.join(DTYPES)}")
    if path.is_dir():
        raise DataError(f'{path} is a folder; give a file of tokens, or a glob such as "{path}/*.bin"')
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; write tokens to it")
    known = _with_header(path)
    if known is None:
        shard = _raw(path, dtype)
    elif dtype not in ("auto", known.dtype.name):
        raise DataError(f'{path} says that it holds {known.dtype.name}, not {dtype}; leave dtype out, or set "auto"')
    else:
        shard = known
    _refuse_torn(shard)
    return shard


def _with_header(path: Path) -> Shard | None:
    """Of a file that says what it holds; None for one that is nothing but numbers."""
    if path.suffix == ".npy":
        return _npy(path)
    index = path.with_suffix(".idx")
    if index.exists():
        return _megatron(path, index)
    with path.open("rb") as file:
        head = file.read(12)
    magic, _, count = struct.unpack("<3i", head) if len(head) == 12 else (0, 0, 0)
    if magic not in _LLM_C:
        return None
    return Shard(path=path, dtype=_little(_LLM_C[magic]), offset=_LLM_C_HEADER, count=count)


def _npy(path: Path) -> Shard:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is torn or not an array of numbers ({error}); write it with numpy.save") from error
    if not isinstance(array, np.memmap) or array.dtype.name not in DTYPES or array.dtype.byteorder == ">":
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"{path} holds {kind}; save token ids as one of {', '.join(DTYPES)}")
    if array.ndim != 1:
        raise DataError(f"{path} has shape {array.shape}; save token ids in one row: numpy.save(path, ids.reshape(-1))")
    return Shard(path=path, dtype=array.dtype, offset=array.offset, count=len(array))


def _megatron(path: Path, index: Path) -> Shard:
    with index.open("rb") as file:
        head = file.read(len(_MEGATRON) + 8 + 1 + 8 + 8)
        if not head.startswith(_MEGATRON) or len(head) < 34:
            raise DataError(f"{index} is no index of Megatron-LM, or torn; remove it if {path.name} is tokens alone")
        version, code, sequences, documents = struct.unpack("<QBQQ", head[len(_MEGATRON) :])
        name = _MEGATRON_TYPES.get(code, f"type {code}")
        is_whole = index.stat().st_size >= len(head) + 12 * sequences + 8 * documents
        if version != 1 or name not in DTYPES or not is_whole:
            raise DataError(
                f"{index} (version {version}, {name}) is torn or of another kind; write it with Megatron-LM"
            )
        lengths = np.frombuffer(file.read(4 * sequences), "<i4")
        pointers, first = (np.frombuffer(file.read(8 * count), "<i8") for count in (sequences, documents))
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    dtype = _little(name)
    if not np.array_equal(pointers, ends[:-1] * dtype.itemsize):
        raise DataError(
            f"{index} has sequences that do not follow one another in {path.name}; write them in their order with "
            "Megatron-LM's tools/merge_datasets.py"
        )
    if documents and not 0 <= first.min() <= first.max() <= sequences:
        raise DataError(f"{index} names a sequence that it does not have; it is torn: copy or write it again")
    return Shard(path=path, dtype=dtype, offset=0, count=int(ends[-1]), documents=np.unique(ends[first]))


def _raw(path: Path, dtype: str) -> Shard:
    size = path.stat().st_size
    likely = _likely_type(path, size)
    if dtype == "auto" and likely == "uint8":
        raise DataError(
            f"{path} looks like single bytes, not numbers of 16 bits: the bytes in even and in odd places are alike; "
            'set dtype = "uint8", or "uint16" if that is what it is (in a study file: kwargs = { dtype = "uint8" } in '
            "[data])"
        )
    if dtype == "auto":
        dtype = likely or "uint16"
    elif likely is not None and dtype not in _ALLOWED[likely]:
        raise DataError(f'{path} looks like {likely} read as {dtype}; set dtype = "{likely}", or "auto"')
    kind = _little(dtype)
    if size % kind.itemsize:
        raise DataError(
            f"{path} has {size:,} bytes, no multiple of {kind.itemsize}, the bytes of a {dtype}; it is torn, or of "
            f"another type: set dtype to one of {', '.join(DTYPES)}"
        )
    return Shard(path=path, dtype=kind, offset=0, count=size // kind.itemsize)


def _likely_type(path: Path, size: int) -> str | None:
    """uint32 where the high half of every number is that of an id, uint16 where some is not; None where unclear.

    int64, which NumPy makes of a list of ids, where every second number of 32 bits is 0; uint8 where the two bytes of
    16 bits are alike in how often each value occurs.
    """
    pairs = size // 4
    if pairs < _FEWEST or size % 2:
        return None
    numbers = np.memmap(path, "<u2", mode="r", shape=(pairs, 2))
    starts = sorted({int(start) // 2 * 2 for start in np.linspace(0, max(0, pairs - _SAMPLE), _BLOCKS)})
    low, high = (int(max(numbers[start : start + _SAMPLE, half].max() for start in starts)) for half in (0, 1))
    if high >= _HIGH_HALF:
        sample = np.concatenate([numbers[start : start + _SAMPLE].reshape(-1) for start in starts])
        return "uint8" if _are_single_bytes(sample) else "uint16"
    if size % 8 == 0 and low > 0 and not any(numbers[start + 1 : start + _SAMPLE : 2].any() for start in starts):
        return "int64"
    return "uint32" if low >= _LOW_HALF or (high == 0 < low) else None


def _are_single_bytes(numbers: np.ndarray[Any, Any]) -> bool:
    """Whether the low and the high bytes of numbers of 16 bits are drawn alike, as those of a text are and of ids not:
    how far apart their shares are, against how far they are from evenly spread (total variation). Zeros may be padding,
    so they are left out."""
    numbers = numbers[numbers != 0]
    if len(numbers) < _FEWEST:
        return False
    low, high = (np.bincount(part, minlength=256) / len(numbers) for part in (numbers & 0xFF, numbers >> 8))
    both = (low + high) / 2
    uneven = np.abs(both - 1 / 256).sum() / 2
    if (both > 0).sum() < _VALUES or uneven < _SPREAD:
        return False
    return bool(np.abs(low - high).sum() / 2 < _ALIKE * uneven)


def _refuse_torn(shard: Shard) -> None:
    size = shard.path.stat().st_size
    if shard.count < 0 or shard.end > size:
        raise DataError(
            f"{shard.path} should hold {shard.count:,} tokens of {shard.dtype.name}, so {shard.end:,} bytes, and has "
            f"{size:,}; it is torn: copy or write it again"
        )


def _little(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")
