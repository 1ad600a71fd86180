"""`centre_on_law`: budgets that are new are centred on the study's own law; what exists stays where it is."""

import io
import shutil

import numpy as np
import pytest
from pipeline_study import DAGSTER_WARNINGS
from rich.console import Console

from flops_fit import ExperimentResult, ModelSpec, Study, SweepOptions
from flops_fit.errors import FileError
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.study.sections import TrainerSpec
from flops_fit.synthetic import KnownLaw
from flops_fit_assets.freshness.history import latest_materialization
from flops_fit_assets.graph.centring import Centres, centres_of, own_law
from flops_fit_assets.headless.study import headless_study
from flops_fit_assets.storage.store import StudyStore

pytestmark = DAGSTER_WARNINGS

TRUTH = KnownLaw(E=1.8, A=500.0, B=1500.0, alpha=0.35, beta=0.35)  # optimum: 23 tokens per parameter
BUDGETS, MORE = (1e17, 3e17, 1e18, 3e18), (1e17, 3e17, 1e18, 3e18, 1e19)


def study(budgets=BUDGETS, version="1", **sweep):
    """Only counts of parameters, as for a trainer of one's own; centred far from the optimum, within the span."""
    return Study(
        name="counts",
        model=ModelSpec.from_counts([10**6, 10**10]),
        trainer=TrainerSpec(command="false", version=version),
        sweep=SweepOptions(compute_budgets=budgets, **{"tokens_per_param": 12.0, "centre_on_law": True} | sweep),
    )


def trained(plan, noise=0.001):
    """Every experiment's result by the known law."""
    draws = np.random.default_rng(0).normal(0, noise, plan.num_experiments)
    return [
        ExperimentResult.of(
            item,
            num_tokens=item.num_tokens,
            flops=item.planned_flops,
            status="completed",
            loss=float(TRUTH.loss(item.num_params, item.num_tokens) * np.exp(draw)),
            source="imported",
        )
        for item, draw in zip(plan.experiments, draws, strict=True)
    ]


@pytest.fixture(scope="module")
def first_store(tmp_path_factory):
    """The directory of a store with a plan and a trustworthy law of all its results; to be copied."""
    store, first = StudyStore(directory=tmp_path_factory.mktemp("counts")), study()
    plan = study_plan(first, study_size_map(first))
    for result in trained(plan):
        store.write("training_run", result, result.experiment_id)
    store.write("sweep_plan", plan)
    store.write("scaling_law", fit_study(first, plan, trained(plan)))
    return store.directory


@pytest.fixture
def store(first_store, tmp_path):
    """A store like it."""
    return StudyStore(directory=shutil.copytree(first_store, tmp_path, dirs_exist_ok=True))


def planned(store, of, **overrides):
    """The plan of a study with what `store` holds, kept as the pipeline keeps it."""
    size_map = study_size_map(of)
    centres = centres_of(store, of, size_map, overrides)
    if centres is not None:
        centres.save(store)
    plan = study_plan(of, size_map, overrides=overrides, centre=centres)
    store.write("sweep_plan", plan)
    return plan


def of_budget(plan, budget):
    return [item for item in plan.experiments if item.compute_budget == budget]


def middle(experiments):
    return float(np.exp(np.mean(np.log([item.num_params for item in experiments]))))


def test_a_new_budget_is_centred_on_the_optimum_and_the_others_stay(store):
    before = store.read("sweep_plan")
    assert store.read("scaling_law").verdict == "trustworthy"
    plan = planned(store, study(MORE))
    assert [item for item in plan.experiments if item.compute_budget != 1e19] == before.experiments
    assert middle(of_budget(plan, 1e19)) == pytest.approx(TRUTH.N_opt(1e19), rel=0.05)
    assert middle(of_budget(plan, 3e18)) > 1.2 * TRUTH.N_opt(3e18), "12 tokens per parameter: larger models"


def test_a_budget_removed_and_added_again_is_the_same(store):
    added = planned(store, study(MORE))
    planned(store, study())
    (store.directory / "scaling_law.json").unlink()
    assert of_budget(planned(store, study(MORE)), 1e19) == of_budget(added, 1e19)


