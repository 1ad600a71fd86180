"""What a study should add: as it is typed into its file, with what it then trains, takes and is expected to bring."""

import dataclasses
import re
import tomllib

import numpy as np
import pytest
from trunk_study import plan_of, trunk_study

from flops_fit import ExperimentResult, ModelSpec, Study, SweepOptions
from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.errors import FlopsFitWarning, PlanError
from flops_fit.extension import extension_of, what_is_next, with_what_is_next
from flops_fit.recipe.trunk import own_parts, trained_flops
from flops_fit.scaling_law.checks.verdict import worst
from flops_fit.scaling_law.next_experiments.width import target_width
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.study.sections import TrainerSpec
from flops_fit.synthetic import KnownLaw

TRUTH = KnownLaw(E=1.8, A=500.0, B=1500.0, alpha=0.35, beta=0.35)
TARGET = 1e20
SECONDS_PER_FLOP = 1e-15


def study(largest=10**10, budgets=(1e17, 3e17, 1e18), **sweep):
    """Counts of parameters alone, as for a trainer of one's own."""
    return Study(
        name="counts",
        model=ModelSpec.from_counts([10**6, largest]),
        trainer=TrainerSpec(command="false", version="1"),
        sweep=SweepOptions(compute_budgets=budgets, **sweep),
    )


def trained(plan, noise, seed=0):
    draws = np.random.default_rng(seed).normal(0, noise, plan.num_experiments)
    return [
        ExperimentResult.of(
            item,
            num_tokens=item.num_tokens,
            flops=item.planned_flops,
            status="completed",
            loss=float(TRUTH.loss(item.num_params, item.num_tokens) * np.exp(draw)),
            seconds=item.planned_flops * SECONDS_PER_FLOP,
        )
        for item, draw in zip(plan.experiments, draws, strict=True)
    ]


def fitted(of, noise=0.02):
    """All that advice is made from: the study, its sizes, plan, results and law."""
    size_map = study_size_map(of)
    plan = study_plan(of, size_map)
    results = trained(plan, noise)
    return of, size_map, plan, results, fit_study(of, plan, results)


@pytest.fixture(scope="module")
def loose():
    return fitted(study())


def typed(said):
    """The option and value that a line tells to set, read as TOML."""
    return tomllib.loads(re.match(r"set (\w+ = .+?) in \[\w+\]", said)[1])


def test_what_is_typed_trains_what_was_said(loose):
    of, size_map, plan, results, law = loose
    said = what_is_next(of, size_map, plan, results, law, TARGET)
    wider = dataclasses.replace(of, sweep=dataclasses.replace(of.sweep, **typed(said)))
    made = study_plan(wider, size_map)

    new = {item.experiment_id for item in made.experiments} - {item.experiment_id for item in plan.experiments}
    assert set(plan.compute_budgets) < set(made.compute_budgets)
    assert f"{len(new)} more experiments" in said
    assert made.num_experiments == plan.num_experiments + len(new)
    cost = sum(item.planned_flops for item in made.experiments if item.experiment_id in new)
    assert f", {cost:.2e} FLOPs, " in said


def test_what_is_expected_of_it_comes_about(loose):
    """Trained by the known law with its noise, over several of these, it narrows the answer about as was said."""
    of, size_map, plan, results, law = loose
    found, _ = extension_of(of, size_map, plan, results, law, TARGET)
    wider = study_plan(of, size_map, overrides={"compute_budgets": found.value})
    widths = [target_width(fit_study(of, wider, trained(wider, 0.02, seed)), TARGET, "N_opt") for seed in range(3)]

    assert np.median(widths) < target_width(law, TARGET, "N_opt")
    assert 0.4 < np.median(widths) / found.widths["N_opt"] < 2.5
    assert found.seconds == pytest.approx(found.flops * SECONDS_PER_FLOP / of.hardware.num_workers(), rel=0.5)


def test_a_law_that_is_trusted_asks_for_nothing():
    sure = fitted(study(budgets=(1e17, 3e17, 1e18, 3e18, 1e19), seeds=[0, 1]), noise=1e-5)
    assert what_is_next(*sure, 2e19) == ""
    assert with_what_is_next(*sure).options == sure[-1].options or sure[-1].verdict != "trustworthy"


def test_where_the_sizes_end_another_seed_is_named_and_why():
    of = fitted(study(largest=10**8))
    said = what_is_next(*of, TARGET)
    assert typed(said) == {"seeds": [0, 1]}
    assert f"{of[2].num_experiments} more experiments" in said
    assert "no larger budget, since " in said
    assert "the largest is" in said


def test_an_adaptive_study_is_given_more_to_spend(loose):
    of, *rest = loose
    asked = dataclasses.replace(of, adaptive=AdaptiveOptions(target_budget=TARGET, total_compute=3e18))
    assert what_is_next(asked, *rest).startswith("set total_compute = 6e18 in [adaptive]")


def test_the_summary_says_it_in_place_of_sizes(loose):
    law = with_what_is_next(*loose)
    (line,) = [line for line in law.summary().splitlines() if line.startswith("    next ")]
    assert typed(line.split("next", 1)[1].strip())["compute_budgets"][:3] == [1e17, 3e17, 1e18]
    assert "train N =" in loose[-1].summary()
    assert type(law).from_dict(law.to_dict()).summary() == law.summary()


def test_the_verdict_is_said_of_what_was_asked_too_and_never_in_place_of_its_own(loose):
    law = loose[-1]
    near = 1.5 * float(law.runs.flops.max())
    asked = worst(law.verdict_at(near, name) for name in ("N_opt", "loss"))
    assert (asked, law.verdict) == ("provisional", "not supported")
    said = f"  verdict     provisional at {near:.2e} FLOPs; not supported at {10 * law.runs.flops.max():.2e}, ten times"
    assert said in law.summary([near])
    assert "  verdict     not supported\n" in law.summary()


def test_a_study_that_cannot_be_planned_here_keeps_its_law(loose, monkeypatch):
    def gone(*_, **__):
        raise FileNotFoundError("data/train.bin")

    monkeypatch.setattr("flops_fit.extension.study_plan", gone)
    with pytest.warns(FlopsFitWarning, match=r"cannot be planned here: FileNotFoundError: data/train\.bin"):
        assert with_what_is_next(*loose) is loose[-1]


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_a_target_that_is_no_compute_is_refused(loose, target):
    with pytest.raises(PlanError, match=r"target .*give training FLOPs as a positive finite number"):
        what_is_next(*loose, target)


def test_of_trunks_what_finished_experiments_have_trained_is_not_trained_again():
    of = trunk_study()
    plan = plan_of(of)
    tokens_per_example = of.prepared_data.tokens_per_example
    own = own_parts(of.training, plan.experiments, tokens_per_example)
    results = [
        dataclasses.replace(result, trunk_tokens=result.num_tokens - own[result.experiment_id].examples)
        for result in trained(plan, 0.02)
    ]
    assert tokens_per_example == 1
    law = fit_study(of, plan, results)
    found, _ = extension_of(of, study_size_map(of), plan, results, law, 1e9)

    whole = study_plan(of, study_size_map(of), overrides={found.option: found.value})
    new = {item.experiment_id for item in whole.experiments} - {item.experiment_id for item in plan.experiments}
    assert {item.experiment_id for item in found.experiments} == new
    apart = sum(item.planned_flops for item in found.experiments)
    both, before = (trained_flops(of.training, each.experiments) for each in (whole, plan))
    assert found.flops == pytest.approx(both - before)
    assert found.flops < 0.9 * apart
