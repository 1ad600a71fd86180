"""A study's settings as plain values, and in words what an edit changed of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flops_fit.study.study import Study

Settings = Mapping[str, Any]
SETTINGS = "settings"  # under which name events in Dagster keep them
CHANGE = "changed"  # and what was changed, in words
_BESIDE = ("hardware", "slurm", "schedule", "owners")  # sections that no experiment follows from: said last
_LONGEST = 60  # characters of a value that are repeated


def settings_of(study: Study) -> dict[str, Any]:
    """`values`: key of the study file → value; `code`: definition → [digest, file name]; `data`: hash of all of it."""
    sections = {name: value for name, value in study.to_dict().items() if value is not None}
    code = {
        name: [piece.digest, Path(piece.path).name if piece.path else ""] for name, piece in study.covered().items()
    }
    data = study.outcome_parts().get("data", "")
    return {"values": dict(_flat(sections)), "code": code, "data": data}


def differences_in_words(before: Settings, now: Settings) -> list[str]:
    """What was changed, one phrase each: keys with what they were and are, sources that were edited, other data."""
    old, new = before.get("values", {}), now.get("values", {})
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changed.sort(key=lambda name: name.partition(".")[0] in _BESIDE)
    said = [_phrase(name, old.get(name), new.get(name)) for name in changed]
    said += _edited(before.get("code", {}), now.get("code", {}))
    if before.get("data") != now.get("data") and not said:
        said.append("the data is another")
    return said


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def _phrase(name: str, old: Any, new: Any) -> str:
    section, _, key = name.partition(".")
    named = name if not key else key if section == "sweep" else f"{key} of [{section}]"
    if isinstance(old, list) and isinstance(new, list):
        moved = [f"+ {_text(item)}" for item in new if item not in old]
        moved += [f"- {_text(item)}" for item in old if item not in new]
        if moved:
            return f"{named} {', '.join(moved)}"
    return f"{named} from {_text(old)} to {_text(new)}"


def _edited(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Sources whose definitions are others, with their names: `my_model.py edited (Model, WIDTH)`."""
    files: dict[str, list[str]] = {}
    modules: dict[str, str] = {}
    for name, (_, file) in {**old, **new}.items():
        if file:
            modules[name.partition(":")[0]] = file
    for name in {**old, **new}:
        if (old.get(name) or [None])[0] != (new.get(name) or [None])[0]:
            module, _, inner = name.partition(":")
            files.setdefault(modules.get(module, module), []).append(inner or module)
    return [f"{file} edited ({', '.join(dict.fromkeys(names))})" for file, names in files.items()]


def _text(value: Any) -> str:
    """`4e9`, not `4000000000.0`; nothing longer than a line."""
    if isinstance(value, float):
        text = f"{value:g}".replace("e+0", "e").replace("e+", "e")
    elif isinstance(value, list):
        text = f"[{', '.join(map(_text, value))}]"
    else:
        text = "none" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
