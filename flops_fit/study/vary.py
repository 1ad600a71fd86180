"""`[sweep.vary]`: one key of a study file with several values, each of which is a study of its own.

```toml
[sweep.vary]
"model.kwargs.embedding" = [8, 16, 32]
labels = ["narrow", "as in the demo", "wide"]     # may be left out
```

A value's study is what the same file without [sweep.vary] and with that value would be, under another name: the ids of
its experiments are the same. `study.toml@8` names it wherever a study file is named.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

from flops_fit.basics.arguments import TEXT, did_you_mean, is_list, is_number, need, several
from flops_fit.errors import StudyError
from flops_fit.recipe.recipe import Recipe
from flops_fit.sizes.signature import named, signature_of, takes
from flops_fit.study.sections import DataSpec, LossSpec, ModelSpec, TrainerSpec

LABELS = "labels"
MARK = "@"
KINDS: Mapping[str, type] = {
    "model": ModelSpec,
    "data": DataSpec,
    "training": Recipe,
    "trainer": TrainerSpec,
    "loss": LossSpec,
}
_HOW_OFTEN = {"seed", "eval_batch_examples", "checkpoint_seconds", "timeout_seconds", "compile"}
MAY_VARY: Mapping[str, tuple[str, ...]] = {
    "model": ("factory", "kwargs", "sizes", "config"),
    "data": ("train", "kwargs", "context", "tokenizer"),
    "training": tuple(item.name for item in fields(Recipe) if item.name not in _HOW_OFTEN),
    "trainer": ("command",),
}
_BY_ARGUMENT = {("model", "kwargs"), ("data", "kwargs"), ("model", "sizes")}
_HELD_OUT_TOO = ("kwargs", "context", "tokenizer")  # of [data]: what held-out files and functions are opened with
_NOT_VARIED = {
    "sweep": "says which experiments are made, not what is trained: budgets and grids of all values are the same",
    "adaptive": "says which experiments are made, not what is trained: all values are asked the same",
    "tuning": "says how the recipe is found, not what is trained",
    "hardware": "changes no loss",
    "slurm": "changes no loss",
    "schedule": "changes no loss",
    "loss": "changes what is measured, so that the laws' losses could not be compared",
}
_EXAMPLE = '[sweep.vary] "model.kwargs.depth" = [2, 4, 8]'
_LABELS = several(TEXT, 'a list of text, such as ["narrow", "wide"]', least=0)
_LABEL = re.compile(r"-?[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")
_IN_MEMORY = re.compile(r" at 0x[0-9a-fA-F]+")
_LONGEST = 24  # letters of a value that stand in a study's name


@dataclass(frozen=True, kw_only=True)
class Vary:
    """A key of a study file and the values that it takes one after the other.

    Attributes:
        key: with its section, such as "model.kwargs.embedding" or "training.batch_tokens".
        values: two or more, all different.
        labels: what the values are called where they are shown and in `study.toml@label`; by default the values.

    Raises `StudyError` for a key that is not there or must not vary, and for values or labels that are equal.
    """

    key: str
    values: Sequence[Any]
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_key(self.key)
        _check_values(self.key, self.values)
        need("sweep.vary.labels", self.labels, _LABELS, StudyError)  # one text would be as many labels as letters
        object.__setattr__(self, "values", tuple(self.values))
        if not self.labels and any(map(_is_nameless, self.values)):
            raise StudyError(
                f"the values of {self.key} are objects without a name, which are another one each time; give labels, "
                'such as labels=["narrow", "wide"]'
            )
        labels = tuple(self.labels) or tuple(map(_text, self.values))
        object.__setattr__(self, LABELS, labels)
        self._check_labels()

    @property
    def name(self) -> str:
        """The last part of the key: what is varied, in a word."""
        return self.key.rpartition(".")[2]

    @property
    def parts(self) -> tuple[str, ...]:
        """For each value what its study's name ends in, such as "embedding_8"; it follows from the value alone, or from
        its label where an object has no name, as datasets in Python have none."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", self.name)
        called = (
            label if _is_nameless(value) else value for value, label in zip(self.values, self.labels, strict=True)
        )
        return tuple(f"{name}_{_part(each)}" for each in called)

    def index(self, asked: str) -> int:
        """Of the value that is called so, by its label, or as it is written."""
        for names in (self.labels, tuple(map(_text, self.values)), self.parts):
            if asked in names:
                return names.index(asked)
        raise StudyError(f"{asked!r} is no value of {self.key} in [sweep.vary]; give one of {', '.join(self.labels)}")

    def _check_labels(self) -> None:
        if len(self.labels) != len(self.values):
            raise StudyError(
                f"sweep.vary.labels has {len(self.labels)} labels for {len(self.values)} values of {self.key}; give "
                "one for each value, or leave labels out"
            )
        for label in self.labels:
            if not _LABEL.fullmatch(label):
                raise StudyError(
                    f"sweep.vary.labels has {label!r}; a label is at most 40 letters, digits, _ . + and -, as it is "
                    "typed after study.toml@"
                )
        if len(set(self.labels)) < len(self.labels):
            twice = next(label for label in self.labels if self.labels.count(label) > 1)
            raise StudyError(f"two values of {self.key} are called {twice!r}; give each a label of its own")


