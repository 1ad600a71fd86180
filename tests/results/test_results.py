"""Results and the runs table."""

import dataclasses
import json

import pandas as pd
import pytest

from flops_fit import ExperimentResult, load_runs
from flops_fit.errors import FileError
from flops_fit.results.results import results_frame, save_runs


def result(name="a", **changes):
    content = {
        "experiment_id": name,
        "compute_budget": 1e9,
        "size_param": "width",
        "size_param_value": 8,
        "num_params": 1000,
        "num_tokens": 2000,
        "flops": 1.2e7,
        "flops_per_token": 6000.0,
        "seed": 0,
        "status": "completed",
        "loss": 2.5,
        "versions": {"torch": "2.13.0"},
    }
    return ExperimentResult(**content | changes)


def test_round_trip(tmp_path):
    path = result().save(tmp_path / "a" / "result.json")
    assert ExperimentResult.load(path) == result()
    assert json.loads(path.read_text())["schema"] == "flops_fit.result/1"


@pytest.mark.parametrize("changes", [{"status": "done"}, {"status": "diverged"}, {"loss": None}])
def test_a_status_must_be_known_and_agree_with_the_loss(changes):
    with pytest.raises(ValueError, match=r"status|loss"):
        result(**changes)


FIELDS = [item.name for item in dataclasses.fields(ExperimentResult)]


@pytest.mark.parametrize("name", FIELDS)
def test_a_file_of_which_any_field_was_edited_is_refused(tmp_path, name):
    measured = {"losses": {"web": 2.5}, "metrics": {"accuracy": 0.5}, "measured_by": {"web": "0" * 16}}
    path = result(
        **measured, trunk="width8-s0", trunk_tokens=500, trunk_steps=5, trunk_seconds=0.5, stacked=4, devices=2
    ).save(tmp_path / "result.json")
    content = json.loads(path.read_text())
    value = content[name]
    edits = [value * 1.001, value + 1] if isinstance(value, int | float) else ["edited", None, [value]]
    for edited in edits:
        if edited != value:
            path.write_text(json.dumps(content | {name: edited}))
            with pytest.raises(FileError, match=r"result\.json: was changed since it was written.*delete it to have"):
                ExperimentResult.load(path)


@pytest.mark.parametrize("name", FIELDS)
def test_the_data_version_of_a_result_covers_all_but_how_fast_it_was_and_where(name):
    from flops_fit_assets.freshness.versions import version_of

    changed = result()
    object.__setattr__(changed, name, {"edited": "yes"})
    free = {
        "seconds",
        "tokens_per_second",
        "device",
        "versions",
        "stacked",
        "devices",
        "trunk_tokens",
        "trunk_steps",
        "trunk_seconds",
    }
    assert (version_of(changed) == version_of(result())) == (name in free)


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(FileError, match="colour"):
        ExperimentResult.from_dict(result().to_dict() | {"colour": "red"})


def test_runs_load_from_a_directory_and_from_tables_alike(tmp_path):
    results = [result("a"), result("b", status="failed", loss=None, reason="no memory")]
    for item in results:
        item.save(tmp_path / "runs" / item.experiment_id / "result.json")
    frame = results_frame(results)
    save_runs(results, tmp_path / "runs.csv")
    frame.to_json(tmp_path / "runs.jsonl", orient="records", lines=True)
    for source in ("", "runs", "runs.csv", "runs.jsonl"):
        loaded = load_runs(tmp_path / source)
        assert loaded["experiment_id"].tolist() == ["a", "b"]
        assert loaded["loss"].isna().tolist() == [False, True]
        assert loaded["status"].tolist() == ["completed", "failed"]
    assert {"compute_budget", "num_params", "num_tokens", "flops", "seed"} <= set(frame.columns)
    assert isinstance(frame, pd.DataFrame)


def test_what_holds_no_runs_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"no \*/result\.json"):
        load_runs(tmp_path)
    (tmp_path / "runs.docx").write_text("")
    with pytest.raises(FileError, match=r"\.csv, \.tsv, \.txt, \.json, \.jsonl"):
        load_runs(tmp_path / "runs.docx")