def test_another_recipe_and_back_is_the_same(store):
    added = planned(store, study(MORE))
    planned(store, study(MORE, version="2"))
    assert planned(store, study(MORE)) == added


def test_what_was_decided_and_cannot_be_read_stops_the_plan(store):
    planned(store, study(MORE))
    (path,) = (store.directory / "centres").iterdir()
    path.write_text("{")
    with pytest.raises(FileError, match=rf"{path} is torn .* restore it from a copy"):
        planned(store, study(MORE))


def test_without_the_option_the_ratio_of_the_study_counts(store):
    plain = study(MORE, centre_on_law=False)
    assert planned(store, plain) == study_plan(plain, study_size_map(plain))
    assert not (store.directory / "centres").exists()


def test_a_budget_that_was_begun_where_the_study_puts_it_stays_there(store):
    plain = study_plan(study(MORE), study_size_map(study()))
    begun = of_budget(plain, 1e19)
    (store.runs / begun[3].experiment_id).mkdir()
    assert of_budget(planned(store, study(MORE)), 1e19) == begun


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda store: store.path("scaling_law").unlink(), id="there is none"),
        pytest.param(lambda store: store.path("scaling_law").write_text("{"), id="it is torn"),
        pytest.param(lambda store: store.path("sweep_plan").unlink(), id="its plan is not there"),
    ],
)
def test_without_a_law_to_trust_the_ratio_of_the_study_counts(store, spoil):
    spoil(store)
    assert planned(store, study(MORE)) == study_plan(study(MORE), study_size_map(study()))


def test_a_law_that_is_not_trustworthy_at_the_budget_is_not_used(store):
    plan = store.read("sweep_plan")
    law = fit_study(study(), plan, trained(plan)[:14])
    assert law.verdict_at(1e19, "N_opt") != "trustworthy"
    store.write("scaling_law", law)
    assert planned(store, study(MORE)) == study_plan(study(MORE), study_size_map(study()))


def test_the_law_of_another_recipe_is_not_used(store):
    other = study(MORE, version="2")
    assert own_law(store, other, study_size_map(other)) is None


def test_a_budget_farther_than_the_law_reaches_is_not_centred_on_it(store):
    far = study((*BUDGETS, 1e21))
    assert of_budget(planned(store, far), 1e21) == of_budget(study_plan(far, study_size_map(far)), 1e21)


def test_the_file_brings_back_what_was_saved(store):
    planned(store, study(MORE))
    kept = centres_of(store, study(MORE), study_size_map(study()), {})
    assert isinstance(kept, Centres)
    assert list(kept.by_budget) == [1e19]
    assert kept(1e19) == pytest.approx(TRUTH.N_opt(1e19), rel=0.05)
    assert kept.by_budget[1e19].tokens_per_param == pytest.approx(TRUTH.D_opt(1e19) / TRUTH.N_opt(1e19), rel=0.1)


STUDY = """\
name = "counts"

[model]
num_params = [1_000_000, 10_000_000_000]

[trainer]
command = "exit 3"

[sweep]
compute_budgets = {budgets}
tokens_per_param = 12.0
centre_on_law = true
"""


def test_in_the_pipeline_the_plan_says_what_it_is_centred_on(tmp_path):
    console = Console(file=io.StringIO())
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(budgets=list(BUDGETS)))
    home = tmp_path / "home"
    with headless_study(path, home, console) as live:
        plan, _ = live.bring_plan_up_to_date()
        store = StudyStore(directory=home / "counts")
        store.write("scaling_law", fit_study(live.runs.source.study, plan, trained(plan)))
    path.write_text(STUDY.format(budgets=list(MORE)))
    with headless_study(path, home, console) as live:
        plan, done = live.bring_plan_up_to_date()
        shown = latest_materialization(live.instance, live.runs.source.key("sweep_plan")).metadata
    assert done == ["sweep_plan"]
    assert shown["centred on the law"].value.startswith("- 1.00e+19: ")
    assert middle(of_budget(plan, 1e19)) == pytest.approx(TRUTH.N_opt(1e19), rel=0.05)
