"""What to say of a study file that is not there, or lacks a key: what was probably meant, and how to go on."""

from __future__ import annotations

import re
from pathlib import Path

from flops_fit.basics.arguments import is_url, nearest

STUDY_FILE = "study.toml"
_MOST = 3
_TABLES = (".csv", ".json", ".jsonl")
_REQUIRED = {  # keys without a default, as they may be written
    "compute_budgets": "[1e18, 3e18, 1e19]",
    "factory": '"my_models:GPT"',
    "size_param": '"width"',
    "train": '"my_data:train" or a path such as "data/train.bin"',
    "fn": '"torch.nn.functional:cross_entropy"',
    "command": '"python train.py --width {width} --out {result_path}"',
    "target_budget": "1e21",
}


def missing_file(path: Path) -> str:
    """`"study.tml does not exist; did you mean study.toml?"`, or where studies are, or how to begin one."""
    if path.is_dir():
        return f"{path} is a directory without {STUDY_FILE}; {_elsewhere(path)}"
    if is_url(path):
        return f"{path} is not on this machine; copy it and its modules here first"
    folder = path.parent
    there = [item.name for item in folder.glob("*.toml")] if folder.is_dir() else []
    near = nearest(path.name, there) or (f"{path.name}.toml" if f"{path.name}.toml" in there else None)
    if near is not None:
        return f"{path} does not exist; did you mean {folder / near}?"
    return f"{path} does not exist; {_elsewhere(folder)}"


def _elsewhere(folder: Path) -> str:
    below = sorted(folder.glob(f"*/{STUDY_FILE}"))[: _MOST + 1] if folder.is_dir() else []
    if below:
        more = ", ..." if len(below) > _MOST else ""
        return f"give one that is there, such as {', '.join(map(str, below[:_MOST]))}{more}"
    return f"give the path of a {STUDY_FILE}, or begin a study with `flops-fit init my_study`"


def not_a_study(path: Path, error: Exception) -> str:
    """What to say of a file that is no TOML; a table of runs is for another command."""
    if path.suffix in _TABLES:
        return f"{path} is no study file, whose name ends with .toml; to fit a table of runs: flops-fit fit {path}"
    return f"{path} is not valid TOML: {error}"


def missing_keys(error: TypeError, known: set[str]) -> str:
    """What a section lacks, by the error of its class; each with an example."""
    names = re.findall(r"'(\w+)'", str(error)) if "required keyword-only argument" in str(error) else []
    if not names:
        return f"{str(error).split('__init__() ')[-1]}; known keys are {', '.join(sorted(known))}"
    return "; ".join(
        f"needs {name}{f', such as {name} = {_REQUIRED[name]}' if name in _REQUIRED else ''}" for name in names
    )
