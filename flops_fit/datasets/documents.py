"""Documents in files: text, lines of JSON, Parquet, shards of samples, and folders that `datasets` saved."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from flops_fit.basics.arguments import did_you_mean
from flops_fit.datasets.tar_samples import TAR, TEXTS, Member, content, decoded, samples_of
from flops_fit.errors import DataError

Document = str | Sequence[int]
_PIECE = 1 << 22  # characters of one text file that are tokenized at once
LINES = (".jsonl", ".ndjson")
_UNREADABLE = (UnicodeDecodeError, gzip.BadGzipFile, EOFError)
_IN_KWARGS = " (in a study file: kwargs = { column = ... } in [data])"
_FOLDER_MARK = "dataset_info.json"


def is_saved_dataset(path: Path) -> bool:
    """Whether it is a folder that `datasets.Dataset.save_to_disk` wrote."""
    return (path / _FOLDER_MARK).is_file()


def has_rows(path: Path) -> bool:
    """Whether the file, or the saved folder, has a document in each row."""
    return path.is_dir() or Path(path.name.removesuffix(".gz")).suffix in (*LINES, ".parquet", TAR)


def parts_of(path: Path) -> list[Path]:
    """The files whose content decides what the documents of `path` are."""
    if not path.is_dir():
        return [path]
    if not is_saved_dataset(path):
        splits = sorted(item.name for item in path.iterdir() if is_saved_dataset(item))
        hint = (
            f'give one of its splits, such as "{path}/{splits[0]}"' if splits else f'give files, such as "{path}/*.txt"'
        )
        raise DataError(f"{path} is a folder; {hint}")
    return sorted(item for item in path.rglob("*") if item.is_file())


def pieces_of(path: Path, column: str) -> Iterator[tuple[Document, bool]]:
    """Documents in order, each as one or more pieces: a piece, and whether its document ends there.

    A text file is one document, cut after a line every 4 to 8 million characters; of lines of JSON, Parquet and saved
    datasets each row is one, by its `column` (of a dataset without it, `input_ids`); of `.tar` shards each sample.
    """
    if path.is_dir():
        return ((field_of(row, column, f"{path}, row {number:,}"), True) for number, row in enumerate(_saved(path)))
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind in LINES:
        return ((document, True) for document in _lines(path, column))
    if kind == ".parquet":
        return ((document, True) for document in _parquet(path, column))
    if path.suffix == TAR:
        return ((document, True) for document in _tar(path, column))
    return _text(path)


def _opened(path: Path) -> IO[str]:
    binary = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    return io.TextIOWrapper(binary, encoding="utf-8", newline="")  # line ends stay as they are


def _text(path: Path) -> Iterator[tuple[Document, bool]]:
    try:
        with _opened(path) as file:
            piece = file.read(_PIECE) + file.readline(_PIECE)
            while piece:
                following = file.read(_PIECE) + file.readline(_PIECE)
                yield piece, not following
                piece = following
    except _UNREADABLE as error:
        raise _not_text(path, error) from error


def _lines(path: Path, column: str) -> Iterator[Document]:
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield field_of(_row(line, f"{path}, line {number:,}"), column, f"{path}, line {number:,}")
    except _UNREADABLE as error:
        raise _not_text(path, error) from error


def _tar(path: Path, column: str) -> Iterator[Document]:
    """The member of each sample that `column` names by its ending, or that field of its .json."""
    endings = {"text": TEXTS, "input_ids": ("npy",)}.get(column, (column,))
    for key, members in samples_of(path):
        where = f"{path}, sample {key}"
        found = next((ending for ending in endings if ending in members), None)
        if found is None and "json" in members:
            yield field_of(_row(_text_of(path, members["json"]), where), column, where)
        elif found is None:
            raise DataError(
                f"{where} has {', '.join(f'.{name}' for name in members)} and no .{endings[0]}; set column to the "
                f"ending that is the text{_IN_KWARGS}"
            )
        elif found.rpartition(".")[2] == "npy":
            yield decoded(content(path, members[found]), found, f"{where}, its .{found}").tolist()
        else:
            yield _text_of(path, members[found])


def _text_of(path: Path, member: Member) -> str:
    try:
        return content(path, member).decode()
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def _row(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}); a .jsonl file has one object in each line") from error
    if not isinstance(row, dict):
        raise DataError(f'{where} is a {type(row).__name__}, not an object; write lines such as {{"text": "..."}}')
    return row


def field_of(row: Mapping[str, Any], column: str, where: str) -> Document:
    """The text or ids of a row's `column`; raises `DataError` naming `where` and what stands there."""
    value = row.get(column, row.get("input_ids") if column == "text" else None)
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(item, int) for item in value):
        return value
    if value is not None and hasattr(value, "tolist"):  # a dataset in NumPy's or torch's format
        return field_of({column: value.tolist()}, column, where)
    if column in row:
        found = "nothing (null)" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
        others = [name for name in row if name != column]
        raise DataError(
            f"{where} has no text or list of ids in {column!r} but {found}; take the row out, or mend it"
            + (f", or set column to one of {', '.join(others)}{_IN_KWARGS}" if others else "")
        )
    hint = did_you_mean(
        column, list(row), f"it has {', '.join(row) or 'nothing'}: set column to one of these{_IN_KWARGS}"
    )
    raise DataError(f"{where} has no text or list of ids in {column!r}; {hint}")


def _parquet(path: Path, column: str) -> Iterator[Document]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path} needs the package pyarrow: pip install pyarrow") from error
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        wanted = column if column in names else "input_ids" if column == "text" and "input_ids" in names else None
        if wanted is None:
            raise DataError(
                f"{path} has no column {column!r}; {did_you_mean(column, names, f'set column to one of {names}')}"
            )
        for batch in file.iter_batches(columns=[wanted]):
            for number, row in enumerate(batch.to_pylist()):
                yield field_of(row, wanted, f"{path}, row {number:,} of a batch")


def _saved(path: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{path} was saved by Hugging Face's datasets, which is not installed: pip install datasets"
        ) from error
    return datasets.load_from_disk(str(path)).with_format(None)


def _not_text(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not UTF-8 text ({error}); convert it, such as by iconv -f latin1 -t utf-8, or, if it is a file of "
        "tokens, name it .bin or .npy"
    )
