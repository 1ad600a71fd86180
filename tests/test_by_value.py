"""`find_optimal` over a second axis: a study for each value, and which is the best."""

import pytest
import torch
from tiny_study import OPTIONS, TinyMLP, examples, held_out

from flops_fit import SweepPlan, find_optimal, find_optimal_by_value
from flops_fit.errors import FlopsFitError, StudyError

LOSS = torch.nn.CrossEntropyLoss()
BUDGETS = [3e5, 6e5]


class OfHeads(TinyMLP):
    """With an argument more."""

    def __init__(self, width, heads, dropout=0.0):
        super().__init__(width, dropout)


def by_value(key, values, folder, train=False, **more):
    options = {**OPTIONS, "flops": "6nd", "num_sizes_per_budget": 3} | more
    model = {"model_cls": TinyMLP, "model_size_param": "width", "dataset": examples(), "loss_fn": LOSS}
    model |= {name: options.pop(name) for name in ("model_kwargs", "model_cls") if name in options}
    options |= {"compute_budgets": BUDGETS, "eval_dataset": held_out(), "train": train, "output_dir": folder}
    return find_optimal_by_value(key, values, **model, **options)


def test_plans_are_those_of_each_value_alone(tmp_path):
    plans = by_value("model.kwargs.dropout", [0.1, 0.2], tmp_path)
    assert [*plans] == ["0.1", "0.2"]
    assert all(isinstance(plan, SweepPlan) for plan in plans.values())
    alone = find_optimal(
        TinyMLP, "width", {"dropout": 0.2}, examples(), LOSS, BUDGETS, eval_dataset=held_out(), train=False,
        **{**OPTIONS, "flops": "6nd", "num_sizes_per_budget": 3},
    )  # fmt: skip
    assert [item.experiment_id for item in plans["0.2"].experiments] == [
        item.experiment_id for item in alone.experiments
    ]


def test_recipes_vary_by_their_option(tmp_path):
    plans = by_value("training.batch_tokens", [64, 128], tmp_path, labels=["a", "b"])
    ids = {label: {item.experiment_id for item in plan.experiments} for label, plan in plans.items()}
    assert ids.keys() == {"a", "b"}
    assert not ids["a"] & ids["b"]


@pytest.mark.parametrize(
    ("key", "values", "more", "message"),
    [
        ("model.kwargs.dropuot", [1, 2], {}, "TinyMLP takes no argument 'dropuot'; did you mean 'dropout'"),
        ("model.kwargs.dropout", [0.1], {}, "one value, 0.1"),
        ("sweep.compute_budgets", [[1e5], [2e5]], {}, "must not vary"),
        ("training.learning_rate", [0.1, 0.2], {}, "learning_rate = 0.02 is given, and training.learning_rate varies"),
        ("model.kwargs.dropout", [0.1, 0.2], {"model_kwargs": {"dropout": 0.3}}, "dropout = 0.3 is given"),
        ("data.context", [8, 16], {}, "is for a study file"),
        ("trainer.command", ["a", "b"], {}, "is for a study file"),
    ],
)
def test_what_cannot_vary_is_refused(tmp_path, key, values, more, message):
    with pytest.raises(StudyError, match=message):
        by_value(key, values, tmp_path, **more)


def test_an_argument_of_the_sizes_varies_beside_others(tmp_path):
    rules = {"dropout": "float(0.1)"}
    plans = by_value("model.sizes.heads", ["1", "width"], tmp_path, sizes=rules, model_cls=OfHeads)
    assert len(plans) == 2
    with pytest.raises(StudyError, match=r"dropout = 'float\(0\.1\)' is given, and model\.sizes\.dropout varies"):
        by_value("model.sizes.dropout", ["float(0.1)", "float(0.2)"], tmp_path, sizes=rules)
    with pytest.raises(StudyError, match=r"sizes = \[{'width': 4}\], which has no keys"):
        by_value("model.sizes.dropout", ["float(0.1)", "float(0.2)"], tmp_path, sizes=[{"width": 4}])


def test_data_that_varies_is_not_given_besides(tmp_path):
    with pytest.raises(StudyError, match=r"dataset = .* is given, and data\.train varies; take it out"):
        by_value("data.train", [examples(), held_out()], tmp_path, labels=["a", "b"])


@pytest.mark.parametrize(
    ("key", "values", "error"),
    [("training.batch_tokens", [64, -1], "batch_tokens = -1"), ("model.kwargs.dropout", [0.1, 3.0], "dropout")],
)
def test_the_last_value_is_checked_before_the_first_is_trained(tmp_path, key, values, error):
    with pytest.raises(FlopsFitError, match=error):
        by_value(key, values, tmp_path, train=True, num_sizes_per_budget=4)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_trained_values_are_ranked_in_compute_and_in_time(tmp_path):
    found = by_value("model.kwargs.dropout", [0.0, 0.5], tmp_path, train=True, num_sizes_per_budget=4)
    ranking = found.ranking(at=6e5)
    assert ranking.names == ("0", "0.5")
    assert ranking.axis.name == "dropout"
    assert ranking.to_dict()["timed_on"]
    assert {path.name for path in tmp_path.iterdir()} == {"dropout_0", "dropout_0_5"}
    assert "is the best" in ranking.summary()
