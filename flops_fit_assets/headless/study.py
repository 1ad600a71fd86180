"""`flops-fit run`: bring a study up to date without Dagster's daemon, doing only what is stale or missing.

What is current is decided by content: the files' hashes against the data versions of the latest materializations, and
what they were made from against what they would be made from now. Each piece of work is one Dagster run in the shared
instance, so that the pages show the same history as for runs started there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import AssetKey, DagsterInstance

from flops_fit.adaptive.progress import round_text
from flops_fit.adaptive.spent import refuse_over_total
from flops_fit.basics.terminal import say
from flops_fit.cost.devices import refuse_devices
from flops_fit.cost.hardware import peak_to_show
from flops_fit.cost.spending import refuse_over_limit
from flops_fit.errors import FileError
from flops_fit.preflight.preflight import preflight_if_due
from flops_fit.processes.workers import WorkerPool
from flops_fit.results.results import ExperimentResult, failed_result
from flops_fit.stages import study_cost, study_grid, trials_plan
from flops_fit.sweep.enough import refuse_too_few
from flops_fit.sweep.order import longest_first
from flops_fit.training.progress import StudyProgress
from flops_fit.training.side_by_side import trained_in
from flops_fit.training.stacked.groups import grouped_in_words, stacks_of
from flops_fit_assets.freshness import versions
from flops_fit_assets.freshness.fingerprints import Reading, fingerprints
from flops_fit_assets.freshness.history import latest_made_from, latest_version
from flops_fit_assets.freshness.observations import observations
from flops_fit_assets.freshness.settings import settings_of
from flops_fit_assets.graph.io_manager import StudyIOManager
from flops_fit_assets.graph.progress import say_progress
from flops_fit_assets.graph.recipe_law import kept_tuning, tuning_version
from flops_fit_assets.graph.rounds import kept_rounds, rounds_progress, settled_version
from flops_fit_assets.graph.rounds_sensor import rounds_observations
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed, end_orphans
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.instance.locks import study_lock
from flops_fit_assets.metadata.forecasts import study_calibration
from flops_fit_assets.metadata.published_files import missing_files, publish
from flops_fit_assets.metadata.study_figures import study_figures
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.remote import refuse_unusable
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.adaptive.progress import Progress
    from flops_fit.adaptive.rounds import Round
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.scaling_law.forecasts.calibration import Calibration
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a headless run left: the law, how forecasts came out, the results by id, what it had to do for it, and of an
    adaptive study its rounds."""

    law: ScalingLaw
    forecasts: Calibration
    plan: SweepPlan
    results: Mapping[str, ExperimentResult]
    done: Sequence[str]
    directory: Path
    rounds: Progress | None = None

    @property
    def not_completed(self) -> list[ExperimentResult]:
        """Experiments of the plan that failed or diverged."""
        return [result for result in self.results.values() if result.status != "completed"]


def run_study(
    path: Path, home: Path, console: Console, until: tuple[str, ...] = (), *, train_anyway: bool = False
) -> Outcome:
    """Bring the study at `path` up to date in `home`, an adaptive one until it knows what `until` says (`wished`).

    Raises `FlopsFitError` for a study that is not valid, is being run already, or is too small for a law (unless
    `train_anyway`); `RunFailed` where a stage other than a training fails.
    """
    with headless_study(path, home, console, until) as study:
        return study.bring_up_to_date(train_anyway=train_anyway)


@contextmanager
def headless_study(path: Path, home: Path, console: Console, until: tuple[str, ...] = ()) -> Iterator[HeadlessStudy]:
    """The study at `path` with the instance in `home`, held against other headless processes.

    Raises `FlopsFitError` for a study that is not valid or is held already, or a storage that cannot be used.
    """
    runs = AssetRuns.of(path, home, until=until)
    refuse_unusable(runs.storage)
    with study_lock(runs.source.directory), open_instance(home, runs.source.study.hardware.num_workers()) as instance:
        end_orphans(instance, runs.source.study.name)
        yield HeadlessStudy(runs=runs, instance=instance, console=console)


