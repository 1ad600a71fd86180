"""docs/training.md is true: its Python runs, its tables are those of the code, its links and commands are there."""

import re
import runpy
from dataclasses import fields

import pytest
from paths import ROOT
from tiny_study import experiment, tiny_size_map, tiny_study

from flops_fit import Recipe, run_experiment
from flops_fit.preflight.preflight import preflight
from flops_fit.recipe.published_rules import RULES
from flops_fit.results.results import FINAL_STATUSES, STATUSES
from flops_fit.stages import study_plan

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def row(first):
    """Cells of the table row that begins with the code word `first`."""
    (line,) = re.findall(rf'^\| `"?{first}"?` \|.*$', PAGE, flags=re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_its_python_runs_and_prints_both_checks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.py").write_text(PYTHON[0])
    runpy.run_path("page.py")
    printed = capsys.readouterr().out
    assert "no problems found" in printed
    assert printed.count("(best)") == 2


def test_its_optimizer_trains(tmp_path):
    (tmp_path / "own.py").write_text(PYTHON[1])
    recipe = runpy.run_path(str(tmp_path / "own.py"))["recipe"]
    study = tiny_study(training=recipe)
    assert preflight(study, study_plan(study, tiny_size_map())).problems == ()
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "completed", result.reason


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rules_are_as_in_the_code(rule):
    shown = row(rule.name)[1:]
    assert shown == [str(rule.learning_rate), str(rule.batch_tokens), rule.range_text, rule.takes, rule.source]


def test_defaults_are_as_in_the_code():
    for item in fields(Recipe):
        if item.name in ("final_fraction", "eval_batch_examples", "checkpoint_seconds", "timeout_seconds"):
            assert f"`{item.name}`" in PAGE
        else:
            assert row(item.name)[1].strip('`"') == str(item.default)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_explained(status):
    assert row(status)[2].startswith("keeps it") == (status in FINAL_STATUSES)


def test_it_is_linked_from_the_readme():
    assert "(docs/training.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_recipe_is_tuned(capsys):
    """The page's surface has its best rate at 0.01 * (N / 1e6)^-0.5."""
    (block,) = [block for block in PYTHON if "next_trials" in block]
    law = {}
    exec(block, law)
    low, high = law["law"].interval("learning_rate", 1e8, 2e9)
    assert low < 0.001 < high
    assert "Recipe law" in capsys.readouterr().out
