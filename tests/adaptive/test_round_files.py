"""Rounds at rest: what was planned once is read back as it was, or refused by name."""

import dataclasses
import json
import math

import pytest
from played_rounds import Played, adaptive_study

from flops_fit.adaptive.rounds import Round, load_rounds, round_path, save_round
from flops_fit.errors import FileError


@pytest.fixture(scope="module")
def rounds():
    story = Played(adaptive_study())
    story.step()
    story.step()
    return story.rounds


@pytest.fixture
def folder(rounds, tmp_path):
    for item in rounds:
        save_round(tmp_path, item)
    return tmp_path


def test_what_is_saved_is_read_back(folder, rounds):
    assert load_rounds(folder) == rounds
    assert [item.content_hash for item in load_rounds(folder)] == [item.content_hash for item in rounds]


def test_an_interval_without_an_end_is_read_back(rounds, tmp_path):
    known = dataclasses.replace(rounds[1].known, N_opt_high=math.inf)
    item = dataclasses.replace(rounds[1], number=1, known=known)
    assert Round.load(save_round(tmp_path, item)) == item
    assert "Infinity" not in round_path(tmp_path, 1).read_text()


def test_no_folder_has_no_rounds(tmp_path):
    assert load_rounds(tmp_path / "nothing") == ()


def test_a_round_is_not_written_over(folder, rounds):
    assert save_round(folder, rounds[0]) == round_path(folder, 1), "the same again is no harm"
    with pytest.raises(FileError, match=r"round_001.json holds another round 1; what was planned once is not changed"):
        save_round(folder, dataclasses.replace(rounds[0], target_budget=5e21))


def test_a_round_that_is_gone_is_named(folder):
    round_path(folder, 1).unlink()
    with pytest.raises(FileError, match=r"round_001.json is gone, but round_002.json is there; restore it from a copy"):
        load_rounds(folder)


def test_a_round_under_another_name_is_refused(folder):
    round_path(folder, 2).write_text(round_path(folder, 1).read_text())
    with pytest.raises(FileError, match="holds round 1"):
        load_rounds(folder)


@pytest.mark.parametrize("damage", ["cut", "emptied", "edited", "another schema"])
def test_a_damaged_round_says_what_to_do(folder, damage):
    path = round_path(folder, 1)
    content = json.loads(path.read_text())
    if damage == "edited":
        content["choices"][0]["experiment"]["num_tokens"] += 1
    text = {
        "cut": path.read_text()[:500],
        "emptied": "",
        "edited": json.dumps(content),
        "another schema": json.dumps(content | {"schema": "flops_fit.round/0"}),
    }[damage]
    path.write_text(text)
    with pytest.raises(FileError, match=r"round_001.json.* rename the folder .* to plan anew"):
        load_rounds(folder)
