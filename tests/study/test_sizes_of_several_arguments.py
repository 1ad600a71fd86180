"""A study whose sizes set several arguments: read, planned, trained, shown, and taken up again."""

import dataclasses
import io
import json
from pathlib import Path

import pandas as pd
import pytest
import stacks
from rich.console import Console
from stacks import PlainStack, Stack, StackConfig, stack_params
from tiny_study import tiny_study

from flops_fit import ModelSpec, Study, SweepOptions, run_experiment
from flops_fit.cost.estimate import estimate
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.spending import spending
from flops_fit.errors import FlopsFitError, StudyError
from flops_fit.report.run_tables import plan_table
from flops_fit.results.finished import already_finished
from flops_fit.results.matching import match_runs
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.sections import TrainerSpec
from flops_fit.sweep.export import export_commands, export_json
from flops_fit_assets.commands.plan import print_plan
from flops_fit_assets.metadata.size_map import size_map_metadata
from flops_fit_assets.metadata.sweep_plan import plan_metadata
from flops_fit_assets.metadata.training_run import experiment_metadata
from flops_fit_assets.storage.store import StudyStore

REST = """
[data]
train = "tiny_study:train"
eval = "tiny_study:held_out"
[loss]
fn = "torch.nn:CrossEntropyLoss"
[sweep]
compute_budgets = [3e7]
num_sizes_per_budget = 4
[training]
learning_rate = 0.01
[hardware]
device = "cpu"
"""
EXPRESSIONS = """
[model]
factory = "stacks:Stack"
config = "stacks:StackConfig"
size_param = "n_layer"
max_size = 16
[model.sizes]
n_embd = "8*n_layer"
n_hidden = "8*n_embd/3 rounded to 32"
"""
TABLE = """
[model]
factory = "stacks:PlainStack"
kwargs = { heads = 2 }
[[model.sizes]]
label = "S"
width = 8
depth = 1
[[model.sizes]]
label = "M"
width = 16
depth = 1
[[model.sizes]]
label = "L"
width = 16
depth = 2
[[model.sizes]]
label = "XL"
width = 32
depth = 2
"""
BUILT = {"S": stack_params(8, 1), "M": stack_params(16, 1), "L": stack_params(16, 2), "XL": stack_params(32, 2)}


def read(folder, text):
    path = Path(folder) / "study.toml"
    path.write_text('name = "sized"\n' + text + REST)
    return Study.from_toml(path)


