"""A plan of hundreds of experiments fits a screen: a row for each budget."""

import io

from pipeline_study import write_study
from rich.console import Console

from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.study import Study
from flops_fit_assets.commands.plan import print_plan

BUDGETS = (3e5, 6e5, 1.2e6)


def printed(study):
    console = Console(file=io.StringIO(), width=100)
    print_plan(study, console)
    return console.file.getvalue()


def test_a_row_for_each_budget_where_experiments_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))
    path = write_study(tmp_path, budgets=BUDGETS, sizes=5)
    few = printed(path)
    assert few.count(" 3.00e+05 ") == 5
    path.write_text(path.read_text().replace("target_budgets", f"seeds = {list(range(25))}\ntarget_budgets"))
    study = Study.from_toml(path)
    plan = study_plan(study, study_size_map(study))
    many = printed(path)
    assert f"{plan.num_experiments} experiments are too many to list; one by one: flops-fit plan --json" in many
    assert len(many.splitlines()) < 40
    for budget, experiments in plan.by_budget().items():
        (row,) = [line.split() for line in many.splitlines() if line.startswith(f" {budget:.2e} ")]
        assert row[1:3] == [f"{len(experiments)}", "0"]
        smallest, largest = (f(item.num_params for item in experiments) for f in (min, max))
        assert row[3:6] == [str(smallest), "to", str(largest)]


def test_rows_that_differ_in_their_seed_alone_say_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))
    path = write_study(tmp_path, budgets=BUDGETS, sizes=4)
    assert "seed" not in printed(path)
    path.write_text(path.read_text().replace("target_budgets", "seeds = [3, 7]\ntarget_budgets"))
    lines = printed(path).splitlines()
    (header,) = [line.split() for line in lines if "budget" in line and "params" in line]
    rows = [line.split() for line in lines if line.startswith(" 3.00e+05 ")]
    assert header[:4] == ["budget", "width", "seed", "params"]
    assert [row[2] for row in rows] == ["3", "7"] * (len(rows) // 2)
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
