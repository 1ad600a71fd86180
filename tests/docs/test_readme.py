"""The README is true: its Python runs and prints what it shows, its files exist, its commands are there."""

import re
import subprocess
import sys

import pytest
from paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"([\d.]+(?:e[+-]?\d+)?)([kMBT]?)")
SCALE = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def table(text):
    """Rows of numbers of the Markdown tables in `text`."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| [\d.]", line)]
    return [
        [float(number) * SCALE[unit] for number, unit in (NUMBER.fullmatch(cell).groups() for cell in row)]
        for row in rows
    ]


@pytest.mark.slow
def test_the_python_lines_print_what_the_readme_shows(tmp_path):
    """To within what another Python's standard library, which is the data, and another CPU change."""
    (code,) = blocks("python")
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    assert ran.returncode == 0, ran.stderr[-2000:]
    shown = next(block for block in blocks("text") if "| Compute Budget |" in block)
    printed, expected = table(ran.stdout), table(shown)
    assert len(printed) == len(expected) == 2
    for row, wanted in zip(printed, expected, strict=True):
        compute, params, tokens, _, loss = row
        assert compute == wanted[0]
        assert params == pytest.approx(wanted[1], rel=0.3)
        assert tokens == pytest.approx(wanted[2], rel=0.3)
        assert loss == pytest.approx(wanted[4], rel=0.04)


def test_every_file_it_links_to_is_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_it_names_is_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\$ make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    listed = subprocess.run(
        [sys.executable, "-m", "flops_fit_assets.cli", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for command in re.findall(r"^\$ flops-fit (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^  {command}\b", listed, flags=re.MULTILINE), command
