"""A study that tunes its recipe: by trials of its own, once, and then every experiment has its own values."""

import dataclasses
import math
import shutil

import pytest
import torch
from played_trials import PlayedTuning, fragile, tuned_study
from tiny_study import OPTIONS, TinyMLP, examples, held_out, tiny_size_map, tiny_study

from flops_fit import ModelSpec, Recipe, Study, SweepOptions, TrainerSpec, find_optimal, load_runs, run_experiment
from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.errors import FlopsFitWarning, StudyError
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_design, study_plan, tuning_folder

# six trials of tiny models leave doubts, which are warnings
pytestmark = pytest.mark.filterwarnings(
    r"ignore:(the best|how|losses differ|the tuned|\d+ of):flops_fit.errors.FlopsFitWarning"
)
TUNING = {"trainings": 6, "share": 0.5}
BUDGETS = [2e6, 4e6, 8e6]


def found_in(folder, budgets=BUDGETS, **options):
    given = OPTIONS | {"learning_rate": "tune", "tuning": TUNING} | options
    given = {"dataset": examples(), "eval_dataset": held_out(), "loss_fn": torch.nn.functional.cross_entropy} | given
    return find_optimal(TinyMLP, "width", compute_budgets=budgets, output_dir=folder, **given)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return folder, found_in(folder)


def results_in(folder):
    return {path.name: ExperimentResult.load(path / "result.json") for path in (folder / "runs").iterdir()}


def planned_in(folder):
    return list(load_runs(folder / "runs.csv")["experiment_id"])


@pytest.mark.slow
def test_every_experiment_is_trained_at_the_rate_of_the_rule(tuned):
    folder, _ = tuned
    rule = TunedRecipe.load(folder / "recipe_law.json")
    assert len(rule.trials) == 6
    results = results_in(folder)
    ours = [results[name] for name in planned_in(folder)]
    assert len(results) == len(ours) + 6 + 2, "trials, and checks of the rate at the cheapest budget"
    for result in ours:
        assert result.learning_rate == rule.values(result.num_params, result.num_tokens)["learning_rate"]
    assert len({result.learning_rate for result in ours}) > 3


@pytest.mark.slow
def test_other_budgets_do_not_tune_again_and_keep_what_they_share(tuned, tmp_path):
    folder = shutil.copytree(tuned[0], tmp_path / "copy")
    before = {name: result.seconds for name, result in results_in(folder).items()}
    found_in(folder, [4e6, 8e6, 1.6e7])
    after = {name: result.seconds for name, result in results_in(folder).items()}
    assert before.items() < after.items(), "nothing is trained again"
    new = after.keys() - before.keys()
    assert {name.split("-")[0] for name in new & {*planned_in(folder)}} == {"c1.6e+07"}
    assert len(new - {*planned_in(folder)}) == 2, "the rate is checked at what is now the cheapest budget"


@pytest.mark.slow
def test_a_plan_says_what_is_tuned_and_has_the_rule_once_it_is_known(tuned, tmp_path):
    folder, _ = tuned
    with pytest.warns(FlopsFitWarning, match="learning_rate will be tuned first, by at most 6 trials that take at mos"):
        before = found_in(tmp_path, train=False)
    assert {item.tuned for item in before.experiments} == {()}
    assert not (tmp_path / "tuning").exists()
    with pytest.raises(StudyError, match='has no learning_rate of its own, which is "tune" in the recipe'):
        Recipe(learning_rate="tune").peak_learning_rate(before.experiments[0])
    plan = found_in(folder, train=False)
    assert sorted(item.experiment_id for item in plan.experiments) == sorted(planned_in(folder))
    assert "learning_rate" in plan.to_frame()
    assert type(plan).from_dict(plan.to_dict()) == plan


@pytest.mark.slow
def test_where_all_trials_diverge_nothing_else_is_trained(tmp_path):
    wild = {"trainings": 6, "start": {"learning_rate": 1e4}, "bounds": {"learning_rate": (1e3, 1e5)}}
    with pytest.raises(StudyError, match="could not be tuned, so nothing else is trained: all 6 trials diverged"):
        found_in(tmp_path, tuning=wild, loss_fn=fragile)
    assert {result.status for result in results_in(tmp_path).values()} == {"diverged"}
    assert not (tmp_path / "recipe_law.json").exists()


def test_trials_depend_on_model_recipe_and_tuning_and_not_on_budgets(tmp_path):
    study = tuned_study()
    budgets = SweepOptions(compute_budgets=(8e6, 4e7), num_sizes_per_budget=5)
    assert tuning_folder(dataclasses.replace(study, sweep=budgets), tmp_path) == tuning_folder(study, tmp_path)
    model = ModelSpec(factory=TinyMLP, size_param="width", kwargs={"dropout": 0.1})
    others = [
        dataclasses.replace(study, model=model),
        tuned_study(warmup_fraction=0.2),
        tuned_study(TuningOptions(trainings=30)),
    ]
    assert len({tuning_folder(item, tmp_path) for item in (study, *others)}) == 4