def vary_in(content: Mapping[str, Any], path: Path) -> Vary | None:
    """What the content of a study file varies; None where it varies nothing. Raises `StudyError` naming `path`."""
    sweep = content.get("sweep")
    if not isinstance(sweep, Mapping) or "vary" not in sweep:
        return None
    given = sweep["vary"]
    if not isinstance(given, Mapping):
        raise StudyError(f"{path}: sweep.vary = {given!r} must be a section, as in {_EXAMPLE}")
    keys = _flat({key: value for key, value in given.items() if key != LABELS})
    if len(keys) != 1:
        many = f"{', '.join(keys)} are {len(keys)}; write a study file for each" if keys else "it has none"
        raise StudyError(f"{path}: [sweep.vary] has one key with a list of values, and {many}: {_EXAMPLE}")
    ((key, values),) = keys.items()
    try:
        found = Vary(key=key, values=values, labels=given.get(LABELS, ()))
        _check_in_file(found, content)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error
    return found


def split(path: Path) -> tuple[Path, str | None]:
    """`study.toml@8` → the file and what the value is called; None where a path names a file alone."""
    file, mark, asked = path.name.rpartition(MARK)
    return (path.with_name(file), asked) if mark and file and not path.exists() else (path, None)


def file_of(path: Path) -> Path:
    """The study file of `study.toml@8`, which may be without a value."""
    return split(path)[0]


def content_of(content: Mapping[str, Any], vary: Vary | None, index: int, name: str) -> dict[str, Any]:
    """The content of the plain study file of one value, called `name` and the value's part."""
    made = copy.deepcopy(dict(content))
    if vary is None:
        return made
    del made["sweep"]["vary"]
    *sections, last = vary.key.split(".")
    place = made
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = vary.values[index]
    return made | {"name": f"{name}_{vary.parts[index]}"}


def what_may_vary() -> list[str]:
    """The keys that may, in the words of docs/reference.md."""
    return [
        ", ".join(f"`{section}.{name}{'.NAME' if name == 'kwargs' else ''}`" for name in names)
        for section, names in MAY_VARY.items()
    ]


def refuse_unknown_argument(vary: Vary, model: ModelSpec | None) -> None:
    """Raise `StudyError` where the model takes no argument that is varied."""
    if model is not None:
        refuse_unknown_argument_of(model.request().called, vary.key, model.size_param)


def refuse_unknown_argument_of(called: Any, key: str, size_param: str | None) -> None:
    """Raise `StudyError` where `key` is an argument of the model, and `called`, which gets it, takes none such."""
    section, _, argument = key.rpartition(".")
    signature = signature_of(called) if section == "model.kwargs" else None
    if signature is not None and not takes(called, argument) and not _any_name(signature):
        name = getattr(called, "__name__", type(called).__name__)
        known = [each for each in named(signature) if each != size_param]
        raise StudyError(f"[sweep.vary] {key}: {name} takes no argument {argument!r}; {did_you_mean(argument, known)}")


def _any_name(signature: Any) -> bool:
    return any(item.kind is item.VAR_KEYWORD for item in signature.parameters.values())


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Keys without quotes are tables in TOML: `model.kwargs.depth = [2, 4]` is the same as with quotes."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _check_key(key: Any) -> None:
    need("the key in [sweep.vary]", key, TEXT, StudyError)
    section, _, rest = key.partition(".")
    name, _, argument = rest.partition(".")
    if section in _NOT_VARIED:
        raise StudyError(f"[sweep.vary] {key} must not vary: [{section}] {_NOT_VARIED[section]}; {_what_may()}")
    if section not in KINDS or not name:
        raise StudyError(f"[sweep.vary] {key} is no key of a study file; {_meant(section, rest)}")
    known = [item.name for item in fields(KINDS[section])]
    if name not in known:
        hint = f"did you mean {section}.kwargs.{argument or name}?" if "kwargs" in known else did_you_mean(name, known)
        raise StudyError(f"[sweep.vary] {key} is no key of a study file; {hint}")
    if name not in MAY_VARY[section]:
        raise StudyError(f"[sweep.vary] {key} must not vary: it changes no model or training; {_what_may()}")
    if argument and ((section, name) not in _BY_ARGUMENT or "." in argument):
        raise StudyError(f"[sweep.vary] {key} is no key of a study file; [{section}] {name} has no parts")
    if not argument and name == "kwargs":
        raise StudyError(f"[sweep.vary] {key} needs the name of an argument, as in {section}.kwargs.depth")


