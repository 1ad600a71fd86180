"""What a process has loaded is known to be as it was, or not to be."""

import contextlib
import importlib
import importlib.util
import os
import py_compile
import sqlite3
import sys
from pathlib import Path

import pytest

from flops_fit_assets.warm_runs.sources import FilesRead, Sources, now


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """`Sources` of a module in a folder of its own, long after it was written, and its file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "watched_source.py"
    file.write_text("VALUE = 1\n")
    before = set(sys.modules)
    importlib.import_module("watched_source")
    yield Sources.loaded(now() + 1, besides=before), file
    del sys.modules["watched_source"]


def test_what_nobody_touched_is_unchanged(loaded):
    sources, file = loaded
    assert str(file) in sources.files
    assert sources.unchanged


def test_a_write_is_seen_also_where_the_file_keeps_its_time_and_size(loaded):
    sources, file = loaded
    was = file.stat()
    file.write_text("VALUE = 2\n")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert file.stat().st_mtime_ns == was.st_mtime_ns
    assert not sources.unchanged


def test_a_file_that_is_gone_is_seen(loaded):
    sources, file = loaded
    file.unlink()
    assert not sources.unchanged


def test_a_module_beside_it_is_seen_and_what_is_none_is_not(loaded):
    sources, file = loaded
    file.with_name("study.toml").touch()
    (file.parent / "flops_fit_data").mkdir()
    assert sources.unchanged
    file.with_name("other_source.py").touch()
    assert not sources.unchanged


def test_a_package_beside_it_that_would_be_found_first_is_seen(loaded):
    sources, file = loaded
    package = file.with_suffix("")
    package.mkdir()
    assert sources.unchanged
    (package / "__init__.py").write_text("VALUE = 2\n")
    assert not sources.unchanged


def test_a_module_beside_it_is_seen_where_its_folder_is_no_longer_in_the_path(tmp_path, monkeypatch):
    """As that of a code location's working directory."""
    file, before = tmp_path / "passing_source.py", set(sys.modules)
    file.write_text("VALUE = 1\n")
    with monkeypatch.context() as while_loaded:
        while_loaded.syspath_prepend(str(tmp_path))
        importlib.import_module("passing_source")
    sources = Sources.loaded(now() + 1, besides=before)
    assert sources.unchanged
    file.with_name("optional_source.py").touch()
    assert not sources.unchanged
    del sys.modules["passing_source"]


def test_the_source_counts_of_what_is_read_compiled(tmp_path):
    """Also of a module that `sys.modules` does not name."""
    file = tmp_path / "unnamed_source.py"
    file.write_text("VALUE = 1\n")
    py_compile.compile(str(file))
    files = FilesRead()
    spec = importlib.util.spec_from_file_location("unnamed_source", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert str(file) in files.stop()


def test_what_was_written_while_it_was_loaded_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    before, began = set(sys.modules), now()
    (tmp_path / "late_source.py").write_text("VALUE = 1\n")
    importlib.import_module("late_source")
    assert not Sources.loaded(began, besides=before).unchanged
    del sys.modules["late_source"]


def test_installed_modules_count_where_they_are_asked_for():
    with_installed, without = (Sources.loaded(now() + 1, installed=installed).files for installed in (True, False))
    assert pytest.__file__ in with_installed
    assert pytest.__file__ not in without
    assert Sources.__module__.replace(".", "/") in " ".join(without)


def test_files_that_are_read_count_and_what_is_written_does_not(tmp_path):
    (tmp_path / "read.txt").write_text("one")
    files = FilesRead()
    (tmp_path / "read.txt").read_text()
    os.close(os.open(tmp_path / "low.txt", os.O_RDONLY | os.O_CREAT))
    (tmp_path / "written.txt").write_text("one")
    Path("/proc/self/stat").read_text()
    names = files.stop()
    Path(__file__).read_text()
    assert {name for name in names if "site-packages" not in name} == {
        str(tmp_path / "read.txt"),
        str(tmp_path / "low.txt"),
    }
    sources = Sources.loaded(now() + 1, besides=set(sys.modules), read=names)
    assert sources.unchanged
    (tmp_path / "read.txt").write_text("two")
    assert not sources.unchanged


def test_folders_whose_names_are_listed_count_and_those_that_modules_are_looked_for_in_do_not(tmp_path, monkeypatch):
    for name in ("globbed", "listed", "listed_low", "modules"):
        (tmp_path / name).mkdir()
    (tmp_path / "modules" / "listing_source.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    importlib.invalidate_caches()
    files, before = FilesRead(), set(sys.modules)
    list((tmp_path / "globbed").glob("*.txt"))
    list((tmp_path / "listed").iterdir())
    os.listdir(os.fsencode(tmp_path / "listed_low"))
    importlib.import_module("listing_source")
    names = files.stop()
    del sys.modules["listing_source"]
    listed = {name for name in names if name.startswith(str(tmp_path)) and not name.endswith(".py")}
    assert listed == {str(tmp_path / name) for name in ("globbed", "listed", "listed_low")}
    for name in ("globbed", "listed", "listed_low"):
        sources = Sources.loaded(now() + 1, besides=before, read=listed)
        assert sources.unchanged
        (tmp_path / name / "new.txt").touch()
        assert not sources.unchanged, name


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_database_of_sqlite_that_is_read_counts(tmp_path, journal):
    def ask(statement):
        with contextlib.closing(sqlite3.connect(tmp_path / "data.db")) as database, database:
            return database.execute(statement).fetchall()

    for statement in (f"pragma journal_mode = {journal}", "create table numbers (number)"):
        ask(statement)
    files = FilesRead()
    assert ask("select * from numbers") == []
    names = {name for name in files.stop() if name.startswith(str(tmp_path))}
    sources = Sources.loaded(now() + 1, besides=set(sys.modules), read=names)
    assert sources.unchanged
    with contextlib.closing(sqlite3.connect(tmp_path / "data.db")) as other, other:
        other.execute("insert into numbers values (1)")
        other.commit()
        assert not sources.unchanged
