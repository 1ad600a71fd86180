"""Tables as they lie on disk: read whatever the encoding and the separator, or refused in one line."""

import gzip
import json

import pytest

from flops_fit import fit_scaling_law
from flops_fit.errors import FileError
from flops_fit.results.results import load_runs
from flops_fit.synthetic import synthetic_runs

BASE = synthetic_runs(noise=0.003, span=6, seed=3).assign(reason="né")
TEXT = BASE.to_csv(index=False)
GOOD = {
    "plain.csv": TEXT.encode(),
    "bom.csv": TEXT.encode("utf-8-sig"),
    "utf16.csv": TEXT.encode("utf-16"),
    "latin.csv": TEXT.encode("latin-1"),
    "semicolons.csv": BASE.to_csv(index=False, sep=";").encode(),
    "decimal_commas.csv": BASE.to_csv(index=False, sep=";", decimal=",").encode(),
    "tabs.csv": BASE.to_csv(index=False, sep="\t").encode(),
    "tabs.tsv": BASE.to_csv(index=False, sep="\t").encode(),
    "bars.txt": BASE.to_csv(index=False, sep="|").encode(),
    "packed.csv.gz": gzip.compress(TEXT.encode()),
    "records.json": BASE.to_json(orient="records").encode(),
    "lines.jsonl": BASE.to_json(orient="records", lines=True).encode(),
    "trailing.csv": TEXT.replace("\n", ",\n").encode(),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_table_is_the_same_however_it_is_written(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GOOD[name])
    table = load_runs(path)
    assert table["loss"].tolist() == pytest.approx(BASE["loss"].tolist())
    assert table["num_params"].tolist() == pytest.approx(BASE["num_params"].tolist())


BAD = {
    "ragged.csv": (TEXT.encode() + b"1,2,3,4,5,6,7,8,9,10,11,12\n", r"line 37 has 12 fields where the header has 9"),
    "empty.csv": (b"", "it is empty"),
    "header.csv": (TEXT.splitlines()[0].encode(), "has no rows"),
    "twice.csv": (TEXT.replace("num_tokens", "num_params", 1).encode(), "more than one column num_params; keep one"),
    "torn.json": (b'[{"a": 1}, {"b"', "is not a table of runs"),
    "torn.jsonl": (b'{"a": 1}\n{"b"', "line 2 is no JSON"),
    "binary.xlsx": (b"PK\x03\x04", "xlsx"),
    "binary.parquet": (b"PAR1", "parquet"),
    "broken.csv.gz": (b"no gzip", "is not a table of runs"),
    "notes.docx": (b"x", r"is no directory, \.csv, \.tsv"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=message) as raised:
        load_runs(path)
    assert "\n" not in str(raised.value)


def test_a_law_is_no_table(tmp_path):
    path = tmp_path / "law.json"
    path.write_text(json.dumps({"schema": "flops_fit.scaling_law/1", "E": 1.7}))
    with pytest.raises(FileError, match=r"holds 'flops_fit\.scaling_law/1', not runs; give the table"):
        fit_scaling_law(path)
