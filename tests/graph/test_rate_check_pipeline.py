"""The checks of the learning rate in Dagster: partitions like any other, paid once, shown on plan, law and report."""

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, run, write_study

from flops_fit import load_runs
from flops_fit_assets.instance.home import open_instance

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.slow]


def write_checked(folder, budgets):
    path = write_study(folder, budgets=budgets)
    path.write_text(path.read_text().replace("[sweep]\n", "[sweep]\ncheck_learning_rate = [3e5]\n"))
    return path


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A study without checks, with them, unchanged, and with another budget."""
    home, steps = tmp_path_factory.mktemp("checked"), {}
    for name, write, budgets in (
        ("plain", write_study, (3e5, 6e5)),
        ("checked", write_checked, (3e5, 6e5)),
        ("unchanged", write_checked, (3e5, 6e5)),
        ("budgets", write_checked, (3e5, 9e5)),
    ):
        outcome = run(write(home, budgets=budgets), home)
        steps[name] = {"outcome": outcome, "made": materializations(home), "results": result_files(home)}
        steps[name]["runs"] = load_runs(home / "tiny" / "runs.csv")
    return {"home": home, **steps}


def test_switched_on_it_adds_its_trainings_and_nothing_else(story):
    plain, checked = story["plain"], story["checked"]
    assert plain["results"].items() < checked["results"].items()
    assert len(checked["results"]) == len(plain["results"]) + 2
    assert checked["made"]["training_run"] == plain["made"]["training_run"] + 2
    assert checked["made"]["experiment"] == plain["made"]["experiment"] + 2
    assert list(checked["runs"]["experiment_id"]) == list(plain["runs"]["experiment_id"])
    assert checked["outcome"].law.E == plain["outcome"].law.E


def test_unchanged_nothing_is_made(story):
    assert story["unchanged"]["made"] == story["checked"]["made"]
    assert not story["unchanged"]["outcome"].done


def test_another_budget_trains_no_check_again(story):
    before, after = story["unchanged"], story["budgets"]
    assert before["results"].items() < after["results"].items()
    assert all(name.startswith("c900000-") for name in after["results"].keys() - before["results"].keys())


def test_plan_law_and_report_show_it(story):
    with open_instance(story["home"], 2) as instance:
        plan, law = (
            instance.get_latest_materialization_event(dg.AssetKey(name)).asset_materialization.metadata
            for name in ("sweep_plan", "scaling_law")
        )
    assert "| checks of the rate | 2 |" in plan["budgets"].value
    assert plan["checks of the learning rate"].value == 2
    assert "the learning rate is checked at 3.00e+05 FLOPs: 2 trainings of the centre size" in plan["notes"].value
    checks = [record.data["rate"] for record in plan["plan table"].records]
    assert sorted(filter(None, checks)) == ["0.01", "0.04"]
    assert "| 3.00e+05 |" in law["checks of the learning rate"].value
    assert "9.00e+05, carried on" in law["checks of the learning rate"].value
    assert any("learning rate" in law[name].value for name in law if name.startswith("finding "))
    report = (story["home"] / "tiny" / "report.html").read_text()
    assert "<h2>The learning rate, checked</h2>" in report
    assert law["experiments missing"].value == 0
