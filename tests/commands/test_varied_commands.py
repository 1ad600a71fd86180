"""The commands on a file with [sweep.vary], as typed: all values planned, trained, fitted and compared."""

import json
import re

import dagster as dg
import pytest
from click.testing import CliRunner
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.cli import main
from flops_fit_assets.headless.dagster_runs import HEADLESS_TAG
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


def write(folder, values, more=""):
    path = write_study(folder, targets=("6e5",))
    path.write_text(f'{path.read_text()}{more}\n[sweep.vary]\n"model.kwargs.dropout" = {values}\n')
    return path


def type_in(folder, *arguments):
    """What a command prints in `folder`, the study's, and its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOPS_FIT_HOME", str(folder))
        patch.chdir(folder)
        result = CliRunner().invoke(main, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def made(folder):
    """Asset → how often it was materialized."""
    with open_instance(folder, 1) as instance:
        keys = [
            key
            for key in instance.all_asset_keys()
            if key.path[-1] in ("training_run", "scaling_law", "law_comparison")
        ]
        return {key.to_user_string(): len(instance.fetch_materializations(key, limit=1000).records) for key in keys}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Two values run, run again, one added, one taken out; with what each step said and made."""
    folder = tmp_path_factory.mktemp("varied")
    steps = {}
    for name, values in {
        "first": [0.0, 0.5], "unchanged": [0.0, 0.5], "added": [0.0, 0.2, 0.5], "removed": [0.2, 0.5]
    }.items():  # fmt: skip
        write(folder, values)
        code, said = type_in(folder, "run")
        steps[name] = {"code": code, "said": said, "made": made(folder)}
    return {"folder": folder, **steps}


def test_every_value_is_trained_and_their_laws_compared(story):
    first = story["first"]
    assert first["code"] == 0, first["said"]
    assert first["made"] == {
        "dropout_0/training_run": 8, "dropout_0_5/training_run": 8,
        "dropout_0/scaling_law": 1, "dropout_0_5/scaling_law": 1, "law_comparison": 1,
    }  # fmt: skip
    assert re.search(r"^dropout 0(\.5)? is the best at 6\.00e\+05 FLOPs with .* %", first["said"], re.MULTILINE)
    assert re.search("0 is the smallest dropout tried|0.5 is the largest dropout tried", first["said"])
    folder = story["folder"]
    assert (folder / "tiny" / "law_comparison.html").is_file()
    assert (folder / "tiny_dropout_0_5" / "report.html").is_file()


def test_a_comparison_is_known_as_headless_and_one_that_was_killed_is_ended_by_the_next(story):
    """Else opening the pages would end one under way, and one that was killed would be under way for ever."""
    folder, ours = story["folder"], dg.RunsFilter(tags={HEADLESS_TAG: "tiny"})
    with open_instance(folder, 1) as instance:
        made_so_far = instance.get_runs(ours)
        assert {run.status.value for run in made_so_far} == {"SUCCESS"}
        assert len(made_so_far) == story["removed"]["made"]["law_comparison"]
        killed = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTED, tags={HEADLESS_TAG: "tiny"})
        instance.add_run(killed)
    assert type_in(folder, "run")[0] == 0
    with open_instance(folder, 1) as instance:
        assert instance.get_run_by_id(killed.run_id).status.value == "FAILURE"


def test_an_unchanged_file_makes_nothing(story):
    assert story["unchanged"]["made"] == story["first"]["made"]
    assert story["unchanged"]["said"].count("nothing had to be trained") == 2


def test_a_value_that_is_added_trains_its_own_experiments_alone(story):
    assert story["added"]["made"] == {
        **story["first"]["made"], "dropout_0_2/training_run": 8, "dropout_0_2/scaling_law": 1, "law_comparison": 2
    }  # fmt: skip


def test_a_value_that_is_taken_out_leaves_the_others(story):
    assert story["removed"]["made"] == {**story["added"]["made"], "law_comparison": 3}
    assert (story["folder"] / "tiny_dropout_0" / "scaling_law.json").is_file()


