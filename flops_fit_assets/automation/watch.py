"""Notices within seconds that a study's file or source code has changed, and observes its parts."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from flops_fit.errors import FlopsFitError, StudyError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.study.study_file import varied
from flops_fit.study.vary import file_of
from flops_fit_assets.freshness.fingerprints import Reading, read_anew
from flops_fit_assets.freshness.history import latest_made_from
from flops_fit_assets.freshness.observations import observations
from flops_fit_assets.source import StudySource

# Dagster's daemon looks at sensors every 5 seconds, that of `flops-fit ui` more often (`pages/quick_daemon.py`): told
# to wait as long, a sensor would miss every other look.
SENSOR_SECONDS = 1
Paths = Sequence[tuple[StudySource, Path]]


def watch_sensor(
    sources: Sequence[StudySource], name: str, varied_file: Path | None = None
) -> dg.SensorDefinition | None:
    """A sensor that observes the parts of the studies when a file of theirs changes; none for a study in Python.

    The studies are of one file: a single one, or the values of `varied_file`, whose assets are made when the code
    location is loaded, so that values which were added since are named. Its tick, and the observations, say what was
    changed and what that does: `compute_budgets + 4e9: 7 added, 28 kept`. A file that is not valid fails the tick with
    the reason; the earlier plan stays in force.
    """
    paths = [(source, source.origin) for source in sources if isinstance(source.origin, Path)]
    if not paths:
        return None
    path = file_of(paths[0][1])

    @dg.sensor(
        name=f"watch_{name}",
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Looks every few seconds whether {path} or the source code it names has changed; "
        f"automation_{name} then runs what that affects. Off until switched on.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        stamps = [file_stamp(source, each) for source, each in paths]
        stamp = stamps[0] if len(stamps) == 1 else content_hash(stamps)
        if stamp == context.cursor:
            return dg.SkipReason("no file has changed")
        _refuse_torn(path)
        there = paths if varied_file is None else _still_there(paths, varied_file)
        events, said = _observed(context.instance, there)
        if varied_file is not None and (new := _new_values(paths, varied_file)):
            unseen = f"{varied_file} has new values: {', '.join(new)}; reload the code location to see them"
            context.log.warning(unseen)
            said = "; ".join(filter(None, [said, unseen]))
        said = said or "files changed, but nothing in what they mean"
        return dg.SensorResult(asset_events=events, skip_reason=said, cursor=stamp)

    return watch


def _observed(instance: dg.DagsterInstance, paths: Paths) -> tuple[list[dg.AssetObservation], str]:
    """What the studies are now where that is new, and what was changed, of several studies with the name of each."""
    events, said = list[dg.AssetObservation](), list[str]()
    for source, path in paths:
        found, changed = observations(source, instance, _read_anew(source, path, instance))
        events += found
        if found:
            said.append(changed if len(paths) == 1 else f"{source.study.name}: {changed}")
    return events, "; ".join(said)


def _read_anew(source: StudySource, path: Path, instance: dg.DagsterInstance) -> Reading:
    store = source.store
    with contextlib.suppress(FlopsFitError):  # what there is here does to say what changes
        store.pull(store.path("size_map"), store.path("sweep_plan"))
    return read_anew(path, store.directory, latest_made_from(instance, source.key("size_map")))


def _still_there(paths: Paths, varied_file: Path) -> Paths:
    """Those of the values that the file has now: the others keep what they have."""
    parts = _parts(varied_file).values()
    return [(source, path) for source, path in paths if source.prefix[-1] in parts]


def _new_values(paths: Paths, varied_file: Path) -> list[str]:
    known = {source.prefix[-1] for source, _ in paths}
    return [label for label, part in _parts(varied_file).items() if part not in known]


def _parts(varied_file: Path) -> dict[str, str]:
    """Label of each value that the file has now → what its keys begin with."""
    found = varied(varied_file)
    return dict(zip(found[0].labels, found[0].parts, strict=True)) if found is not None else {}


def file_stamp(source: StudySource, path: Path) -> str:
    """Changes when the study file or a source file that may matter is written."""
    return content_hash([[str(file), *_state(file)] for file in sorted({file_of(path), *_source_files(source)})])


def _state(file: Path) -> list[int]:
    try:
        status = file.stat()
    except FileNotFoundError:
        return [0, 0]
    return [status.st_mtime_ns, status.st_size]


def _refuse_torn(path: Path) -> None:
    """Raise `StudyError` at once for a file that is not TOML, without starting a process."""
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read: {error}; the earlier plan stays in force") from error


def _source_files(source: StudySource) -> Iterator[Path]:
    """Python files beside the study file, those that its callables come from (no installed ones), and its data."""
    assert isinstance(source.origin, Path)
    yield from source.origin.parent.glob("*.py")
    study = source.study
    named = [
        study.model.factory,
        study.model.config,
        study.model.flops,
        study.training.learning_rate,
        study.training.optimizer,
    ]
    named += [study.data.train, study.data.eval, *study.data.eval_sets.values()] if study.data else []
    named += [study.loss.fn] if study.loss else []
    yield from study.data.files if study.data else []
    installed = tuple(sysconfig.get_path(which) for which in ("stdlib", "purelib", "platlib"))
    for item in named:
        file = _file_of(item)
        if file is not None and not file.startswith(installed):
            yield Path(file)


def _file_of(item: Any) -> str | None:
    while isinstance(item, functools.partial):
        item = item.func
    module = sys.modules.get(getattr(item, "__module__", None) or "")
    return inspect.getsourcefile(module) if module is not None and hasattr(module, "__file__") else None
