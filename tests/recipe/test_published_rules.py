"""Published rules give the published numbers, and say where they were not fitted."""

import warnings

import pytest
from tiny_study import held_out, tiny_size_map, tiny_study, train
from torch import nn

from flops_fit import Experiment, ModelSpec, Recipe, Study, find_optimal, load_runs
from flops_fit.errors import FlopsFitWarning
from flops_fit.recipe.published_rules import RULES
from flops_fit.recipe.recipe import doubts
from flops_fit.stages import study_plan, study_size_map

BOTH = {name: Recipe(learning_rate=name, batch_tokens=name) for name in RULES}


def experiment(num_params, num_tokens):
    return Experiment(
        experiment_id="x",
        compute_budget=6 * num_params * num_tokens,
        size_param="width",
        size_param_value=8,
        num_params=int(num_params),
        num_tokens=int(num_tokens),
        flops_per_token=6 * num_params,
    )


@pytest.mark.parametrize(
    ("num_params", "rate", "sequences"),
    [(7e9, 4.2e-4, 2304), (67e9, 3.2e-4, 4608)],
)
def test_deepseeks_rule_gives_what_its_models_were_trained_with(num_params, rate, sequences):
    """Bi et al. 2024, table 2: 2T tokens in sequences of 4096."""
    model = experiment(num_params, 2e12)
    assert BOTH["deepseek"].peak_learning_rate(model) == pytest.approx(rate, rel=0.03)
    assert BOTH["deepseek"].tokens_per_step(model) == pytest.approx(sequences * 4096, rel=0.04)


def test_step_laws_rule_by_hand():
    """1.79 * 10^(-9 * 0.713 + 11 * 0.307) and 0.58 * 10^(11 * 0.571)."""
    model = experiment(1e9, 1e11)
    assert BOTH["step_law"].peak_learning_rate(model) == pytest.approx(1.79 * 10**-3.04)
    assert BOTH["step_law"].tokens_per_step(model) == pytest.approx(0.58 * 10**6.281)
    assert Recipe(batch_tokens="0.58*tokens^0.571").tokens_per_step(model) == pytest.approx(0.58 * 10**6.281)


def test_where_a_rule_was_fitted_nothing_is_said():
    assert doubts(BOTH["step_law"], [experiment(1e8, 1e10)]) == ()
    assert doubts(BOTH["deepseek"], [experiment(1e8, 1e10)]) == ()
    assert doubts(Recipe(), [experiment(1, 1)]) == ()


def test_outside_the_rule_its_range_and_how_many_are_said_once():
    (said,) = doubts(BOTH["step_law"], [experiment(1e8, 1e10), experiment(1e6, 1e10), experiment(1e8, 1e12)])
    assert said.startswith('learning_rate and batch_tokens = "step_law" (Li et al. 2025, arXiv 2503.04715)')
    assert "N from 59.0M to 1.07B and D from 2.00B to 100B" in said
    assert "2 of 3 experiments lie outside" in said
    mixed = Recipe(learning_rate="step_law", batch_tokens="deepseek")
    assert len(doubts(mixed, [experiment(1e6, 1e6)])) == 2


def test_a_plan_warns_once_and_its_ids_are_the_rules_own():
    studies = [tiny_study(training=recipe) for recipe in (Recipe(), *BOTH.values())]
    ids = set()
    for study in studies:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            plan = study_plan(study, tiny_size_map())
        assert sum("lie outside" in str(warning.message) for warning in said) == (study.training != Recipe())
        ids |= {item.experiment_id for item in plan.experiments}
    assert len(ids) == 3 * plan.num_experiments


class Embedded(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(64, width), nn.Linear(width, 64))

    def forward(self, tokens):
        return self.layers(tokens)


@pytest.mark.parametrize(("count", "expected"), [("total", 1), ("non_embedding", 0)])
def test_step_law_asks_for_parameters_without_embeddings(count, expected):
    given = {"model": ModelSpec(factory=Embedded, size_param="width", max_size=64, param_count=count)}
    study = Study(name="tiny", sweep=tiny_study().sweep, training=BOTH["step_law"], **given)
    size_map = study_size_map(study)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        study_plan(study, size_map)
    assert sum('set param_count = "non_embedding"' in str(warning.message) for warning in said) == expected


def test_a_study_trains_by_a_rule_that_depends_on_its_budgets(tmp_path):
    with pytest.warns(FlopsFitWarning, match="deepseek") as said:
        find_optimal(
            tiny_study().model.factory, "width", None, train(), nn.functional.cross_entropy, [2e6, 4e6],
            eval_dataset=held_out(), max_size=64, num_sizes_per_budget=4, device="cpu", workers=1, progress=False,
            output_dir=tmp_path, learning_rate="deepseek", batch_tokens="deepseek",
        )  # fmt: skip
    assert sum("deepseek" in str(warning.message) for warning in said) == 1
    runs = load_runs(tmp_path)
    assert (runs["status"] == "completed").all()
    assert runs.groupby("compute_budget")["learning_rate"].nunique().tolist() == [1, 1], "a function of compute alone"


def test_a_study_file_names_a_rule(tmp_path):
    (tmp_path / "study.toml").write_text(
        'name = "tiny"\n[model]\nfactory = "tiny_study:TinyMLP"\nsize_param = "width"\n'
        '[sweep]\ncompute_budgets = [1e6]\n[training]\nlearning_rate = "step_law"\nbatch_tokens = "deepseek"\n'
    )
    training = Study.from_toml(tmp_path / "study.toml").training
    assert training.learning_rate == "step_law"
    assert training.batch_tokens == "deepseek"
