"""Tables of runs as they lie on disk: text in any encoding and with any separator, compressed, JSON, Parquet, Excel."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.errors import FileError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
_OPENERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+(?:[eE][+-]?\d+)?")
_DECIMAL_POINT = re.compile(r"-?\d+\.\d+(?:[eE][+-]?\d+)?")
KINDS = ".csv, .tsv, .txt, .json, .jsonl, .parquet or .xlsx"


def read_table(path: Path) -> pd.DataFrame:
    """The table at `path`, of the kind that its name says, with .gz, .bz2 or .xz after it.

    Raises `FileNotFoundError` where nothing is there, and `FileError` where it is no table: which line, and what to do.
    """
    compressed = path.suffix.lower() in _OPENERS
    kind = Path(path.stem).suffix.lower() if compressed else path.suffix.lower()
    readers: dict[str, Callable[[bytes], pd.DataFrame]] = {
        **dict.fromkeys((".csv", ".tsv", ".txt"), _from_text),
        ".json": _from_json,
        ".jsonl": _from_lines,
        ".parquet": _from_parquet,
        ".xlsx": _from_excel,
    }
    if kind not in readers:
        raise FileError(f"{path} is no directory, {KINDS} file; give one of these")
    try:
        content = path.read_bytes()
        table = readers[kind](_OPENERS[path.suffix.lower()](content) if compressed else content)
    except FileNotFoundError:
        raise
    except ImportError as error:
        package = {".parquet": "pyarrow", ".xlsx": "openpyxl"}[kind]
        raise FileError(
            f"{path} needs {package}, which is not installed: pip install {package}, or save it as .csv"
        ) from (error)
    except Exception as error:  # pandas and its readers raise of every kind
        raise FileError(f"{path} is not a table of runs: {_said(error)}") from error
    if not len(table):
        raise FileError(f"{path} has no rows; a law needs completed runs with N, D and loss")
    return table


def _said(error: Exception) -> str:
    text = str(error).strip()
    return text if isinstance(error, _Malformed) else f"{type(error).__name__}: {text}; correct it"


class _Malformed(ValueError):
    """What is wrong with a table, with its remedy."""


def _decoded(content: bytes) -> str:
    """Text in UTF-8 or UTF-16 with or without its mark, else in Latin-1, which any bytes are."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _from_text(content: bytes) -> pd.DataFrame:
    import pandas as pd

    text = _decoded(content)
    if not text.strip():
        raise _Malformed("it is empty; give a table with a line of column names")
    separator = _separator(text)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len([*row]) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise _Malformed(
                f"line {number} has {len(row)} fields where the header has {len(header)}; correct that line"
            )
    twice = sorted(name for name, count in Counter(header).items() if count > 1 and name)
    if twice:
        raise _Malformed(f"it has more than one column {', '.join(twice)}; keep one of each")
    cells = [cell.strip() for row in rows[1:] for cell in row]
    commas = (
        separator != "," and any(map(_DECIMAL_COMMA.fullmatch, cells)) and not any(map(_DECIMAL_POINT.fullmatch, cells))
    )
    return pd.read_csv(io.StringIO(text), sep=separator, decimal="," if commas else ".", skipinitialspace=True,
                       index_col=False, usecols=range(len(header)))  # fmt: skip


def _separator(text: str) -> str:
    """The one that is in the header most often; a comma where there is none."""
    header = next(line for line in text.splitlines() if line.strip())
    return max(SEPARATORS, key=header.count)


def _from_json(content: bytes) -> pd.DataFrame:
    import pandas as pd

    given: Any = json.loads(_decoded(content))
    if isinstance(given, dict) and str(given.get("schema", "")).startswith("flops_fit."):
        raise _Malformed(f"it holds {given['schema']!r}, not runs; give the table that it was made of")
    return pd.DataFrame(given)


def _from_lines(content: bytes) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for number, line in enumerate(_decoded(content).splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise _Malformed(f"line {number} is no JSON ({error.msg}); correct or remove it") from error
    return pd.DataFrame(rows)


def _from_parquet(content: bytes) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(content))


def _from_excel(content: bytes) -> pd.DataFrame:
    import pandas as pd

    return pd.read_excel(io.BytesIO(content))
