"""What is wrong with a machine or a study is said in one line with its remedy: exit code 1, and no traceback."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.cli import main
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.instance.trouble import readable

pytestmark = DAGSTER_WARNINGS


def said(*command, home):
    """The one line that a command says when it fails."""
    done = CliRunner().invoke(main, [str(part) for part in command], env={"FLOPS_FIT_HOME": str(home)})
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    lines = done.output.strip().splitlines()
    assert len(lines) == 1, done.output
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.mark.skipif(not os.path.isdir("/sys"), reason="needs a folder in which not even root can write")
def test_a_home_that_cannot_be_written(tmp_path):
    line = said("run", write_study(tmp_path), home="/sys/flops_fit")
    assert "/sys/flops_fit" in line
    assert "make it writable, or give another directory with FLOPS_FIT_HOME" in line


def test_a_home_that_is_a_file(tmp_path):
    (tmp_path / "home").write_text("mine")
    line = said("run", write_study(tmp_path), home=tmp_path / "home")
    assert "move what is there away, or give another directory with FLOPS_FIT_HOME" in line
    assert (tmp_path / "home").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("telemetry: [", "while parsing"),
        ("colour: blue\n", 'unexpected config entry "colour"'),
        ("- 1\n- 2\n", "dagster.yaml"),
        ("run_storage:\n  module: no_such_module\n  class: Storage\n", "no_such_module"),
    ],
)
def test_a_damaged_configuration_of_dagster(tmp_path, content, reason):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(content)
    line = said("run", write_study(tmp_path), home=tmp_path)
    assert reason in line
    assert line.endswith("correct it, or delete it to have it written again")


@pytest.mark.parametrize("damage", [b"this is no database" * 500, None], ids=["other bytes", "a folder"])
@pytest.mark.parametrize("database", ["runs.db", "runs/index.db"])
def test_a_damaged_history_of_dagster(tmp_path, database, damage):
    study = write_study(tmp_path)
    with open_instance(tmp_path, 2):
        path = tmp_path / "dagster" / "history" / database
    assert path.exists()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    path.mkdir() if damage is None else path.write_bytes(damage)
    line = said("run", study, home=tmp_path)
    assert f"Dagster's database in {tmp_path / 'dagster'} cannot be used" in line
    assert "run again" in line or "FLOPS_FIT_HOME" in line


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:\n", r"SyntaxError: invalid syntax (broken_model.py, line 1)"),
        ("x = 1\n\nraise ValueError('too few files')\n", "ValueError: too few files (broken_model.py, line 3)"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0 (broken_model.py, line 2)"),
        ("class Model\x00:\n", "null bytes"),
        ("raise RuntimeError('a\\x1b[31m\\n' * 5000)", r"RuntimeError: a\x1b[31m"),
    ],
)
def test_a_module_of_the_users_that_cannot_be_imported(tmp_path, monkeypatch, source, reason):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "broken_model", raising=False)
    (tmp_path / "broken_model.py").write_text(source)
    for command in ("plan", "run"):
        line = said(command, write_study(tmp_path, module="broken_model", model="Model"), home=tmp_path)
        assert "[model] factory = 'broken_model:Model' cannot be imported: " in line
        assert reason in line


def test_data_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "broken_data", raising=False)
    (tmp_path / "broken_data.py").write_text("def train():\n    return open('/no/such/file')\n")
    study = write_study(tmp_path)
    study.write_text(study.read_text().replace("tiny_study:train", "broken_data:train"))
    line = said("run", study, home=tmp_path)
    assert "data.train raised FileNotFoundError" in line
    assert "(broken_data.py, line 2); correct it there" in line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_sizes_per_budget = 4", f"num_sizes_per_budget = {'9' * 5000}"),
        ("num_sizes_per_budget = 4", f"num_sizes_per_budget = {'9' * 400}"),
        ("workers = 1", "workers = 1e400"),
        ("price_per_hour = 2.0", "price_per_hour = nan"),
        ("[300000.0, 600000.0]", f"[{'9' * 400}]"),
        ("learning_rate = 0.02", "learning_rate = 1e999"),
    ],
)
def test_a_huge_number_in_a_study_file(tmp_path, old, new):
    study = write_study(tmp_path)
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, new))
    assert str(study) in said("plan", study, home=tmp_path)


def test_a_directory_instead_of_a_study_file(tmp_path):
    assert "is a directory without study.toml; give the path of a study.toml, or begin a study" in said(
        "plan", tmp_path, home=tmp_path
    )


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b'{"a": [', b"[" * 3000, b"1", b'"a"b,'])
def test_a_damaged_table_of_runs(tmp_path, kind, content):
    table = tmp_path / f"runs.{kind}"
    table.write_bytes(content)
    line = said("fit", table, home=tmp_path)
    refused = (f"{table} is not a table of runs", f"{table} has no rows", "needed are num_params, loss and num_tokens")
    assert any(text in line for text in refused)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            OSError(28, "No space left on device", "/d/f"),
            "/d/f: No space left on device; free some space",
        ),
        (sqlite3.OperationalError("database or disk is full"), "free some space and run again"),
        (sqlite3.OperationalError("disk I/O error"), "the disk is full or fails; free some space"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "make it writable, or give another"),
        (
            sqlite3.DatabaseError("database disk image is malformed"),
            "its history is lost, and nothing is trained again",
        ),
        (sqlite3.OperationalError("database is locked"), "another process holds it"),
    ],
)
def test_each_trouble_has_its_remedy(error, remedy):
    outer = RuntimeError("in a library")
    outer.__cause__ = error
    assert remedy in readable(outer)
    assert readable(ValueError("a bug")) is None
    assert Path("dagster").name in readable(error) or isinstance(error, OSError)
