"""Where trunks were left: a state is kept for each place (`flops_fit.training.trunk`), named by the steps done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = "trunks"  # beside the folders of experiments; what it holds can be made again


def kept_steps(directory: Path) -> set[int]:
    """The steps after which the trunk that is kept in `directory` was left."""
    names = (path.stem for path in directory.glob("*.safetensors"))
    return {int(name) for name in names if name.isdigit()}


def kept_states(runs: Path) -> Mapping[str, set[int]]:
    """Trunk → the steps after which it was left, of those that have a folder beside the results in `runs`."""
    return {folder.name: kept_steps(folder) for folder in (runs / FOLDER).glob("*") if folder.is_dir()}
