"""When assets run by themselves, once the automation sensor is switched on."""

from __future__ import annotations

from dagster import AssetKey, AssetSelection, AutomationCondition


def plan_condition(recipe_law: AssetKey | None = None) -> AutomationCondition:
    """Size map and plan: newly missing, or a dependency's data version changed (a mere re-run does not count).

    A plan waits for its `recipe_law`, which may take many runs: one that is about to be requested may well not make it.
    """
    changed = AutomationCondition.any_deps_match(
        AutomationCondition.data_version_changed() | AutomationCondition.will_be_requested()
    ).with_label("a dependency's content changed")
    condition = (
        (AutomationCondition.newly_missing() | changed).since(_handled())
        & ~AutomationCondition.any_deps_missing()
        & ~AutomationCondition.any_deps_in_progress()
        & ~AutomationCondition.in_progress()
    )
    if recipe_law is not None:
        tuning = AutomationCondition.missing() | AutomationCondition.will_be_requested()
        condition = condition & ~AutomationCondition.asset_matches(recipe_law, tuning).with_label("still tuning")
    return condition.with_label("its source changed")


def training_condition(sweep_plan: AssetKey) -> AutomationCondition:
    """Trainings: missing, also since before automation began; one that failed is not tried again for ever.

    None while a blocking check of the plan fails: a training is not the plan's neighbour in the graph, so Dagster
    would not hold it back by itself.
    """
    refused = AutomationCondition.asset_matches(
        sweep_plan, AutomationCondition.any_checks_match(AutomationCondition.check_failed(), blocking_only=True)
    ).with_label("the plan may not be trained")
    return (
        AutomationCondition.missing().newly_true().since(_handled())
        & AutomationCondition.missing()
        & ~AutomationCondition.any_deps_missing()
        & ~AutomationCondition.any_deps_in_progress()
        & ~AutomationCondition.in_progress()
        & ~AutomationCondition.execution_failed()
        & ~refused
    ).with_label("planned, not trained")


def law_condition(training_run: AssetKey) -> AutomationCondition:
    """The law: something changed since it was fitted, how laws are fitted too, and the plan is settled (nothing left to
    train or training)."""
    trainings = AssetSelection.assets(training_run)
    changed = AutomationCondition.any_deps_match(AutomationCondition.data_version_changed()).with_label(
        "a dependency's content changed"
    )
    another_way = AutomationCondition.code_version_changed().with_label("laws are fitted another way")
    waiting = (
        AutomationCondition.any_deps_match(AutomationCondition.missing() & ~AutomationCondition.execution_failed())
        .allow(trainings)
        .with_label("a training is still to do")
    )
    lacking = AutomationCondition.any_deps_missing().ignore(trainings)
    busy = AutomationCondition.any_deps_match(
        AutomationCondition.in_progress() | AutomationCondition.will_be_requested()
    ).with_label("a dependency is under way")
    return (
        (AutomationCondition.newly_missing() | changed | another_way).since(_handled())
        & ~lacking
        & ~waiting
        & ~busy
        & ~AutomationCondition.in_progress()
    ).with_label("plan settled, something new")  # fmt: skip


def comparison_condition() -> AutomationCondition:
    """A comparison of laws: one of them changed since it was made, all are there, and none is being made."""
    changed = AutomationCondition.any_deps_match(AutomationCondition.data_version_changed()).with_label(
        "a law's content changed"
    )
    busy = AutomationCondition.any_deps_match(
        AutomationCondition.in_progress() | AutomationCondition.will_be_requested()
    ).with_label("a law is under way")
    return (
        (AutomationCondition.newly_missing() | changed).since(_handled())
        & ~AutomationCondition.any_deps_missing()
        & ~busy
        & ~AutomationCondition.in_progress()
    ).with_label("laws settled, something new")


def _handled() -> AutomationCondition:
    """Unlike `since_last_handled`, this takes what was missing already when automation was switched on."""
    return AutomationCondition.newly_requested() | AutomationCondition.newly_updated()
