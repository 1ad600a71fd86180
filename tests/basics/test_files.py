"""Files at rest: atomic, and recognised when torn or foreign."""

import json

import pytest

from flops_fit.basics.files import read_json, set_aside, write_json, write_text
from flops_fit.errors import FileError


def test_round_trip_and_no_temporary_files_left(tmp_path):
    path = write_json(tmp_path / "deep" / "a.json", {"schema": "s/1", "value": [1, 2.5, None]})
    assert read_json(path, "s/1")["value"] == [1, 2.5, None]
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_json(tmp_path / "a.json", {"schema": "s/1", "value": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"schema": "s/1", "value": float("nan")})
    assert read_json(path, "s/1")["value"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "content", ['{"schema": "s/1", "val', "", "\x00\x01", "[1, 2]", json.dumps({"schema": "other/1"})]
)
def test_torn_and_foreign_files_are_named(tmp_path, content):
    path = write_text(tmp_path / "a.json", content)
    with pytest.raises(FileError, match=r"a\.json"):
        read_json(path, "s/1")


def test_set_aside_keeps_every_unusable_file(tmp_path):
    names = []
    for content in ("first", "second"):
        names.append(set_aside(write_text(tmp_path / "a.json", content)).read_text())
    assert names == ["first", "second"]
    assert not (tmp_path / "a.json").exists()