def test_what_is_there_can_be_looked_at_again(story):
    folder = story["folder"]
    code, said = type_in(folder, "fit", "study.toml", "--target", "1e6")
    assert code == 0, said
    assert "is the best at 1.00e+06 FLOPs" in said
    code, said = type_in(folder, "compare", "study.toml", "--report", "both.html")
    assert (code, (folder / "both.html").is_file()) == (0, True), said
    code, said = type_in(folder, "compare", "study.toml@0.2", "study.toml@0.5", "--at", "1e6")
    assert code == 0, said
    assert "tiny_dropout_0_2" in said
    code, said = type_in(folder, "report")
    assert (code, len(said.splitlines())) == (0, 3), said
    code, said = type_in(folder, "fit", "study.toml", "--json")
    assert json.loads(said)["comparison"]["axis"] == {"name": "dropout", "values": [0.2, 0.5]}
    code, said = type_in(folder, "forecast", "study.toml", "1e6")
    assert code == 1
    assert "name one of them here" in said


def test_a_plan_has_every_value_and_what_all_cost(tmp_path):
    write(tmp_path, [0.0, 0.5])
    code, said = type_in(tmp_path, "plan")
    assert code == 0, said
    rows = [line.split() for line in said.splitlines() if line.strip().startswith(("0 ", "0.5 ", "all "))]
    experiments = {row[0]: int(row[1]) for row in rows[-3:]}
    assert experiments["all"] == experiments["0"] + experiments["0.5"] == 16
    assert "flops-fit plan study.toml@0" in said
    code, said = type_in(tmp_path, "plan", "--json")
    assert [*json.loads(said)["studies"]] == ["0", "0.5"]
    code, said = type_in(tmp_path, "plan", "study.toml@0.5")
    assert (code, "tiny_dropout_0_5" in said) == (0, True), said
    assert not (tmp_path / "tiny").exists()


def test_the_limit_is_that_of_all_values_together(tmp_path):
    """Each value alone is within it: price 2 an hour, some tenths of a second of work for each."""
    code, said = type_in(tmp_path, "plan", write(tmp_path, [0.0, 0.5]), "--json")
    parts = [study["left"]["money"] for study in json.loads(said)["studies"].values()]
    limit = 0.75 * sum(parts)
    assert max(parts) < limit
    path = write(tmp_path, [0.0, 0.5])
    path.write_text(path.read_text().replace("price_per_hour = 2.0", f"price_per_hour = 2.0\nmax_cost = {limit}"))
    code, said = type_in(tmp_path, "plan")
    assert "would be refused: the experiments of all 2 values that are still to train would cost" in said
    code, said = type_in(tmp_path, "run")
    assert code == 1
    assert "nothing was trained: the experiments of all 2 values" in said
    assert "or take values out of [sweep.vary]" in said
    assert "dropout_0/training_run" not in made(tmp_path)


def test_a_key_that_is_not_there_is_refused_before_anything(tmp_path):
    path = write(tmp_path, [0.0, 0.5])
    path.write_text(path.read_text().replace("kwargs.dropout", "kwargs.dropuot"))
    for command in ("plan", "check", "run", "ui", "fit"):
        code, said = type_in(tmp_path, command, "study.toml")
        assert code == 1, command
        assert "TinyMLP takes no argument 'dropuot'; did you mean 'dropout'?" in said, command


def test_its_keys_are_those_of_the_pages(story):
    from flops_fit_assets.definitions import build_study_definitions

    definitions = build_study_definitions(story["folder"] / "study.toml", home=story["folder"])
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    with open_instance(story["folder"], 1) as instance:
        for name in ("law_comparison", "dropout_0_2/scaling_law", "dropout_0_5/sweep_plan"):
            key = dg.AssetKey(name.split("/"))
            assert key in keys
            assert instance.get_latest_materialization_event(key) is not None
