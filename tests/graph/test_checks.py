"""Every asset check passes where it should and fails where it should; what blocks, and what stops a run."""

import dataclasses
import math

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, run, write_study
from tiny_study import tiny_study

from flops_fit import fit_scaling_law
from flops_fit.errors import StudyError
from flops_fit.results.results import ExperimentResult
from flops_fit.sizes.size_map import SizeEntry
from flops_fit.stages import study_plan, study_size_map
from flops_fit.synthetic import SYMMETRIC, synthetic_runs
from flops_fit_assets.definitions import definitions_of
from flops_fit_assets.graph import checks
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


def passed(results):
    return {result.check_name: result.passed for result in results}


def found(results, name):
    return next(result for result in results if result.check_name == name).metadata["found"].value


def at(tokens_per_param, plan):
    """The same centre for every budget."""
    return dict.fromkeys(plan.compute_budgets, tokens_per_param)


@pytest.fixture(scope="module")
def size_map():
    return study_size_map(tiny_study())


@pytest.fixture(scope="module")
def plan(size_map):
    return study_plan(tiny_study(), size_map, overrides={"num_sizes_per_budget": 5})


def test_every_check_declared_is_made_and_says_what_it_means(size_map, plan):
    made = {
        "size_map": checks.size_map_checks(size_map),
        "sweep_plan": checks.plan_checks(plan, at(20.0, plan), None, "no limit given"),
        "training_run": checks.run_checks(plan.experiments[0], completed(plan.experiments[0]), 2.0),
    }
    for stage, results in made.items():
        specs = checks.check_specs(stage, dg.AssetKey(stage))
        assert [spec.name for spec in specs] == [result.check_name for result in results]
        assert [spec.name for spec in specs if spec.blocking] == (["affordable"] if stage == "sweep_plan" else [])
        assert all(len(spec.description) > 20 for spec in specs)


class TestSizeMap:
    def test_parameters_that_fall(self, size_map):
        entries = (SizeEntry(size=999, num_params=1, flops_per_token=6.0), *size_map.entries)
        assert passed(checks.size_map_checks(size_map))["parameters_grow_with_size"]
        assert not passed(checks.size_map_checks(dataclasses.replace(size_map, entries=entries)))[
            "parameters_grow_with_size"
        ]

    @pytest.mark.parametrize(("share", "sound"), [(1.0, True), (1.45, True), (1.6, False), (0.7, True), (0.6, False)])
    def test_six_n_against_what_was_measured(self, size_map, share, sound):
        entries = [
            dataclasses.replace(entry, measured_flops_per_token=share * entry.flops_per_token)
            for entry in size_map.entries
        ]
        odd_one = dataclasses.replace(entries[0], measured_flops_per_token=entries[0].flops_per_token * 100)
        made = checks.size_map_checks(dataclasses.replace(size_map, entries=(odd_one, *entries[1:])))
        assert passed(made)["six_n_is_sound"] is sound, "the typical ratio decides, not the worst"
        assert f"x{share:.3g} of it" in found(made, "six_n_is_sound")

    def test_six_n_is_not_judged_where_it_is_not_used_or_nothing_was_measured(self, size_map):
        off = tuple(dataclasses.replace(entry, measured_flops_per_token=1e9) for entry in size_map.entries)
        measured = dataclasses.replace(size_map, entries=off, flops_method="measured")
        blank = tuple(dataclasses.replace(entry, measured_flops_per_token=None) for entry in size_map.entries)
        unknown = dataclasses.replace(size_map, entries=blank)
        for one in (measured, unknown):
            assert passed(checks.size_map_checks(one))["six_n_is_sound"]


class TestPlan:
    def test_a_plan_off_its_budget_or_with_few_sizes(self, plan):
        good = passed(checks.plan_checks(plan, at(20.0, plan), None, ""))
        assert good == {
            "flops_on_budget": True,
            "enough_sizes": True,
            "brackets_the_optimum": True,
            "affordable": True,
        }
        double = 2 * plan.experiments[0].num_tokens
        off = dataclasses.replace(plan.experiments[0], num_tokens=double, tokens_per_param=None)
        made = checks.plan_checks(dataclasses.replace(plan, experiments=[off]), at(20.0, plan), None, "")
        bad = passed(made)
        assert not bad["flops_on_budget"]
        assert not bad["enough_sizes"]
        assert "the plan has 1 experiment that differ in size or tokens, too few for a law" in found(
            made, "enough_sizes"
        )

    @pytest.mark.parametrize(
        ("keep", "lacking"), [(lambda ratio: ratio > 20, "fewer"), (lambda ratio: ratio < 20, "more")]
    )
    def test_sizes_on_one_side_of_the_optimum_only(self, plan, keep, lacking):
        one_sided = [item for item in plan.experiments if item.compute_budget == 2e6 or keep(item.tokens_per_param)]
        made = checks.plan_checks(dataclasses.replace(plan, experiments=one_sided), at(20.0, plan), None, "")
        assert not passed(made)["brackets_the_optimum"]
        assert f"4.00e+06 has no size with {lacking};" in found(made, "brackets_the_optimum")
        assert "2.00e+06" not in found(made, "brackets_the_optimum")

    def test_the_optimum_that_counts_is_the_studys(self, plan):
        assert not passed(checks.plan_checks(plan, at(10_000.0, plan), None, ""))["brackets_the_optimum"]

    def test_what_costs_too_much_is_an_error(self, plan):
        result = checks.plan_checks(plan, at(20.0, plan), "it would cost $9", "")[-1]
        assert (result.check_name, result.passed, result.severity) == ("affordable", False, dg.AssetCheckSeverity.ERROR)


