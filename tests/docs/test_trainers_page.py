"""docs/trainers.md is true: its studies can be read, its Python runs, its result is taken, its tables are complete."""

import json
import re
import runpy
import tomllib
from dataclasses import fields

import pytest
from paths import ROOT

from flops_fit import Experiment, Study
from flops_fit.stages import study_plan, study_size_map
from flops_fit.sweep.command import PATHS
from flops_fit.sweep.experiment import PLAN_TOLERANCE
from flops_fit.training.by_command import Report, read_report
from flops_fit.training.child_process import GRACE_SECONDS

PAGE = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_its_study_can_be_planned(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(blocks("toml")[0])
    study = Study.from_toml(path)
    plan = study_plan(study, study_size_map(study))
    assert plan.num_experiments == 28
    assert study.trainer.timeout_seconds == 86400
    assert study.trainer.study_dir == str(tmp_path)


def test_its_slurm_sections_fit_the_same_study(tmp_path):
    study, _, slurm = (tomllib.loads(text) for text in blocks("toml"))
    path = tmp_path / "study.toml"
    path.write_text(blocks("toml")[0].split("[hardware]")[0] + blocks("toml")[2])
    assert slurm.keys() <= study.keys()
    assert Study.from_toml(path).hardware.num_workers() == 16


def test_its_results_are_of_its_keys_and_are_taken(tmp_path):
    texts = blocks("json")
    contents = [json.loads(text) for text in texts]
    known = {name for content in contents for name in content}
    assert known - {"num_params"} == {item.name for item in fields(Report)}
    assert all(f"`{name}`" in PAGE for name in known)
    reports = []
    for text, content in zip(texts, contents, strict=True):
        (tmp_path / "result.json").write_text(text)
        of_sets = tomllib.loads(blocks("toml")[1])["trainer"] if "losses" in content else {}
        named = [of_sets.get(name, ()) for name in ("eval_sets", "metrics")]
        reports.append(read_report(tmp_path / "result.json", planned_in_the_page(content["num_tokens"]), *named))
    assert [report.loss for report in reports] == [contents[0]["loss"], contents[1]["losses"]["web"]]
    assert reports[1].metrics == {"accuracy_web": 0.31, "accuracy_code": 0.52}


def planned_in_the_page(tokens):
    return Experiment(
        experiment_id="one",
        compute_budget=1.2e18,
        size_param="num_params",
        size_param_value=100_000_000,
        num_params=100_000_000,
        num_tokens=tokens,
        flops_per_token=6e8,
    )


def test_every_placeholder_is_named():
    assert [name for name in (*PATHS, "study_dir") if f"| `{{{name}}}` |" not in PAGE] == []
    row = next(line for line in PAGE.splitlines() if "every field of" in line)
    assert set(re.findall(r"{(\w+)}", row)) <= {item.name for item in fields(Experiment)}


def test_limits_are_as_in_the_code():
    assert (PLAN_TOLERANCE, GRACE_SECONDS) == (0.02, 10)


@pytest.mark.filterwarnings("ignore")
def test_its_python_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.py").write_text(*blocks("python"))
    monkeypatch.chdir(tmp_path)
    runpy.run_path("page.py")
    imported, left_out = capsys.readouterr().out.splitlines()
    assert imported == "imported True"
    assert left_out.startswith("2 num_tokens = 17 where the nearest planned are ")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_it_is_linked(page):
    assert "(docs/trainers.md)" in (ROOT / page).read_text(encoding="utf-8")