def planned(study):
    size_map = study_size_map(study)
    return size_map, study_plan(study, size_map)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A study of a table, its map and its plan."""
    study = read(tmp_path_factory.mktemp("table"), TABLE)
    return study, *planned(study)


def test_expressions_and_config_of_a_study_file(tmp_path):
    study = read(tmp_path, EXPRESSIONS)
    assert (study.model.factory, study.model.config) == (Stack, StackConfig)
    size_map, plan = planned(study)
    for entry in size_map.entries:
        width = 8 * entry.size
        hidden = entry.arguments["n_hidden"]
        assert hidden % 32 == 0
        assert abs(hidden - 8 * width / 3) <= 16
        assert entry.num_params == stack_params(width, entry.size, hidden)
    assert plan.experiments
    assert all(item.arguments["n_embd"] == 8 * item.size_param_value for item in plan.experiments)
    assert "| n_layer | n_embd | n_hidden | N (total) |" in plan.summary()


def test_a_table_of_a_study_file(table):
    study, size_map, plan = table
    assert study.model.size_param == "row"
    assert {entry.label: entry.num_params for entry in size_map.entries} == BUILT
    assert {item.label: item.num_params for item in plan.experiments}.items() <= BUILT.items()
    assert len(plan.experiments) >= 3
    assert type(plan).from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize("text", [EXPRESSIONS, TABLE])
def test_what_is_trained_is_the_model_that_was_planned(tmp_path, text, monkeypatch):
    study = read(tmp_path, text)
    _, plan = planned(study)
    built, build = [], PlainStack.__init__
    monkeypatch.setattr(
        stacks.PlainStack, "__init__", lambda self, *args, **given: (build(self, *args, **given), built.append(self))[0]
    )
    for item in plan.experiments[:2]:
        small = dataclasses.replace(
            item, num_tokens=200, tokens_per_param=None, compute_budget=item.flops_per_token * 200
        )
        result = run_experiment(study, small, output_dir=tmp_path / "runs")
        assert result.status == "completed", result.reason
        assert sum(weight.numel() for weight in built[-1].parameters()) == item.num_params


def test_a_table_in_another_order_finds_its_results_again(table, tmp_path):
    study, _, plan = table
    item = min(plan.experiments, key=lambda item: item.num_tokens)
    run_experiment(study, item, output_dir=tmp_path)
    rows = [{**row, "label": f"new {row['label']}"} for row in reversed(study.model.sizes)]
    other = dataclasses.replace(study, model=ModelSpec(factory=PlainStack, kwargs={"heads": 2}, sizes=rows))
    _, again = planned(other)
    found = already_finished(again.experiments, tmp_path)
    assert list(found) == [item.experiment_id]
    (same,) = [one for one in again.experiments if one.experiment_id == item.experiment_id]
    assert same.label == f"new {item.label}"
    assert same.size_param_value != item.size_param_value


def test_what_a_size_sets_changes_the_model_and_not_the_outcome_of_all():
    def study(**model):
        return tiny_study(model=ModelSpec(**model))

    plain = study(factory=PlainStack, size_param="width")
    sized = study(factory=PlainStack, size_param="width", sizes={"depth": "width"})
    other = study(factory=PlainStack, size_param="width", sizes={"depth": "width + 1"})
    assert len({each.model_fingerprint() for each in (plain, sized, other)}) == 3
    assert len({each.outcome_fingerprint() for each in (plain, sized, other)}) == 1
    configs = [study(factory=Stack, size_param="n_embd", config=config) for config in (StackConfig, stacks.LooseConfig)]
    assert len({each.outcome_fingerprint() for each in configs}) == 2
    assert any("StackConfig" in name for name in configs[0].covered())


def test_workers_are_sent_all_of_it(table):
    import cloudpickle

    study, _, plan = table
    sent = cloudpickle.loads(cloudpickle.dumps(study))
    model = sent.model.build(plan.experiments[-1].size_param_value, plan.experiments[-1].arguments)
    assert sum(weight.numel() for weight in model.parameters()) == plan.experiments[-1].num_params


def test_a_command_gets_every_argument(table, tmp_path):
    _, _, plan = table
    lines = export_commands(plan, "train.py --width {width} --depth {depth} --tokens {num_tokens}")
    item = plan.experiments[0]
    shape = item.arguments
    assert lines[0] == f"train.py --width {shape['width']} --depth {shape['depth']} --tokens {item.num_tokens}"
    written = json.loads(export_json(plan, tmp_path)[0].read_text())
    assert (written["arguments"], written["label"]) == (shape, item.label)
    study = Study(
        name="own",
        model=ModelSpec(factory=PlainStack, size_param="depth", sizes={"width": "8*depth"}),
        sweep=SweepOptions(compute_budgets=[1e8]),
        trainer=TrainerSpec(command="train.py {width} {depth} {result_path}"),
    )
    assert study.trainer is not None
    with pytest.raises(StudyError, match=r"unknown placeholder \{widht\}; did you mean \{width\}"):
        dataclasses.replace(study, trainer=TrainerSpec(command="train.py {widht}"))


def test_runs_are_matched_by_label(table):
    _, _, plan = table
    item = plan.experiments[1]
    runs = pd.DataFrame([{"label": item.label, "num_tokens": item.num_tokens, "loss": 1.0}])
    (result,), unmatched = match_runs(plan, runs)
    assert (result.experiment_id, unmatched) == (item.experiment_id, [])
    moved = runs.assign(experiment_id=item.experiment_id, row=item.size_param_value + 1).drop(columns="label")
    assert match_runs(plan, moved)[0] == [result]
    (), (missed,) = match_runs(plan, runs.assign(label="XXL"))
    assert "label = XXL is in no experiment of the plan" in missed.reason


@pytest.mark.parametrize("width", [80, 120])
def test_the_plan_command_shows_labels_and_what_they_set(table, tmp_path, width, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    read(tmp_path, TABLE)
    console = Console(width=width, file=io.StringIO())
    print_plan(tmp_path / "study.toml", console)
    text = console.file.getvalue()
    lines = [line.split() for line in text.splitlines()]
    assert ["budget", "size", "params", "examples", "per", "param", "memory", "time"] in lines
    assert ["size", "width", "depth", "N"] in lines
    assert ["L", "16", "2", "1.18k"] in lines
    assert "row" not in text.split()


def test_the_pages_show_labels_and_what_they_set(table, tmp_path):
    _, size_map, plan = table
    of_map = size_map_metadata(size_map, tmp_path)
    assert of_map["smallest"] == "S, 336 parameters"
    assert "| S | 8 | 1 | 336 |" in of_map["size table"].value
    cost, hardware = estimate(plan), Hardware()
    of_plan = plan_metadata(plan, cost, spending(plan, cost, {}, hardware), {}, Path("plan.json"), {})
    first = of_plan["plan table"].records[0].data
    item = plan.experiments[0]
    assert (first["size"], first["width"]) == (item.label, str(item.arguments["width"]))
    of_one = experiment_metadata(item, StudyStore(directory=tmp_path))
    assert (of_one["size"], of_one["sets width"]) == (item.label, item.arguments["width"])
    assert f">{item.label}</td>" in plan_table(plan)
    assert f">width {item.arguments['width']}, depth {item.arguments['depth']}</td>" in plan_table(plan)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"8*n_layer"',
            '"8*n_layers"',
            "[model] sizes.n_embd = \"8*n_layers\" has an unknown name 'n_layers'; did you mean",
        ),
        ('size_param = "n_layer"', "", "[model] size_param = None must be the name of the argument"),
        (
            '"stacks:StackConfig"',
            '"stacks:Config"',
            "[model] config = 'stacks:Config': stacks has no 'Config'; did you",
        ),
        (
            'config = "stacks:StackConfig"',
            "config = { n_layer = 3 }",
            "config = {'n_layer': 3} must be \"package.module",
        ),
        (
            '"8*n_layer"', '"8*n_layer"\nmax_params = 1e9',
            "[model.sizes] has max_params, which is a key of [model]; write it above that line",
        ),
    ],
)  # fmt: skip
def test_a_study_file_says_what_is_wrong(tmp_path, old, new, said):
    with pytest.raises(FlopsFitError) as refused:
        read(tmp_path, EXPRESSIONS.replace(old, new))
    assert said in str(refused.value)
    assert "study.toml" in str(refused.value)