def completed(item):
    names = {field.name for field in dataclasses.fields(ExperimentResult)}
    given = {name: value for name, value in item.to_dict().items() if name in names}
    return ExperimentResult(**given, status="completed", loss=1.0, flops=item.planned_flops)


class TestTraining:
    def test_a_training_that_diverged_or_did_too_little(self, plan):
        item = plan.experiments[0]
        good = completed(item)
        assert set(passed(checks.run_checks(item, good, 1.4)).values()) == {True}
        short = dataclasses.replace(good, status="diverged", loss=None, reason="NaN", flops=good.flops / 2)
        assert set(passed(checks.run_checks(item, short, 1.4)).values()) == {False}
        assert math.isclose(short.flops * 2, good.flops)

    @pytest.mark.parametrize(("first_loss", "learnt"), [(1.4, True), (1.0, False), (0.9, False), (None, True)])
    def test_a_training_that_learnt_nothing(self, plan, first_loss, learnt):
        made = checks.run_checks(plan.experiments[0], completed(plan.experiments[0]), first_loss)
        assert passed(made)["below_trivial_baseline"] is learnt
        assert made[-1].severity == dg.AssetCheckSeverity.WARN


class TestLaw:
    def test_agreement_of_the_approaches(self):
        law = fit_scaling_law(synthetic_runs(SYMMETRIC))
        assert passed(checks.law_checks(law, []))["approaches_agree"]
        minima = law.isoflops
        moved = (*minima[:-1], dataclasses.replace(minima[-1], N=1.6 * minima[-1].N))
        made = checks.law_checks(dataclasses.replace(law, isoflops=moved), [])
        assert not passed(made)["approaches_agree"]
        assert found(made, "approaches_agree").startswith("at 1.00e+20 its own minimum is at")
        outside = (*minima[:-1], dataclasses.replace(moved[-1], interior=False))
        made = checks.law_checks(dataclasses.replace(law, isoflops=outside), ["x"])
        assert passed(made) | {"trustworthy": None} == {
            "minima_are_interior": False,
            "no_experiment_missing": False,
            "approaches_agree": True,
            "trustworthy": None,
        }


def limited(folder, limit):
    """The tiny study, which costs cents at the price that is set here, with `limit` in its hardware section."""
    path = write_study(folder, workers=2)
    path.write_text(path.read_text().replace("price_per_hour = 2.0", f"price_per_hour = 1e9\n{limit}"))
    return path


LIMITS = {
    "max_cost = 1.0": r"nothing was trained: the 8 experiments still to train would cost \$\S+, more than "
    r"max_cost = \$1.00; raise max_cost",
    "max_hours = 1e-9": r"would take .* hours on 2 workers, more than max_hours = 1e-09; raise max_hours",
}


@pytest.mark.slow
def test_what_costs_too_much_is_refused_before_training_and_blocks(tmp_path):
    for limit, message in LIMITS.items():
        path = limited(tmp_path, limit)
        with pytest.raises(StudyError, match=message):
            run(path, tmp_path)
        assert not list((tmp_path / "tiny").glob("runs/*"))
        runs = AssetRuns.of(path, tmp_path)
        with open_instance(tmp_path, 2) as instance, pytest.raises(RunFailed, match="blocking asset check failed"):
            runs.materialize(instance, "sweep_plan")
        assert not list((tmp_path / "tiny").glob("runs/*"))
    path.write_text(path.read_text().replace(limit, "max_cost = 1e9\nmax_hours = 10"))
    outcome = run(path, tmp_path)
    assert outcome.done[0] == "sweep_plan", "planned again, so that its check is"
    assert len(outcome.results) == 8


def test_automation_trains_nothing_while_the_plan_costs_too_much(tmp_path):
    path = limited(tmp_path, "max_cost = 1.0")
    with open_instance(tmp_path, 2) as instance:
        runs = AssetRuns.of(path, tmp_path)
        runs.materialize(instance, "size_map")
        with pytest.raises(RunFailed):
            runs.materialize(instance, "sweep_plan")
        first = dg.evaluate_automation_conditions(definitions_of(runs.source), instance)
        assert first.get_num_requested(dg.AssetKey("training_run")) == 0
        path.write_text(path.read_text().replace("max_cost = 1.0", "max_cost = 1e9"))
        runs = AssetRuns.of(path, tmp_path)
        runs.materialize(instance, "sweep_plan")
        second = dg.evaluate_automation_conditions(definitions_of(runs.source), instance, cursor=first.cursor)
        assert second.get_num_requested(dg.AssetKey("training_run")) == 8
