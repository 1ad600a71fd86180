"""Tables as they lie on disk: read whatever the encoding and the separator, or refused in one line."""

import csv
import gzip
import io
import json
import os
import sys
import zipfile

import pandas as pd
import pytest

from flops_fit import fit_scaling_law
from flops_fit.errors import FileError, FitError
from flops_fit.results.results import load_runs
from flops_fit.synthetic import synthetic_runs
from flops_fit.tables.named import named_table

BASE = synthetic_runs(noise=0.003, span=6, seed=3).assign(reason="né")
TEXT = BASE.to_csv(index=False)
BASE_MARKDOWN = "| num_params | num_tokens | loss |\n|---|:-:|--:|\n" + "".join(
    f"| {N} | {D} | {loss} |\n" for N, D, loss in zip(BASE.num_params, BASE.num_tokens, BASE.loss, strict=True)
)


def zipped(files):
    """A zip file of texts by name."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return written.getvalue()


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
    "utf16_without_mark.csv": TEXT.encode("utf-16-le"),
    "utf16_big_endian.csv": TEXT.encode("utf-16-be"),
    "utf32.csv": TEXT.encode("utf-32"),
    "old_mac.csv": TEXT.replace("\n", "\r").encode(),
    "remarks.csv": ("# my runs\n% of 2024\n" + TEXT + "\n# the end\n\n").encode(),
    "heading_in_a_remark.csv": ("# " + TEXT).encode(),
    "title.csv": ("Table 3: my runs,,,\n\n" + TEXT).encode(),
    "excel_says.csv": b"sep=;\n" + BASE.to_csv(index=False, sep=";").encode(),
    "empty_rows.csv": (TEXT + ",,,,,,,,\n\n ,,,,,,,,\n").encode(),
    "appended.csv": (TEXT + TEXT.splitlines()[0] + "\n").encode(),
    "single_quotes.csv": BASE.to_csv(index=False, quoting=csv.QUOTE_ALL, quotechar="'").encode(),
    "spaces.txt": BASE[["num_params", "num_tokens", "loss"]].to_string(index=False).encode(),
    "markdown.md": BASE_MARKDOWN.encode(),
    "no_ending": TEXT.encode(),
    "SHOUTED.CSV": TEXT.encode(),
    "packed_under_a_plain_name.csv": gzip.compress(TEXT.encode()),
    "plain_under_a_packed_name.csv.gz": TEXT.encode(),
    "zipped.zip": zipped({"runs.csv": TEXT}),
    "lines_called.json": BASE.to_json(orient="records", lines=True).encode(),
    "list_called.jsonl": BASE.to_json(orient="records").encode(),
    "lines.ndjson": BASE.to_json(orient="records", lines=True).encode(),
    **{f"{orient}.json": BASE.to_json(orient=orient).encode() for orient in ("columns", "index", "split", "table")},
    "wrapped.json": json.dumps({"made": "2024", "runs": BASE.to_dict(orient="records")}).encode(),
    "thousands_with_points.csv": BASE.assign(num_params=[f"{N:_.0f}".replace("_", ".") for N in BASE.num_params])
    .to_csv(index=False, sep=";", decimal=",")
    .encode(),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_table_is_the_same_however_it_is_written(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GOOD[name])
    table = named_table(load_runs(path)).frame
    assert table["loss"].tolist() == pytest.approx(BASE["loss"].tolist(), rel=1e-5)
    assert table["num_params"].tolist() == pytest.approx(BASE["num_params"].tolist(), rel=1e-5)


BAD = {
    "ragged.csv": (TEXT.encode() + b"1,2,3,4,5,6,7,8,9,10,11,12\n", r"line 37 has 12 fields where the header has 9"),
    "empty.csv": (b"", "it is empty"),
    "header.csv": (TEXT.splitlines()[0].encode(), "has no rows"),
    "twice.csv": (TEXT.replace("num_tokens", "num_params", 1).encode(), "more than one column num_params; keep one"),
    "torn.json": (b'[{"a": 1}, {"b"', "is not a table of runs"),
    "torn.jsonl": (b'{"a": 1}\n{"b"', "line 2 is no JSON"),
    "binary.xlsx": (b"PK\x03\x04", "xlsx"),
    "binary.parquet": (b"PAR1", "parquet"),
    "broken.csv.gz": (b"\x1f\x8bno gzip", "is not a table of runs"),
    "notes.docx": (b"x", r"is no directory, \.csv, \.tsv"),
    "ragged_below_remarks.csv": (b"# a\n\n" + TEXT.encode() + b"1,2,3,4,5,6,7,8,9,10,11,12\n", "line 39 has 12 fields"),
    "no_headings.csv": (TEXT.split("\n", 1)[1].encode(), r"has numbers \(synthetic-0000, .*put one above it, such as"),
    "remarks_alone.csv": (b"# nothing\n", "has remarks alone"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n\x00\x01\x02", "is no text"),
    "page.csv": (b"<!DOCTYPE html><html>404</html>", "is a web page; download the file itself"),
    "pointer.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "two_files.zip": (zipped({"a.csv": TEXT, "b.csv": TEXT}), "zip file of 2 files; give one of them"),
    "csv_called.xlsx": (TEXT.encode(), "is no Excel workbook; give it the ending of what it is"),
    "number.json": (b"3", "it holds 3, not runs; give a list of runs"),
    "numbers.json": (b"[1, 2]", "it holds a list of other things, not runs"),
    "jagged.json": (b'{"a": [1, 2], "b": [1]}', r"different lengths \(\{'a': 2, 'b': 1\}\)"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "odd_line.jsonl": (b'{"a": 1}\n[1, 2]\n', r"line 2 is no run \(\[1, 2\]\)"),
    "pickled.pkl": (b"x", "is no directory"),
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


def test_units_in_a_row_below_the_headings_are_those_of_the_columns(tmp_path):
    path = tmp_path / "runs.csv"
    scaled = BASE[["num_params", "num_tokens", "loss"]].assign(num_params=BASE.num_params / 1e6)
    header, rows = scaled.to_csv(index=False).split("\n", 1)
    path.write_text(f"{header}\nM,tokens,nats\n{rows}")
    read = named_table(load_runs(path))
    assert read.frame["num_params"].tolist() == pytest.approx(BASE["num_params"].tolist())
    assert read.loss_unit == "nats per token"


def test_a_directory_of_tables_names_them(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    with pytest.raises(FileError, match=r"holds no \*/result\.json; give the directory .* or a table of its: a\.csv"):
        load_runs(tmp_path)


def test_an_address_is_not_taken_for_a_path():
    with pytest.raises(FitError, match="is an address; download it, and give the file"):
        fit_scaling_law("https://example.com/runs.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(TEXT)
    path.chmod(0)
    with pytest.raises(FileError, match=r"cannot be read \(Permission denied\); make it readable, or give a copy"):
        load_runs(path)


def test_parquet_is_read_where_its_reader_is_installed(tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("runs.parquet", "called.csv"):
        BASE.to_parquet(tmp_path / name)
        assert load_runs(tmp_path / name)["loss"].tolist() == BASE["loss"].tolist()


def test_a_sheet_of_runs_is_found_below_its_title_and_behind_another(tmp_path):
    pytest.importorskip("openpyxl")
    path = tmp_path / "runs.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"notes": ["of 2024"]}).to_excel(book, sheet_name="read me", index=False)
        BASE.drop(columns="reason").to_excel(book, sheet_name="runs", index=False, startrow=3)
    table = load_runs(path)
    assert table["loss"].tolist() == pytest.approx(BASE["loss"].tolist())
    assert table["num_params"].dtype == float


@pytest.mark.parametrize(("name", "package"), [("runs.parquet", "pyarrow"), ("runs.xlsx", "openpyxl")])
def test_a_reader_that_is_not_installed_is_named_with_its_install(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    path = tmp_path / name
    path.write_bytes(b"PAR1 PAR1" if package == "pyarrow" else zipped({"xl/workbook.xml": "<workbook/>"}))
    message = f"needs {package}, which is not installed: pip install {package}, or save it as"
    with pytest.raises(FileError, match=message):
        load_runs(path)
