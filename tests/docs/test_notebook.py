"""The example notebook runs as it stands, shows what it speaks of, and is kept without outputs."""

import json
import os
import re
import subprocess
import sys

import pytest
from paths import DOCS, HELPERS, ROOT

NOTEBOOK = DOCS / "first_study.ipynb"


@pytest.fixture(scope="module")
def content():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_it_is_a_notebook_of_the_format_that_it_names(content):
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"]["kernelspec"]["language"] == "python"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert {cell["cell_type"] for cell in content["cells"]} == {"markdown", "code"}
    for cell in content["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        assert set(cell) == (keys | {"outputs", "execution_count"} if cell["cell_type"] == "code" else keys)


def test_it_is_kept_without_outputs(content):
    kept = [cell for cell in content["cells"] if cell.get("outputs") or cell.get("execution_count") is not None]
    assert kept == [], "clear all outputs before it is committed"


def test_what_it_links_to_is_there_and_it_is_linked_to(content):
    text = "".join("".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "markdown")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / link).exists(), link
    assert "(docs/first_study.ipynb)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_it_speaks_of(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HELPERS) + "/run_notebook.py", str(NOTEBOOK)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    _, _, plan, law, figure, at, compared, both = map(json.loads, done.stdout.splitlines())
    assert re.search(r"SweepPlan\(1\d experiments, 4 budgets", plan["shown"]["html"])
    assert "L(N, D) = " in law["shown"]["html"]
    assert min(figure["shown"]["png"], both["shown"]["png"]) > 20_000
    assert re.match(r"N = [\d,]+, D = [\d,]+, loss [12]\.\d{3}\nN within [\d,]+ and [\d,]+ at 90 %; ", at["printed"])
    assert "narrow" in compared["shown"]["html"]
    assert "1.00e+10 FLOPs" in compared["shown"]["html"]
    assert len(list(tmp_path.glob("flops_fit_data/*/runs/*/result.json"))) > 24
