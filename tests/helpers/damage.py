"""Ways to damage a file at rest, for hypothesis: one value of its JSON, its bytes, or what kind of file it is."""

import copy
import json

from hypothesis import strategies as st

HALF_A_CHARACTER = "\ud800"


def _nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


VALUES = st.sampled_from(
    [None, True, False, 0, -1, 1, 2, 0.5, -1e308, 1e308, float("inf"), float("nan"), 10**19, 10**400, "", "x", "1",
     "completed", HALF_A_CHARACTER, "a\x00b\n", [], {}, [0], [[]], [None, None], {"a": 1}, {HALF_A_CHARACTER: 1},
     _nested(60), _nested(900)]
)  # fmt: skip


def places(content, here=()):
    """The path of every value in a JSON object, the object itself first."""
    yield here
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*here, key))


@st.composite
def changed(draw, content):
    """`content` with one value replaced, removed, doubled, renamed or put a level deeper."""
    content = copy.deepcopy(content)
    place = draw(st.sampled_from([place for place in places(content) if place]))
    owner, key = content, place[-1]
    for step in place[:-1]:
        owner = owner[step]
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "nest"])):
        case "replace":
            owner[key] = draw(VALUES)
        case "remove":
            del owner[key]
        case "double" if isinstance(owner, list):
            owner.insert(key, copy.deepcopy(owner[key]))
        case "double":
            owner[f"{key} "] = owner[key]
        case "nest":
            owner[key] = draw(st.sampled_from([[owner[key]], {"value": owner[key]}]))
    return content


@st.composite
def torn(draw, text):
    """Bytes of a file that was cut, grew, or had some of its bytes changed."""
    whole = text.encode()
    at = draw(st.integers(0, len(whole) - 1))
    match draw(st.sampled_from(["cut", "grown", "changed", "zeroed"])):
        case "cut":
            return whole[:at]
        case "grown":
            return whole[:at] + draw(st.sampled_from([b"\x00" * 100_000, b"[" * 100_000, b"9" * 5000])) + whole[at:]
        case "changed":
            return whole[:at] + draw(st.binary(min_size=1, max_size=8)) + whole[at + 1 :]
        case _:
            return whole[:at] + b"\x00" * (len(whole) - at)


def as_text(content):
    """JSON with whatever Python's writer allows: NaN, infinity, half characters."""
    return json.dumps(content)
