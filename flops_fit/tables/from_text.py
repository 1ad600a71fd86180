"""Tables as text: any encoding and separator, remarks and titles above the headings, decimal commas."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flops_fit.tables.grid import Malformed, checked_header, header_row, is_empty, known_headings, with_units

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
_MARKS = (  # of an encoding; that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+(?:[eE][+-]?\d+)?")
_DECIMAL_POINT = re.compile(r"-?\d+\.\d+(?:[eE][+-]?\d+)?")
_GROUPED = re.compile(r"-?\d{1,3}(?:\.\d{3})+")
_SAID = re.compile(r"\s*sep=(.)\s*")  # first line, for Excel
_RULE = re.compile(r"[\s|:+=-]*-[\s|:+=-]*")  # under the headings, in Markdown
_BINARY = re.compile("[\x00-\x08\x0e-\x1f]")
_REMARKS = ("#", "%", "//")
_GIT_LFS = "version https://git-lfs"
Line = tuple[int, str]


def decoded(content: bytes) -> str:
    """Text in UTF-8, UTF-16 or UTF-32 with or without its mark, else in Latin-1, which any bytes are."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    head = content[:2000]
    if len(head) > 3 and head.count(0) > 0.3 * len(head):  # every other byte of plain text in UTF-16 is 0
        return content.decode("utf-16-le" if head[1] == 0 else "utf-16-be")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def from_text(text: str) -> pd.DataFrame:
    """The table; raises `Malformed` with the line and the remedy where it is none."""
    import pandas as pd

    lines = _lines(text)
    separator = _separator(lines)
    quote = "'" if _quoted_singly(lines, separator) else '"'
    rows, numbers = _split(lines, separator, quote)
    at = header_row(rows)
    header = checked_header(rows[at])
    below = [(number, row) for number, row in zip(numbers[at + 1 :], rows[at + 1 :], strict=True) if not is_empty(row)]
    below = [(number, row) for number, row in below if [cell.strip() for cell in row] != header]  # of a file appended
    for number, row in below:
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise Malformed(
                f"line {number} has {len(row)} fields where the header has {len(header)}; correct that line"
            )
    if below and (united := with_units(header, below[0][1])) is not None:
        header, below = united, below[1:]
    cells = [cell.strip() for _, row in below for cell in row]
    commas = separator != "," and _has_decimal_commas(cells)
    written = io.StringIO()
    csv.writer(written).writerows([header, *(_exactly(row, len(header)) for _, row in below)])
    written.seek(0)
    kept = [column for column, name in enumerate(header) if name]
    return pd.read_csv(written, decimal="," if commas else ".", index_col=False, usecols=kept)


def _exactly(row: Sequence[str], count: int) -> list[str]:
    return [cell.strip() for cell in [*row[:count], *[""] * (count - len(row))]]


def _lines(text: str) -> list[Line]:
    """Lines with their numbers, without empty ones and remarks; the remark is kept that holds the headings."""
    if not text.strip():
        raise Malformed("it is empty; give a table with a line of column names")
    if _BINARY.search(text.rstrip("\x00\x1a")):
        raise Malformed("it is no text; give a table of runs, with the ending of what it is")
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html")):
        raise Malformed("it is a web page; download the file itself")
    if start.startswith(_GIT_LFS):
        raise Malformed("it is a pointer of Git LFS; fetch the file with git lfs pull")
    text = text.rstrip("\x00\x1a").replace("\r\n", "\n").replace("\r", "\n")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    lines = [line for line in lines if not _RULE.fullmatch(line[1])]
    remarks = [line for line in lines if line[1].lstrip().startswith(_REMARKS)]
    kept = [line for line in lines if not line[1].lstrip().startswith(_REMARKS)]
    if not kept:
        raise Malformed("it has remarks alone; give a table with a line of column names")
    headings = [(number, line.lstrip("#%/ ")) for number, line in remarks]
    separator = _separator(kept)
    if known_headings(kept[0][1].split(separator)) < 2:
        named = [line for line in headings if line[0] < kept[0][0] and known_headings(line[1].split(separator)) > 1]
        kept = [*named[-1:], *kept]
    return kept


def _separator(lines: Sequence[Line]) -> str:
    """What is between the headings, which `sep=;` above them may say; spaces where there is no other."""
    first = lines[0][1]
    if said := _SAID.fullmatch(first):
        return said[1]
    for _, line in lines[:30]:
        by_count = max(SEPARATORS, key=line.count)
        if known_headings(line.strip("|").split(by_count)) > 1:
            return by_count
        if known_headings(line.split()) > 1 and not any(mark in line for mark in SEPARATORS):
            return " "
    return max(SEPARATORS, key=first.count)


def _quoted_singly(lines: Sequence[Line], separator: str) -> bool:
    cells = [cell.strip() for cell in lines[0][1].split(separator)]
    return all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells)


def _split(lines: Sequence[Line], separator: str, quote: str) -> tuple[list[list[str]], list[int]]:
    """Rows of cells, and the number of the line that each ends in."""
    kept = [line for line in lines if not _SAID.fullmatch(line[1])]
    texts = [line.strip().strip("|") if separator == "|" else line for _, line in kept]
    if separator == " ":
        return [text.split() for text in texts], [number for number, _ in kept]
    reader = csv.reader((text + "\n" for text in texts), delimiter=separator, quotechar=quote, skipinitialspace=True)
    rows, numbers = [], []
    for row in reader:
        rows.append([cell.strip() for cell in row])
        numbers.append(kept[reader.line_num - 1][0])
    return rows, numbers


def _has_decimal_commas(cells: Sequence[str]) -> bool:
    """Whether numbers have commas, and points at most between thousands."""
    points = [cell for cell in cells if _DECIMAL_POINT.fullmatch(cell) and not _GROUPED.fullmatch(cell)]
    return any(map(_DECIMAL_COMMA.fullmatch, cells)) and not points
