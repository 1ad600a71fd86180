"""What is remembered of files is what is in them."""

from collections import Counter

import pytest

from flops_fit_assets.storage import remembered
from flops_fit_assets.storage.remembered import Remembered


@pytest.fixture
def read():
    """A reader of text that counts how often each file was read, and what remembers three of its values."""
    counts = Counter()

    def text(path):
        counts[path.name] += 1
        return path.read_text()

    return Remembered(text, most=3), counts


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(remembered, "_YOUNG_NS", -(10**18))  # every file is old enough


def written(tmp_path, *names):
    for name in names:
        (tmp_path / name).write_text(f"of {name}")
    return [tmp_path / name for name in names]


def test_a_file_is_read_once(tmp_path, read, settled):
    (path,) = written(tmp_path, "a")
    assert [read[0](path) for _ in range(5)] == ["of a"] * 5
    assert read[1] == {"a": 1}


def test_a_file_that_was_changed_or_replaced_is_read_again(tmp_path, read, settled):
    (path,) = written(tmp_path, "a")
    assert read[0](path) == "of a"
    path.write_text("longer than before")
    assert read[0](path) == "longer than before"
    other = tmp_path / "other"
    other.write_text("another file, renam")  # as long as the one it replaces
    other.replace(path)
    assert read[0](path) == "another file, renam"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read[0](path)


def test_a_file_that_was_just_written_is_not_trusted(tmp_path, read, monkeypatch):
    """Two writes within one tick of the clock of a file system cannot be told apart by it."""
    monkeypatch.setattr(remembered, "_YOUNG_NS", 10**18)
    (path,) = written(tmp_path, "a")
    read[0](path), read[0](path)
    assert read[1] == {"a": 2}


def test_those_asked_for_last_are_remembered(tmp_path, read, settled):
    a, b, c, d = written(tmp_path, "a", "b", "c", "d")
    for path in (a, b, c, a, d, a):  # b is the oldest when d comes
        read[0](path)
    read[0](b)
    assert read[1] == {"a": 1, "b": 2, "c": 1, "d": 1}
