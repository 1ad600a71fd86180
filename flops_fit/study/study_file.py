"""`study.toml` → `Study`: its sections as dataclasses, callables as text.

```toml
name = "my_study"
owners = ["team:scaling"]        # may be left out; shown in Dagster

[model]
factory = "my_models:GPT"      # package.module:attribute; modules beside the file are found
size_param = "width"
kwargs = { num_layers = 4 }

[data]
train = "my_data:train"        # or a path from the folder of this file, such as "data/train.bin", with context = 256
eval = "my_data:held_out"      # or several by name, in a table [data.eval] of its own: web = "my_data:web"

[data.metrics]                   # may be left out: what else is measured
accuracy = "flops_fit.metrics:accuracy"

[loss]
fn = "flops_fit.loss:cross_entropy"

[sweep]
compute_budgets = [1e15, "3e15", 1e16]
```

Further sections: training, tuning (of what is "tune" there), hardware, slurm (trainings as its jobs), schedule,
adaptive (rounds instead of a grid; then [sweep], or its compute_budgets, may be left out), and trainer, a command of
the user's own instead of data and loss. With one, [model] may give `num_params = [smallest, largest]` (or a list of
counts) instead of a factory and its size_param. [model.sizes] gives further arguments that follow from the size, or is
a list of rows, each of them a size; `config` names what makes the model's config of them (docs/planning.md).
[sweep.vary] has one key with several values, each of them a study of its own, which is named `study.toml@value`
(`flops_fit.study.vary`).
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.basics.arguments import did_you_mean, nearest
from flops_fit.cost.hardware import Hardware
from flops_fit.datasets.files import absolute, is_file_name
from flops_fit.errors import FlopsFitError, StudyError
from flops_fit.processes.blame import said_by
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.slurm.options import SlurmOptions
from flops_fit.study.missing import missing_file, missing_keys, not_a_study
from flops_fit.study.sections import DataSpec, LossSpec, ModelSpec, ScheduleSpec, SweepOptions, TrainerSpec
from flops_fit.study.vary import MARK, Vary, content_of, refuse_unknown_argument, split, vary_in

SECTIONS: dict[str, type] = {
    "model": ModelSpec,
    "data": DataSpec,
    "loss": LossSpec,
    "sweep": SweepOptions,
    "training": Recipe,
    "hardware": Hardware,
    "schedule": ScheduleSpec,
    "trainer": TrainerSpec,
    "adaptive": AdaptiveOptions,
    "tuning": TuningOptions,
    "slurm": SlurmOptions,
}
_REFERENCES = {("model", "factory"), ("model", "config"), ("data", "train"), ("data", "eval"), ("loss", "fn")}
_TABLES = {("data", "eval"), ("data", "metrics")}  # of several by name
_MAYBE_REFERENCES = {("model", "flops"), ("training", "learning_rate"), ("training", "optimizer")}
_LIKELY_ARGUMENTS = {"config", "flops", "version"}  # of a model too
OPTIONS_OF_FILES = {  # in kwargs of [data]
    "separator", "dtype", "form", "vocab_size", "column", "across_documents", "bytes_per_token", "inputs", "targets",
}  # fmt: skip
_EXAMPLE = '"package.module:attribute", such as "my_models:GPT"'


def read_study_file(path: Path) -> dict[str, Any]:
    """The arguments of `Study` in the file at `path`, which is `study.toml@value` of a file with [sweep.vary].

    Raises `StudyError` naming the file, the key, the value and what is allowed: unknown keys, missing sections, bad
    types, budgets that are no number, callables that cannot be imported, a file of several studies where none of them
    is named. Modules beside the file can be imported.
    """
    whole = path.resolve()
    path, asked = split(path)
    content, vary = _read_varied(path)
    if vary is None and asked is not None:
        raise StudyError(f"{path} has no [sweep.vary], so that {asked!r} is no value of it; give {path}")
    if vary is not None:
        content = content_of(content, vary, _index(vary, asked, path), content.get("name", path.resolve().parent.name))
    _refuse_unknown(content, {"name", "owners", *SECTIONS}, "", path)
    for name in ("model", *([] if "adaptive" in content else ["sweep"])):
        if name not in content:
            raise StudyError(
                f"{path}: section [{name}] is missing; it needs at least [model] and [sweep], or [adaptive]"
            )
    _import_from(path.resolve().parent)
    sections = {name: _section(name, content[name], path) for name in SECTIONS if name in content and name != "sweep"}
    if "sweep" in content:
        sections["sweep"] = _section("sweep", _with_budgets(content["sweep"], sections, path), path)
    if vary is not None:
        try:
            refuse_unknown_argument(vary, sections.get("model"))
        except StudyError as error:
            raise StudyError(f"{path}: {error}") from error
    if "slurm" in sections and sections["slurm"].study_file is None:
        sections["slurm"] = replace(sections["slurm"], study_file=str(whole))
    about = {"name": path.resolve().parent.name} | {key: content[key] for key in ("name", "owners") if key in content}
    return about | sections


def varied(path: Path) -> tuple[Vary, Mapping[str, Path]] | None:
    """What the file at `path` varies, and the path of each value's study by its label, in their order.

    None for a file of one study, and for a path that names a value. Raises `StudyError` as `read_study_file`.
    """
    file, asked = split(path)
    if asked is not None:
        return None
    _, vary = _read_varied(file)
    if vary is None:
        return None
    return vary, {label: path.with_name(f"{path.name}{MARK}{label}") for label in vary.labels}


def name_of_all(path: Path) -> str:
    """The name that the studies of the file at `path` have in common."""
    file = split(path)[0]
    return str(_read_varied(file)[0].get("name", file.resolve().parent.name))


def part_of(path: Path) -> str | None:
    """What the name of the study at `path`, which names a value, ends in; None for a file of one study."""
    file, asked = split(path)
    vary = _read_varied(file)[1] if asked is not None else None
    return vary.parts[vary.index(asked)] if vary is not None and asked is not None else None


def _read_varied(path: Path) -> tuple[dict[str, Any], Vary | None]:
    content = _read_toml(path)
    return content, vary_in(content, path)


def _index(vary: Vary, asked: str | None, path: Path) -> int:
    if asked is None:
        raise StudyError(
            f"{path} varies {vary.key} in [sweep.vary] and so is {len(vary.values)} studies; name one of them here: "
            f"{', '.join(f'{path}{MARK}{label}' for label in vary.labels)}"
        )
    try:
        return vary.index(asked)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise StudyError(missing_file(path)) from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or too deep a nesting
        raise StudyError(not_a_study(path, error)) from error


def _section(name: str, content: Any, path: Path) -> Any:
    kind = SECTIONS[name]
    if not isinstance(content, dict):
        raise StudyError(f"{path}: {name} = {content!r} must be a section, written [{name}]")
    by_counts = name == "model" and "num_params" in content and "factory" not in content
    known = {item.name for item in fields(kind)} | ({"num_params"} if by_counts else set())
    if name == "model" and {"num_params", "factory"} <= content.keys():
        raise StudyError(
            f"{path}: [model] has factory and num_params, counts of parameters in place of a model; leave one out"
        )
    _refuse_unknown(content, known, f"[{name}] ", path)
    if name == "model":
        _refuse_misplaced(content.get("sizes"), known, path)
    values = {key: _value(name, key, value, path) for key, value in content.items()}
    if name == "trainer":
        values.setdefault("study_dir", str(path.resolve().parent))
    if name == "loss" and inspect.isclass(values.get("fn")):
        values.setdefault("kwargs", {})
    try:
        return ModelSpec.from_counts(**values) if by_counts else kind(**values)
    except FlopsFitError as error:
        said = str(error).removeprefix(f"[{name}] ").removeprefix(f"{name}.")
        raise StudyError(f"{path}: [{name}] {said}") from error
    except TypeError as error:  # a required key is missing
        raise StudyError(f"{path}: [{name}] {missing_keys(error, known)}") from error


def _refuse_misplaced(sizes: Any, known: set[str], path: Path) -> None:
    """Keys of [model] below the line [model.sizes], which are arguments of the model there."""
    last = sizes[-1] if isinstance(sizes, list) and sizes else sizes
    misplaced = sorted((known - _LIKELY_ARGUMENTS) & last.keys()) if isinstance(last, dict) else []
    if misplaced:
        raise StudyError(
            f"{path}: [model.sizes] has {misplaced[0]}, which is a key of [model]; write it above that line"
        )


def _with_budgets(sweep: Any, sections: Mapping[str, Any], path: Path) -> Any:
    """[sweep] of an adaptive study that leaves the budgets to it."""
    adaptive = sections.get("adaptive")
    if adaptive is None or not isinstance(sweep, dict) or "compute_budgets" in sweep:
        return sweep
    try:
        return {"compute_budgets": adaptive.budgets(), **sweep}
    except FlopsFitError as error:
        raise StudyError(f"{path}: {error}") from error


def _value(section: str, key: str, value: Any, path: Path) -> Any:
    if (section, key) in _TABLES and isinstance(value, dict):
        return {name: _value(f"{section}.{key}", name, item, path) for name, item in value.items()}
    is_data = section == "data.eval" or (section == "data" and key in ("train", "eval"))
    if (is_data or (section, key) == ("data", "tokenizer")) and is_file_name(value):
        return absolute(value, path.resolve().parent)
    if is_data and isinstance(value, str) and ":" not in value:
        raise StudyError(
            f'{path}: [{section}] {key} = {value!r} must be "package.module:attribute", or a path such as '
            '"data/train.bin"'
        )
    if (section, key) in _REFERENCES or section in ("data.eval", "data.metrics"):
        return resolve(value, f"{path}: [{section}] {key}")
    if (section, key) in _MAYBE_REFERENCES and isinstance(value, str) and ":" in value:
        return resolve(value, f"{path}: [{section}] {key}")
    return tuple(value) if isinstance(value, list) else value


def resolve(reference: Any, where: str) -> Any:
    """Import `"package.module:attribute"`; raises `StudyError` starting with `where` when that cannot be."""
    if not isinstance(reference, str) or reference.count(":") != 1:
        raise StudyError(f"{where} = {reference!r} must be {_EXAMPLE}")
    module_name, attribute = reference.split(":")
    try:
        with _nothing_compiled_is_kept():
            target: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise StudyError(f"{where} = {reference!r} cannot be imported: {error}; must be {_EXAMPLE}") from error
    except (Exception, SystemExit) as error:  # of the user's own code, which runs as it is imported
        raise StudyError(f"{where} = {reference!r} cannot be imported: {said_by(error)}; correct it there") from error
    for part in attribute.split("."):
        if not hasattr(target, part):
            hint = did_you_mean(part, dir(target), "define it there, or name another")
            raise StudyError(f"{where} = {reference!r}: {module_name} has no {part!r}; {hint}")
        target = getattr(target, part)
    return target


@contextmanager
def _nothing_compiled_is_kept() -> Iterator[None]:
    """Python takes what it has compiled for current where the source's second and size are: an edit within a second
    would be identified by its text and trained as it was before."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _import_from(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _refuse_unknown(content: Mapping[str, Any], known: set[str], where: str, path: Path) -> None:
    for key, value in content.items():
        if key not in known:
            raise StudyError(f"{path}: {where}has an unknown key {key!r}; {_remedy(key, value, known, where)}")


def _remedy(key: str, value: Any, known: set[str], where: str) -> str:
    """The key that was meant, the section that has it, or that it is an argument of what the section names."""
    of_files = where == "[data] " and key in OPTIONS_OF_FILES
    elsewhere = [f"[{name}]" for name, kind in SECTIONS.items() if key in {item.name for item in fields(kind)}]
    if "kwargs" not in known and elsewhere:
        return f"it is a key of {' and '.join(elsewhere)}: write it below that line, neither with # before it"
    if "kwargs" not in known or isinstance(value, dict | list) or (not of_files and nearest(key, known)):
        return did_you_mean(key, known)
    text = json.dumps(value, default=str)
    whose = {"[data] ": "files and functions", "[model] ": "the model"}.get(where, "fn")
    return f"an argument of {whose} is written kwargs = {{ {key} = {text} }}, and keys are {', '.join(sorted(known))}"
