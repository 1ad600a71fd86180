"""What somebody new types wrongly, and what is answered: a line or two with what was given and what to do."""

import re

import pytest
from click.testing import CliRunner
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.cli import main

pytestmark = DAGSTER_WARNINGS

EMPTY = "N,D,loss\n1e6,1e8,3.0\n"


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Runs a line in a new folder: exit code and all that was said."""
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(line):
        done = CliRunner().invoke(main, line.split())
        assert "Traceback" not in done.output
        return done.exit_code, done.output

    return run


@pytest.mark.parametrize("command", ["plan", "check", "run", "report", "learning-rate"])
def test_a_folder_without_a_study_says_how_to_begin_one(typed, command):
    code, said = typed(command)
    assert code == 1
    assert said.count("\n") == 1
    assert "study.toml does not exist; give the path of a study.toml, or begin a study with `flops-fit init" in said


def test_a_study_in_another_folder_is_named(typed, tmp_path):
    (tmp_path / "mine").mkdir()
    write_study(tmp_path / "mine")
    assert "study.toml does not exist; give one that is there, such as mine/study.toml" in typed("plan")[1]
    assert "did you mean mine/study.toml?" in typed("plan mine/studi.toml")[1]
    assert "did you mean mine/study.toml?" in typed("plan mine/study")[1]


def test_a_folder_stands_for_its_study(typed, tmp_path):
    (tmp_path / "mine").mkdir()
    write_study(tmp_path / "mine")
    assert "8 experiments, " in typed("plan mine")[1]
    assert "`flops-fit run mine/study.toml` makes it" in typed("fit mine")[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"^compute_budgets.*$", "", "[sweep] needs compute_budgets, such as compute_budgets = [1e18, 3e18, 1e19]"),
        (r"^compute_budgets", "compute_budget", "unknown key 'compute_budget'; did you mean 'compute_budgets'?"),
        (r"^compute_budgets.*$", "compute_budgets = 1e9", "[sweep] compute_budgets = 1000000000.0 must be a list"),
        (r"^train = .*$", "", "[data] needs train, such as train = \"my_data:train\" or a path such as"),
        (r"^factory = .*$", "", "[model] needs factory, such as factory = \"my_models:GPT\""),
        (r"^\[sweep\]$", "[swep]", "unknown key 'swep'; did you mean 'sweep'?"),
        (r"TinyMLP", "TinyMPL", "tiny_study has no 'TinyMPL'; did you mean 'TinyMLP'?"),
    ],
)  # fmt: skip
def test_a_slip_in_the_study_file_is_answered_with_what_to_write(typed, tmp_path, old, new, said):
    study = write_study(tmp_path)
    study.write_text(re.sub(old, new, study.read_text(), count=1, flags=re.MULTILINE))
    code, output = typed("plan")
    assert (code, output.count("\n")) == (1, 1)
    assert said in output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fit", "Missing argument 'RUNS'; as in: flops-fit fit runs.csv --target 1e21"),
        ("forecast", "Missing argument 'SOURCE'; as in: flops-fit forecast study.toml 1e21"),
        ("suggest", "Missing argument 'RUNS'; as in: flops-fit suggest runs.csv --target 1e22"),
        ("compare", "as in: flops-fit compare old.csv new.csv --at 1e21"),
        ("import", "as in: flops-fit import runs.csv study.toml"),
        ("init --template gtp", "'gtp' is none of mlp, gpt,"),
        ("pln", "No such command 'pln'. Did you mean 'plan'?"),
        ("plan --budget 1e9", "No such option '--budget'. Did you mean '--budgets'?"),
    ],
)
def test_what_is_missing_is_shown_by_an_example(typed, line, said):
    code, output = typed(line)
    assert code == 2
    assert said in output


def test_a_table_where_a_study_belongs_is_told_what_it_is_for(typed, tmp_path):
    (tmp_path / "runs.csv").write_text(EMPTY)
    assert "to fit a table of runs: flops-fit fit runs.csv" in typed("plan runs.csv")[1]


def test_a_loss_by_another_name_can_be_said(typed, tmp_path):
    (tmp_path / "runs.csv").write_text("N,D,final\n1e6,1e8,3.0\n")
    code, said = typed("fit runs.csv")
    assert code == 1
    assert "the runs have no column loss (found: N, D, final)" in said
    assert "--columns loss=" in said


def test_an_empty_plan_is_said_once(typed, tmp_path):
    write_study(tmp_path, budgets=[1e2])
    code, said = typed("plan")
    assert code == 0
    assert said.count("admits no size") == 1
    assert "tiny: the plan has no experiments to train: budget 1.00e+02 FLOPs admits no size" in said


def test_init_says_only_what_is_still_to_be_done(typed):
    assert "cd " not in typed("init")[1]
    assert "  cd other\n" in typed("init other")[1]
    code, said = typed("init other")
    assert (code, "is there already; give another folder: flops-fit init my_study" in said) == (1, True)