def test_every_number_of_the_recipe_can_be_tuned(tmp_path):
    names = ("learning_rate", "batch_tokens", "weight_decay", "warmup_fraction", "final_fraction")
    study = tiny_study(training=Recipe(**dict.fromkeys(names, "tune")))
    design = study_design(study, tiny_size_map())
    assert tuple(item.name for item in design.tuned) == names
    first = PlayedTuning(study).look().planned.experiments
    assert len(first) == 1 + 2 * len(names)
    own = study.training.of(first[0])
    batch = 0.06 * first[0].num_tokens ** 0.67
    assert own.learning_rate == pytest.approx(min(0.02, 0.47 * math.sqrt(batch) * first[0].num_params ** -0.6))
    assert own.weight_decay == own.warmup_fraction == own.final_fraction == 0.1
    assert own.batch_tokens == pytest.approx(max(batch, 1.0)), "an example is the least"
    result = run_experiment(study, first[-1], output_dir=tmp_path)
    assert result.status == "completed", result.reason


def test_a_rate_begins_at_the_default_rule_for_the_batch_there_is():
    design = study_design(tuned_study(batch_tokens=64), tiny_size_map())
    (rate,) = design.tuned
    cheapest = min(design.cells, key=lambda item: item.planned_flops)
    assert rate.guess == pytest.approx(min(0.02, 0.47 * math.sqrt(64) * cheapest.num_params**-0.6))


def test_a_published_rule_may_be_where_it_begins():
    design = study_design(tuned_study(TuningOptions(start="step_law"), batch_tokens="tune"), tiny_size_map())
    rate, batch = design.tuned
    cheapest = min(design.cells, key=lambda item: item.planned_flops)
    assert rate.guess == pytest.approx(1.79 * cheapest.num_params**-0.713 * cheapest.num_tokens**0.307)
    assert batch.guess == pytest.approx(0.58 * cheapest.num_tokens**0.571)


def test_rounds_of_experiments_take_the_rule_too():
    study = tuned_study(TuningOptions(trainings=8))
    rounds = AdaptiveOptions(target_budget=1e8, total_compute=5e7)
    study = dataclasses.replace(study, adaptive=rounds, sweep=None)
    story = PlayedTuning(study)
    known = study.with_tuned_recipe(story.play().found)
    (first, *_) = study_plan(known, tiny_size_map()).experiments
    assert dict(first.tuned).keys() == {"learning_rate"}
    assert story.design.flops == pytest.approx(0.08 * 5e7)


def make(**sections):
    return tiny_study(**sections)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"tuning": TuningOptions()}, 'nothing of the recipe is "tune"; set one of learning_rate, batch_tokens,'),
        (
            {"tuning": TuningOptions(bounds={"weight_decay": (0.1, 1)}), "training": Recipe(learning_rate="tune")},
            'speaks of weight_decay, and "tune" in the recipe is learning_rate; take it out, or set',
        ),
        (
            {"training": Recipe(batch_tokens="tune"), "trainer": TrainerSpec(command="train {width}")},
            'batch_tokens = "tune" with a trainer, which does not get the recipe',
        ),
        (
            {
                "training": Recipe(batch_tokens="tune"),
                "adaptive": AdaptiveOptions(target_budget=1e9, max_hours=1.0),
            },
            r"with \[adaptive\] needs total_compute, of which",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(sections, message):
    with pytest.raises(StudyError, match=message):
        make(**sections)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainings": 3}, "tuning.trainings = 3 must be a whole number of at least 4"),
        ({"share": 1.5}, "tuning.share = 1.5 must be a number above 0 and below 1"),
        ({"start": "chinchilla"}, "tuning.start = 'chinchilla' must be one of step_law, deepseek, or a number above 0"),
        ({"bounds": {"learning_rate": (1, 0.1)}}, "must be two numbers above 0 for each name, the smaller first"),
    ],
)
def test_options_outside_their_limits_are_refused(options, message):
    with pytest.raises(StudyError, match=message):
        TuningOptions(**options)


def test_a_study_file_says_it(tmp_path):
    text = '[model]\nfactory = "tiny_study:TinyMLP"\nsize_param = "width"\n[sweep]\ncompute_budgets = [2e6]\n'
    text += '[training]\nlearning_rate = "tune"\n[tuning]\ntrainings = 12\nbounds = { learning_rate = [1e-4, 1] }\n'
    (tmp_path / "study.toml").write_text(text)
    assert Study.from_toml(tmp_path / "study.toml").tuning == TuningOptions(
        trainings=12, bounds={"learning_rate": (1e-4, 1.0)}
    )
