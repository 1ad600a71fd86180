"""The keys of a study file: all of them told, the page made of them, and the templates that hold them."""

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from flops_fit.errors import StudyError
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study import keys
from flops_fit.study.study import Study
from flops_fit.study.study_file import SECTIONS
from flops_fit_assets.cli import main
from flops_fit_assets.commands.init import TEMPLATES, init_study, with_all_keys

ROOT = Path(__file__).parents[2]
ALL = [key for section in SECTIONS for key in keys.keys_of(section)]


def test_the_page_is_that_of_the_code():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == keys.reference(), "make it again: python -m flops_fit.study.keys > docs/reference.md"


def test_every_key_is_there_with_an_example_and_no_other():
    assert {(key.section, key.name) for key in ALL} == {
        (section, item.name) for section, kind in SECTIONS.items() for item in fields(kind)
    }
    assert set(keys.EXAMPLES) == {f"{key.section}.{key.name}" for key in ALL}


@pytest.mark.parametrize("key", ALL, ids=lambda key: f"{key.section}.{key.name}")
def test_examples_and_defaults_are_what_the_key_may_be(key):
    for written in filter(None, (key.example, key.default)):
        value = tomllib.loads(f"key = {written}")["key"]
        rule = keys._RULES[key.section].get(key.name)
        if rule is not None and not isinstance(value, dict) and not (isinstance(value, str) and ":" in value):
            assert rule.holds(tuple(value) if isinstance(value, list) else value), written


def block_of(text, section):
    """The lines under a section's header, be it a comment."""
    return re.search(rf"^#?\[{section}\](.*?)(?=^#?\[|\Z)", text, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_reads_with_every_key_a_comment_once(name, tmp_path):
    said = init_study(tmp_path / "own_study", name)
    text = (tmp_path / "own_study" / "study.toml").read_text()
    content = tomllib.loads(text)
    assert content["name"] == "own_study"
    assert "flops_fit.examples.demo" not in text
    for section in set(SECTIONS) - set(TEMPLATES[name].without):
        found = re.findall(r"^#?(\w+) = ", block_of(text, section), re.MULTILINE)
        wanted = {item.name for item in fields(SECTIONS[section])}
        assert sorted(found) == sorted(wanted | ({"num_params"} & set(found))), section
    assert said[-1] == "  flops-fit ui"


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_its_comments_are_keys_once_the_mark_is_taken_away(section):
    block = block_of(with_all_keys("name = 'any'\n\n[model]\nfactory = 'any:any'\n"), section)
    for line in re.findall(r"^#(\w+ = .*)$", block, re.MULTILINE):
        assert tomllib.loads(line)


def test_what_is_there_is_not_written_over(tmp_path):
    (tmp_path / "study.toml").write_text("mine")
    with pytest.raises(StudyError, match=r"study\.toml is there already; give another folder"):
        init_study(tmp_path, "mlp")
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_what_a_template_needs_first_is_said(tmp_path):
    said = init_study(tmp_path / "own", "huggingface")
    assert '  pip install "flops-fit[hf]"' in said
    assert 'pip install "flops-fit[hf]"' in (tmp_path / "own" / "README.md").read_text()


def test_an_unknown_template_names_those_there_are(tmp_path):
    given = CliRunner().invoke(main, ["init", str(tmp_path / "own"), "--template", "cnn"])
    assert given.exit_code == 2
    assert all(name in given.output for name in TEMPLATES)
    assert not (tmp_path / "own").exists()


def test_a_study_begun_so_is_planned_from_its_own_files(tmp_path):
    init_study(tmp_path / "own", "mlp")
    code = "import sys; from flops_fit import Study; study = Study.from_toml(sys.argv[1]); print(study.model.factory)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "own" / "study.toml")], capture_output=True,
                          text=True, check=True, cwd=tmp_path)  # fmt: skip
    assert done.stdout.startswith("<class 'byte_mlp.ByteMLP'>")


def test_the_command_template_ends_in_the_law_that_its_program_follows(tmp_path):
    init_study(tmp_path / "own", "command")
    study = Study.from_toml(tmp_path / "own" / "study.toml")
    plan = study_plan(study, study_size_map(study))
    assert plan.num_experiments >= 30
    assert plan.too_few is None


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    init_study(tmp_path / "own", "command")
    command = f"{sys.executable} -m flops_fit_assets.cli plan {tmp_path}/own/study.toml | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [name for name, template in TEMPLATES.items() if template.asks])
def test_a_quick_template_asks_for_what_its_budgets_can_speak_of(name, tmp_path):
    """Nearer than ten times the largest budget, where the verdict on so few small runs is "not supported"."""
    init_study(tmp_path / "own", name)
    sweep = tomllib.loads((tmp_path / "own" / "study.toml").read_text())["sweep"]
    (target,), largest = sweep["target_budgets"], max(sweep["compute_budgets"])
    assert largest < target < 5 * largest
