"""The named held-out sets of a study: which the law is fitted to, and on which of them results have no loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flops_fit.basics.arguments import did_you_mean
from flops_fit.errors import StudyError
from flops_fit.results.on_set import HeldOutSet
from flops_fit.results.results import ExperimentResult
from flops_fit.study.study import Study


def held_out_note(study: Study) -> str | None:
    """Which held-out sets there are, and which of them the law is fitted to; None for a single one."""
    law_set = study.law_set
    if law_set is None:
        return None
    others = [name for name in study.eval_names if name != law_set]
    more = f"; every new result also has the loss on {', '.join(others)}" if others else ""
    return f"the law is fitted to the loss on held-out set {law_set}{more}"


def held_out_set(study: Study, name: str | None = None) -> HeldOutSet | None:
    """The held-out set `name`, by default the one that the law is fitted to; None where there is a single one.

    Raises `StudyError` for a name that is none of the study's.
    """
    names = list(study.eval_names)
    wanted = name or study.law_set
    if wanted is None:
        return None
    if wanted not in names:
        known = did_you_mean(wanted, names) if names else "name several in [data.eval] (eval_dataset in Python)"
        raise StudyError(f"eval_set = {wanted!r} is none of the study's held-out sets; {known}")
    by_trainer = study.trainer is not None
    return HeldOutSet(
        name=wanted,
        fingerprint=study.measured_by[wanted],
        is_first=wanted == names[0] and not by_trainer,
        by_trainer=by_trainer,
    )


def judged(study: Study, results: Mapping[str, ExperimentResult]) -> dict[str, ExperimentResult]:
    """Results of trials with the loss that their recipe is tuned for: that on the set of the law."""
    of_set = held_out_set(study)
    return {name: of_set.taken(result) if of_set else result for name, result in results.items()}


def lacking_sets(study: Study, results: Iterable[ExperimentResult]) -> list[str]:
    """For each held-out set on which finished `results` have no loss how many they are, and what to do."""
    there = list(results)
    sets = [held_out_set(study, name) for name in study.eval_names]
    return [f"{said}; {item.remedy}" for item in sets if item and (said := item.missing(there))]


def measured_columns(study: Study) -> dict[str, tuple[str, str]]:
    """Column of a runs table → the held-out set or the metric that it is of, and the hash of that as it is now."""
    sets, by = list(study.eval_names), study.measured_by
    losses = {f"loss_{name}": (name, by[name]) for name in sets}
    metrics = {
        column: (metric, code)
        for metric, code in study.metric_code.items()
        for column in ([f"{metric}_{name}" for name in sets] or [metric])
    }
    return losses | metrics
