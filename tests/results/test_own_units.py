"""What a study counted itself is in no doubt about units, however large its losses are."""

import numpy as np

from flops_fit import ExperimentResult, ModelSpec, Study, SweepOptions, TrainerSpec
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.synthetic import REPLICATION


def test_a_squared_error_is_not_taken_for_a_perplexity():
    study = Study(
        name="metres",
        model=ModelSpec.from_counts([10**6, 10**10]),
        trainer=TrainerSpec(command="false", version="1"),
        sweep=SweepOptions(compute_budgets=(1e17, 1e18, 1e19)),
    )
    plan = study_plan(study, study_size_map(study))
    draws = np.random.default_rng(0).normal(0, 0.002, plan.num_experiments)
    results = [
        ExperimentResult.of(
            item, num_tokens=item.num_tokens, flops=item.planned_flops, status="completed", source="imported",
            loss=100 * float(REPLICATION.loss(item.num_params, item.num_tokens) * np.exp(draw)),
        )
        for item, draw in zip(plan.experiments, draws, strict=True)
    ]  # fmt: skip
    law = fit_study(study, plan, results)
    assert np.median(law.runs.loss) > 100
    assert not {"units", "loss_kind", "flops_conventions"} & {finding.code for finding in law.diagnostics}