def _meant(section: str, rest: str) -> str:
    if section in ("recipe", "train"):
        return f"did you mean training.{rest or 'batch_tokens'}?"
    if rest:
        return did_you_mean(section, list(KINDS))
    owner = next((name for name, keys in MAY_VARY.items() if section in keys), None)
    return f"did you mean {owner}.{section}?" if owner else f"did you mean model.kwargs.{section}?"


def _what_may() -> str:
    return "what may vary are keys of [model], [data], [training] and [trainer], such as model.kwargs.depth"


def _check_values(key: str, values: Any) -> None:
    if not is_list(values) or len(values) < 2:
        given = f"one value, {values[0]!r}" if is_list(values) and len(values) == 1 else repr(values)
        raise StudyError(
            f"[sweep.vary] {key} = {given}: it needs a list of two or more values; a single one is written in its "
            "own section"
        )
    seen: list[Any] = []
    for value in values:
        if any(type(value) is type(other) and value == other for other in seen) or (
            is_number(value) and any(is_number(other) and other == value for other in seen)
        ):
            raise StudyError(f"[sweep.vary] {key} has the value {value!r} twice; take one of them out")
        seen.append(value)


def _check_in_file(vary: Vary, content: Mapping[str, Any]) -> None:
    section, name, *_ = vary.key.split(".")
    own = content.get(section, {})
    place: Any = content
    for part in vary.key.split("."):
        if not isinstance(place, Mapping | NoneType):
            raise StudyError(
                f"[sweep.vary] {vary.key} is in {place!r}, which has no keys; write a section there, or vary another"
            )
        place = None if place is None else place.get(part)
    if place is not None:
        raise StudyError(
            f"[{section}] has {vary.key.partition('.')[2]} = {place!r}, which [sweep.vary] sets; take it out there"
        )
    if section == "data" and "eval" not in own:
        raise StudyError(
            f"[sweep.vary] {vary.key} without held-out data of its own, which would be split off from each value's; "
            "give eval in [data], the same for all"
        )
    if section == "data" and name in _HELD_OUT_TOO and not _has_unit(content.get("loss")):
        raise StudyError(
            f"[sweep.vary] {vary.key} changes the held-out data too, whose losses per token cannot be compared; where "
            'yours can, say what they are in: [loss] unit = "bits per byte"'
        )


def _has_unit(loss: Any) -> bool:
    """Whether [loss] says what losses are in; what is no section is refused where all of them are read."""
    return loss is not None and (not isinstance(loss, Mapping) or "unit" in loss)


def _text(value: Any) -> str:
    """A value as it is called where it has no label."""
    if isinstance(value, bool):
        return str(value).lower()
    if is_number(value):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = value if isinstance(value, str) else _name_of(value) or json.dumps(value, default=str)
    if _LABEL.fullmatch(text):
        return text
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:_LONGEST].rstrip("_")
    return f"{plain}_{_digest(value)}" if plain else _digest(value)


def _part(value: Any) -> str:
    """A value as letters, digits and underscores that no other value has."""
    if is_number(value) and not isinstance(value, bool):
        return _text(value).replace("+", "").replace("-", "m").replace(".", "_")
    text = _text(value)
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", text)[: _LONGEST + 5]
    return plain if plain == text else f"{plain[:_LONGEST]}_{_digest(value)}"


def _name_of(value: Any) -> str | None:
    """Of a class or function, in Python."""
    return getattr(value, "__qualname__", None)


def _is_nameless(value: Any) -> bool:
    """Whether a value is an object of Python's that is written with its place in memory, as none is twice."""
    return _name_of(value) is None and _IN_MEMORY.search(json.dumps(value, default=str)) is not None


def _digest(value: Any) -> str:
    text = _name_of(value) or json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:4]
