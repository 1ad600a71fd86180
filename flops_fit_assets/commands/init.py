"""`flops-fit init`: a study of one's own, begun from one that is packaged."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from flops_fit.errors import StudyError
from flops_fit.study.keys import Key, keys_of
from flops_fit.study.study_file import SECTIONS

EXAMPLES = "flops_fit.examples"
_WIDTH = 110
_HEADER = re.compile(r"^\[(\w+)\]", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Template:
    """A packaged study: its folder in `flops_fit/examples`, the modules that it uses, which are copied too, and what it
    is about; `first` is a command that comes before the others, which does what `prepares` says, and sections named in
    `without` are not offered. `asks` are FLOPs that its law can speak of: two or three times its largest budget."""

    folder: str
    modules: tuple[str, ...] = ()
    about: str
    first: str = ""
    prepares: str = ""
    without: tuple[str, ...] = ("trainer",)
    asks: float | None = None


TEMPLATES = {
    "mlp": Template(folder="demo", modules=("byte_mlp", "stdlib_corpus"), about="bytes, one token an example",
                    asks=2e11),
    "gpt": Template(folder="nanogpt", about="a GPT on a token file", first="python prepare.py",
                    prepares="writes the data", asks=1e11),
    "vision": Template(folder="vision", modules=("vision",), about="images and labels"),
    "huggingface": Template(folder="llama", modules=("huggingface",), about="a Llama by its configuration",
                            first='pip install "flops-fit[hf]"', prepares="what the model is made with"),
    "mixture": Template(folder="mixture", modules=("mixture_of_experts",), about="experts, N = active parameters"),
    "masked": Template(folder="masked", modules=("masked_bytes",), about="a masked language model"),
    "regression": Template(folder="regression", modules=("regression",), about="numbers, a known least loss"),
    "denoising": Template(folder="denoising", modules=("denoising",), about="a model that returns its own loss"),
    "command": Template(folder="command", about="a training program of your own",
                        without=("data", "loss", "training", "tuning")),
}  # fmt: skip


def init_study(directory: Path, name: str) -> list[str]:
    """Write the template `name` into `directory`; the lines to show. Raises `StudyError` where a file is there."""
    template = TEMPLATES[name]
    texts = _files(template, directory)
    there = [path for path in texts if path.exists()]
    if there:
        raise StudyError(f"{there[0]} is there already; give another folder: flops-fit init my_study --template {name}")
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    written = ", ".join(path.name for path in texts)
    return [
        f"{directory}: {written} ({template.about})",
        "next:",
        *(f"  {line}" for line in _next(template, directory)),
    ]


def _files(template: Template, directory: Path) -> dict[Path, str]:
    examples = Path(str(files("flops_fit"))) / "examples"
    sources = [*(examples / template.folder).glob("*.py"), *(examples / f"{module}.py" for module in template.modules)]
    texts = {directory / path.name: _own(path.read_text(encoding="utf-8"), template) for path in sorted(sources)}
    study = _own((examples / template.folder / "study.toml").read_text(encoding="utf-8"), template)
    study = _asking(study, template.asks)
    texts[directory / "study.toml"] = with_all_keys(_named(study, directory), template.without)
    texts[directory / "README.md"] = _readme(template, directory)
    return texts


def _own(text: str, template: Template) -> str:
    """With the modules that are copied in place of the packaged ones."""
    for module in template.modules:
        text = text.replace(f"{EXAMPLES}.{module}", module)
        text = re.sub(rf"from {re.escape(EXAMPLES)} import {module}$", f"import {module}", text, flags=re.MULTILINE)
    return text


def _asking(study: str, compute: float | None) -> str:
    """With the target that its law can speak of: at ten times its largest budget that of so quick a study cannot."""
    if compute is None:
        return study
    target = f"target_budgets = [{compute:.0e}]".replace("e+", "e")
    about = f"{target:<44}# where the law is asked; its summary says what to add to reach further\n"
    return re.sub(r"^(compute_budgets = .*\n)", rf"\1{about}", study, count=1, flags=re.MULTILINE)


def _named(study: str, directory: Path) -> str:
    """With the folder's name as the study's, where it can be one, and without the packaged one's opening remarks."""
    name = re.sub(r"\W", "_", directory.resolve().name)
    body = study[study.index("name = ") :]
    return re.sub(r'^name = ".*"', f'name = "{name}"', body) if re.match(r"[A-Za-z]\w{0,63}$", name) else body


def with_all_keys(study: str, without: tuple[str, ...] = ()) -> str:
    """The text of a study file with every key that it does not give as a comment, in its section."""
    starts = [*_HEADER.finditer(study)]
    ends = [*(header.start() for header in starts[1:]), len(study)]
    parts = [_HEAD + study[: starts[0].start()].rstrip()]
    for header, end in zip(starts, ends, strict=True):
        block = study[header.start() : end].rstrip()
        given = set(re.findall(r"^(\w+) =", block, re.MULTILINE))
        parts.append("\n".join([block, *_commented(header[1], given)]))
        parts += [_VARY] if header[1] == "sweep" else []
    there = {header[1] for header in starts}
    for section in (name for name in SECTIONS if name not in there and name not in without):
        parts.append("\n".join([f"#[{section}]", *_commented(section, set())]))
    return "\n\n".join(parts) + "\n"


def _commented(section: str, given: set[str]) -> Iterator[str]:
    for key in keys_of(section):
        if key.name not in given:
            yield "#"
            yield from textwrap.wrap(_sentence(key), _WIDTH, initial_indent="# ", subsequent_indent="# ")
            yield f"#{key.name} = {key.default or key.example}"


def _sentence(key: Key) -> str:
    """What the key is, and in brackets what it may be; those that may be left out are where they have no default."""
    default = "" if key.default else "; by default none" if key.default == "" else "; must be given"
    return f"{key.says[:1].upper()}{key.says[1:]} ({key.limit.removesuffix(', or left out')}{default})."


def _next(template: Template, directory: Path) -> list[str]:
    first = [template.first] if template.first else []
    there = [] if directory.resolve() == Path.cwd() else [f"cd {directory}"]
    return [*there, *first, "flops-fit plan", "flops-fit run", "flops-fit ui"]


def _readme(template: Template, directory: Path) -> str:
    about = {
        "flops-fit plan": "what would be trained",
        "flops-fit run": "trains it and fits the law",
        "flops-fit ui": "the same in Dagster's pages",
        template.first: template.prepares,
    }
    lines = [f"{line:<28}# {about[line]}" for line in _next(template, directory) if line in about]
    return "\n".join([f"# {directory.resolve().name}", "", f"An IsoFLOP study: {template.about}.", "", "```",
                      *lines, "```", ""])  # fmt: skip


_VARY = """#[sweep.vary]
#
# One key with several values, each a study of its own with a law of its own (docs/planning.md, A second axis).
#"model.kwargs.depth" = [2, 4, 8]"""
_HEAD = """# Keys that are not given stand here as comments, with what they are, what they may be, and their default, or
# else an example. Models, data and losses are named as "module:attribute"; modules beside this file are found.
"""
