"""The page that a benchmark writes beside itself, with the commit that its figures were measured at."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit that is checked out, with "and changes" where code differs from it."""
    here = Path(__file__).parent
    found = [
        subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
        for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "../flops_fit", "*.py"])
    ]
    return f"{found[0]} and changes" if found[1] else found[0]


def write_page(benchmark: str, title: str, text: str) -> None:
    """Write `<benchmark>.md` beside the file of the benchmark."""
    Path(benchmark).with_suffix(".md").write_text(f"# {title}\n\nMeasured at commit {commit()}.\n\n{text}\n")