@dataclass(frozen=True, kw_only=True)
class HeadlessStudy:
    """A study, what is remembered of it, and where to speak; see `headless_study`."""

    runs: AssetRuns
    instance: DagsterInstance
    console: Console

    def bring_up_to_date(self, *, train_anyway: bool = False) -> Outcome:
        """Size map and plan where they are stale, every training that is missing, then the law if anything changed; of
        an adaptive study this again and again, until no further round is planned."""
        done: list[str] = []
        trained: list[str] = []
        tried: dict[str, ExperimentResult] = {}
        with self._workers() as workers:
            judged = not (train_anyway or self._is_adaptive)
            tuned = self._tune(workers, judged)
            while True:
                known = len(self._rounds)
                plan, made = self.bring_plan_up_to_date(workers)
                if judged:
                    refuse_too_few(plan.too_few, "--train-anyway")
                for item in self._rounds[known:]:
                    say(self.console, round_text(item))
                say_progress(self._source, self.instance)
                results, new = self._train_what_is_missing(plan, workers, tried)
                say_progress(self._source, self.instance)
                tried |= {name: results[name] for name in new}
                fitted, failure = self._ensure_law(plan, results)
                done, trained = [*done, *made, *fitted], [*trained, *new]
                if not self._is_adaptive or not (made or new):
                    break
        say_progress(self._source, self.instance)
        if failure is not None:
            raise failure
        law = self._store.read("scaling_law")
        forecasts = study_calibration(self._store, law)
        rounds = rounds_progress(self._source, law, self.instance) if self._is_adaptive else None
        if missing := missing_files(self._store):
            self._say(f"written again, since they were gone: {', '.join(path.name for path in missing)}")
            finished = _final(results)
            figures = study_figures(self._store, self._source.study, plan, law, finished)
            publish(self._store, self._source.study, plan, law, finished, figures, forecasts, rounds)
        return Outcome(
            law=law,
            forecasts=forecasts,
            plan=plan,
            results=results,
            done=[*dict.fromkeys([*tuned, *done]), *trained],
            directory=self._source.directory,
            rounds=rounds,
        )

    def _tune(self, workers: WorkerPool, judged: bool) -> list[str]:
        """Have the rule for what the recipe tunes, if it does, by trials round by round; ids and stages made for it."""
        if self._source.study.tuning is None:
            return []
        self._observe()
        done = [stage for stage in ("size_map",) if self._ensure(stage, workers)]
        tried: dict[str, ExperimentResult] = {}
        known = -1
        if judged and not self._is_current("recipe_law", self._recipe_law_from()):
            refuse_too_few(study_grid(self._source.study, self._store.read("size_map")).too_few, "--train-anyway")
        while not self._is_current("recipe_law", self._recipe_law_from()):
            self._materialize("recipe_law")
            rounds = kept_tuning(self._store, self._source.study)[1]
            if len(rounds) == known and not self._is_current("recipe_law", self._recipe_law_from()):
                raise RunFailed("recipe_law: trials ended without a result; run again, which tries them once more")
            known = len(rounds)
            plan = trials_plan(self._source.study, self._store.read("size_map"), rounds)
            results, new = self._train_what_is_missing(plan, workers, tried)
            tried |= {name: results[name] for name in new}
            done += new
            self._observe()
        if known < 0:
            return done
        for doubt in self._store.read("recipe_law").doubts:
            self._say(doubt)
        return [*done, "recipe_law"]

    def _recipe_law_from(self) -> str:
        size_map_version = versions.version_of(self._store.read("size_map"))
        trials = tuning_version(self._source, self.instance)
        return versions.recipe_law_made_from(self._source.study, size_map_version, trials)

    @property
    def _is_adaptive(self) -> bool:
        return self._source.study.adaptive is not None

    @property
    def _rounds(self) -> tuple[Round, ...]:
        return kept_rounds(self._store, with_recipe(self._source)) if self._is_adaptive else ()

    def _ensure_law(
        self, plan: SweepPlan, results: Mapping[str, ExperimentResult]
    ) -> tuple[list[str], RunFailed | None]:
        """Fit the law where it is not of `results`; which stages were made. Where an adaptive study has too few runs
        for a law, that is no reason to stop: its next round, or why there is none, follows."""
        law_from = versions.law_made_from(versions.version_of(plan), _final(results).values())
        if self._is_current("scaling_law", law_from):
            return [], None
        try:
            self._materialize("scaling_law")
        except RunFailed as error:
            if not self._is_adaptive:
                raise
            return [], error
        return ["scaling_law"], None

    def bring_plan_up_to_date(self, workers: WorkerPool | None = None) -> tuple[SweepPlan, list[str]]:
        """The current plan, and which of size map and plan had to be made for it.

        Where the size map has to be, there will be trainings: `workers` start, which takes them as long as that.
        """
        self._observe()
        done = [stage for stage in ("size_map", "sweep_plan") if self._ensure(stage, workers)]
        return self._store.read("sweep_plan"), done

    def _workers(self) -> WorkerPool:
        from flops_fit.basics.devices import worker_environments

        hardware = self._source.study.hardware
        return WorkerPool(
            "flops_fit_assets.headless.dagster_runs:train_partitions",
            num_workers=hardware.num_workers(),
            shared=self.runs,
            environments=worker_environments(hardware.device),
        )

    @property
    def _source(self) -> StudySource:
        return self.runs.source

    @property
    def _store(self) -> StudyStore:
        return self._source.store

    @property
    def _files(self) -> StudyIOManager:
        return StudyIOManager(self._store, self.instance)

    def _observe(self) -> None:
        study = self._source.study
        reading = Reading(versions=fingerprints(study), settings=settings_of(study))
        events, _ = observations(self._source, self.instance, reading)
        for event in [*events, *rounds_observations(self._source, self.instance)]:
            self.instance.report_runless_asset_event(event)

    def _ensure(self, stage: str, workers: WorkerPool | None) -> bool:
        """Materialize the size map or the plan if it is not current; whether that was needed."""
        if stage == "size_map":
            made_from = versions.size_map_made_from(self._source.study)
        else:
            size_map_version = versions.version_of(self._store.read("size_map"))
            settled = settled_version(self._source, self.instance) if self._source.study.adaptive else ""
            found = versions.version_of(self._store.read("recipe_law")) if self._source.study.tuning else ""
            made_from = versions.plan_made_from(self._source.study, size_map_version, settled, found)
        if self._is_current(stage, made_from):
            return False
        if workers is not None and stage == "size_map":
            workers.start()
        try:
            self._materialize(stage)
        except RunFailed:
            if not self._is_current(stage, made_from):
                raise  # else it was made and a blocking check failed: what speaks against training is said before it
        return True

    def _is_current(self, stage: str, made_from: str) -> bool:
        key: AssetKey = self._source.key(stage)
        try:
            held = versions.version_of(self._store.read(stage))
        except (FileError, FileNotFoundError):
            return False
        return latest_version(self.instance, key) == held and latest_made_from(self.instance, key) == made_from

    def _materialize(self, stage: str) -> None:
        if changed := self._files.set_aside_if_changed(self._source.key(stage)):
            self._say(changed)
        self.runs.materialize(self.instance, stage)

    def _say(self, text: str) -> None:
        say(self.console, text, style="yellow")

    def _train_what_is_missing(
        self, plan: SweepPlan, workers: WorkerPool, tried: Mapping[str, ExperimentResult]
    ) -> tuple[dict[str, ExperimentResult], list[str]]:
        """Results of the plan by id, the old, those `tried` before and the new, and the ids of the new."""
        ids = [experiment.experiment_id for experiment in plan.trainings]
        kept = self._files.load_partitions(self._source.key("training_run"), ids)
        for name, reason in kept.unusable.items():
            self._say(f"{name}: {reason}; trained again")
        results = {**tried, **kept.values}
        todo = longest_first(item for item in plan.trainings if item.experiment_id not in results)
        study = self._source.study
        by_timing = study_cost(study, plan, results.values(), self._store.directory)
        refuse_over_limit(study.hardware, plan, results, by_timing)
        refuse_devices(study.hardware, by_timing.too_large)
        if (
            study.adaptive is not None and todo
        ):  # by the estimate that the round was planned with, which knows no timing
            cost = study_cost(study, plan, results.values())
            refuse_over_total(study.adaptive, study.hardware, plan, results, cost)
        self._try_first_steps(plan, results, workers)
        expected = study_cost(study, plan, results.values(), self._store.directory).seconds
        for result in self._train(todo, workers, expected):
            results[result.experiment_id] = result
        return {name: results[name] for name in ids}, [item.experiment_id for item in todo]

    def _try_first_steps(self, plan: SweepPlan, finished: Mapping[str, ExperimentResult], workers: WorkerPool) -> None:
        """Refuse to spend on a study that fails at every size tried; say what fails at one."""
        in_workers = functools.partial(workers.run, function="flops_fit_assets.headless.dagster_runs:try_in_worker")
        found = preflight_if_due(self._source.study, plan, finished, in_workers)
        if found is not None:
            for problem in found.problems:
                self._say(f"at its first steps {problem}")
            for doubt in found.doubts:
                self._say(f"warning: {doubt}")
            if found.timed is not None:
                found.timed.save(self._store.directory)
            say(self.console, found.cost())

    def _train(
        self, experiments: list[Experiment], workers: WorkerPool, seconds: Mapping[str, float]
    ) -> list[ExperimentResult]:
        results, planned = [], sum(item.planned_flops for item in experiments)
        if not experiments:
            return []
        study = self._source.study
        peak = None if study.slurm else peak_to_show(study.hardware, planned, study.training.precision)
        with StudyProgress(
            len(experiments),
            planned_flops=planned,
            peak=peak,
            console=self.console,
            seconds={item.experiment_id: seconds[item.experiment_id] for item in experiments},
            workers=min(self._source.study.hardware.num_workers(), len(experiments)),
        ) as bars:

            def on_death(experiment: Experiment, error: str) -> None:
                self._end_run_of(experiment.experiment_id, error)

            stacks = self._stacks(experiments)
            try:
                for experiment, result, error in trained_in(workers, stacks, tuple, bars, on_death):
                    results.append(result or self._lost(experiment, error))
                    bars.finish(results[-1])
            except KeyboardInterrupt as error:
                error.add_note(f"{len(results)} of {len(experiments)} experiments were trained")
                raise
        return results

    def _stacks(self, experiments: Sequence[Experiment]) -> list[tuple[Experiment, ...]]:
        """Those to be tried at once together."""
        study, apart = self._source.study, self._store.apart
        stacks = stacks_of(study, experiments, apart=apart)
        say(self.console, *grouped_in_words(study, stacks, apart=apart))
        return stacks

    def _lost(self, experiment: Experiment, error: str | None) -> ExperimentResult:
        self._end_run_of(experiment.experiment_id, error)
        return failed_result(experiment, error or "no result")

    def _end_run_of(self, experiment_id: str, reason: str | None) -> None:
        """Mark the run as failed whose worker died in the middle of it."""
        end_orphans(self.instance, self._source.study.name, partition=experiment_id, reason=reason)


def _final(results: Mapping[str, ExperimentResult]) -> dict[str, ExperimentResult]:
    return {name: result for name, result in results.items() if result.is_final}
