"""Tables of runs as they lie on disk: text in any encoding and with any separator, compressed, JSON, Parquet, Excel."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from flops_fit.errors import FileError
from flops_fit.tables.from_json import from_json, from_lines
from flops_fit.tables.from_text import Malformed, decoded, from_text
from flops_fit.tables.grid import from_rows

if TYPE_CHECKING:
    import pandas as pd

KINDS = ".csv, .tsv, .txt, .json, .jsonl, .parquet or .xlsx"
_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
}
_ENDINGS = (".gz", ".bz2", ".xz", ".zip")
_ZIP, _PARQUET = b"PK\x03\x04", b"PAR1"
_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat", ".psv", ".md", "")
_JSON, _LINES = (".json",), (".jsonl", ".ndjson")
_PACKAGES = {".parquet": "pyarrow", ".xlsx": "openpyxl"}


def read_table(path: Path) -> pd.DataFrame:
    """The table at `path`, of the kind that its name says, or its first bytes where these know better.

    Raises `FileNotFoundError` where nothing is there, and `FileError` where it is no table: which line, and what to do.
    """
    kind = _kind_by_name(path)
    if kind not in (*_TEXT, *_JSON, *_LINES, *_PACKAGES):
        raise FileError(f"{path} is no directory, {KINDS} file; give one of these")
    try:
        table = _read(_content(path), kind)
    except FileNotFoundError:
        raise
    except ImportError as error:
        package = _PACKAGES[".xlsx" if "openpyxl" in str(error) else ".parquet"]
        raise FileError(
            f"{path} needs {package}, which is not installed: pip install {package}, or save it as .csv"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise FileError(f"{path} cannot be read ({error.strerror}); make it readable, or give a copy") from error
        raise FileError(f"{path} is not a table of runs: {_said(error)}") from error
    except Exception as error:  # pandas and its readers raise of every kind
        raise FileError(f"{path} is not a table of runs: {_said(error)}") from error
    if not len(table):
        raise FileError(f"{path} has no rows; a law needs completed runs with N, D and loss")
    return table


def _kind_by_name(path: PurePath) -> str:
    name = path.name.lower()
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return PurePath(name).suffix


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, Malformed) else f"{type(error).__name__}: {text}; save it as .csv"


def _content(path: Path) -> bytes:
    """The bytes at `path`, unpacked as their first ones say."""
    content = path.read_bytes()
    for start, unpack in _PACKED.items():
        if content.startswith(start):
            return unpack(content)
    return content


def _read(content: bytes, kind: str) -> pd.DataFrame:
    if content.startswith(_ZIP):
        return _from_zip(content)
    if content.startswith(_PARQUET) or kind == ".parquet":
        return _from_parquet(content)
    if kind == ".xlsx":
        raise Malformed("it is no Excel workbook; give it the ending of what it is, such as .csv")
    if kind in (*_JSON, *_LINES):
        return from_json(decoded(content)) if kind in _JSON else from_lines(decoded(content))
    return from_text(decoded(content))


def _from_zip(content: bytes) -> pd.DataFrame:
    """An Excel workbook, which is a zip file too, or the one table in a zip file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if any(name.startswith("xl/") for name in names):
                return _from_excel(content)
            if len(names) != 1:
                raise Malformed(f"it is a zip file of {len(names)} files; give one of them")
            return _read(packed.read(names[0]), _kind_by_name(PurePath(names[0])))
    except zipfile.BadZipFile as error:
        raise Malformed("it is a zip file or an .xlsx that is torn; copy it again") from error


def _from_parquet(content: bytes) -> pd.DataFrame:
    import pandas as pd

    if not content.startswith(_PARQUET):
        raise Malformed("it is no Parquet file; give it the ending of what it is, such as .csv")
    return pd.read_parquet(io.BytesIO(content))


def _from_excel(content: bytes) -> pd.DataFrame:
    """Of several sheets the first whose headings are those of runs."""
    import pandas as pd

    sheets = pd.read_excel(io.BytesIO(content), sheet_name=None, header=None)
    tables = [from_rows(sheet.to_numpy(dtype=object).tolist()) for sheet in sheets.values()]
    known = [table for table, headings in tables if headings > 1]
    return known[0] if known else tables[0][0]
