"""What a study evaluates at the end of each training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.cost.evaluation import Evaluation, evaluation_of

if TYPE_CHECKING:
    from flops_fit.study.study import Study


def study_evaluation(study: Study) -> Evaluation | None:
    """Every held-out set, once for its loss and once more for its metrics, as often as `eval_draws` says.

    None without data, or with a trainer of its own.
    """
    data = study.prepared_data
    if data is None or study.trainer:
        return None
    passes = data.eval_draws * (2 if study.data and study.data.metrics else 1)
    held_out = [each.num_examples for each in data.held_out_sets.values()]
    return evaluation_of(held_out, study.training, data.tokens_per_example, passes)
