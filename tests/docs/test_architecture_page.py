"""docs/architecture.md is true: it names every room, and each question has its answer where the page says."""

import ast
import re

import pytest
from import_graph import graph, modules, rooms
from paths import DOCS, ROOT

PAGE = (DOCS / "architecture.md").read_text()
QUESTIONS = re.findall(r"^\| ([^|]+) \| `([^`]+)/` \| `([^`]+\.py)` \| `(\w+)` \|$", PAGE, flags=re.MULTILINE)


def test_every_room_is_on_the_page_and_no_other():
    named = re.findall(r"^\| `(flops_fit(?:_assets)?/\w+)(?:\.py|/)` \|", PAGE, flags=re.MULTILINE)
    assert set(named) - {"flops_fit/examples"} == {room.replace(".", "/") for room in rooms(graph())}
    assert len(named) == len(set(named)), "each once"


def test_there_are_twenty_questions():
    assert len(QUESTIONS) >= 20


@pytest.mark.parametrize(("question", "folder", "file", "name"), QUESTIONS, ids=[row[0] for row in QUESTIONS])
def test_a_question_is_answered_where_the_page_says(question, folder, file, name):
    found = [path for path in modules().values() if path.as_posix().endswith(f"/{folder}/{file}")]
    assert len(found) == 1, f"{folder}/{file} is {len(found)} files"
    defined = {getattr(node, "name", "") for node in ast.parse(found[0].read_text()).body}
    assert name in defined, f"{found[0].relative_to(ROOT)} does not define {name}"
