"""Tables as JSON: records, columns, whatever pandas writes, or lines with a record each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flops_fit.tables.grid import Malformed, known_headings

if TYPE_CHECKING:
    import pandas as pd

_OURS = "flops_fit."


def from_json(text: str) -> pd.DataFrame:
    """The table in a JSON document, or in one document a line; raises `Malformed` where there is none."""
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[: error.pos].count("\n") <= 1:
            return from_lines(text)
        raise Malformed(f"line {error.lineno} is no JSON ({error.msg}); it may be torn: write it again") from error
    except RecursionError as error:
        raise Malformed("it is nested too deeply; give a list of runs") from error
    return _table(given)


def from_lines(text: str) -> pd.DataFrame:
    """The table whose rows are lines of JSON."""
    rows: list[Any] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise Malformed(f"line {number} is no JSON ({error.msg}); correct or remove it") from error
        if not isinstance(rows[-1], Mapping) and not (number == 1 and isinstance(rows[-1], list)):
            raise Malformed(f"line {number} is no run ({line.strip()[:40]}); give an object with its columns")
    return _table(rows[0] if len(rows) == 1 else rows)


def _table(given: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(given, Mapping) and str(given.get("schema", "")).startswith(_OURS):
        raise Malformed(f"it holds {given['schema']!r}, not runs; give the table that it was made of")
    if isinstance(given, Mapping) and {"columns", "data"} <= given.keys():  # as pandas splits it
        return pd.DataFrame(given["data"], columns=given["columns"])
    records = _records(given)
    if records is not None:
        return pd.json_normalize([dict(record) for record in records])
    if isinstance(given, Mapping) and all(isinstance(value, list | Mapping) for value in given.values()):
        lengths = {str(name): len(value) for name, value in given.items()}
        if len(set(lengths.values())) > 1:
            raise Malformed(f"its columns have different lengths ({lengths}); give each run a value in all of them")
        return pd.DataFrame(given)
    if given in (None, [], {}):
        return pd.DataFrame()
    raise Malformed(f"it holds {_words(given)}, not runs; give a list of runs, each with its columns")


def _records(given: Any) -> list[Mapping[str, Any]] | None:
    """A list of runs, wherever it is: alone, under a name such as "runs", or by the runs' own names."""
    if _is_records(given):
        return list(given)
    if not isinstance(given, Mapping):
        return None
    within = [value for value in given.values() if _is_records(value)]
    if len(within) == 1:
        return list(within[0])
    runs = list(given.values())
    if _is_records(runs) and known_headings(list(runs[0])) > 1:
        return runs
    if given and not any(isinstance(value, list | Mapping) for value in given.values()):
        return [given]
    return None


def _is_records(value: Any) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _words(value: Any) -> str:
    return "a list of other things" if isinstance(value, list) else repr(value)[:40]
