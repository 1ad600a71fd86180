"""`flops-fit fit`: a law and its report from a table of runs, a directory of results, or what a study has trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flops_fit.basics.arguments import is_url
from flops_fit.basics.terminal import say, say_markdown
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit.errors import FlopsFitError
from flops_fit.loss_curves import load_curves
from flops_fit.loss_curves.drawn_curves import drawn_curves
from flops_fit.report.report import write_report
from flops_fit.results.results import load_runs
from flops_fit.scaling_law import ScalingLaw, score_forecasts
from flops_fit.scaling_law.fit import fit_scaling_law
from flops_fit.scaling_law.fitting.held import from_text
from flops_fit.scaling_law.from_loss.metric_law import with_metrics
from flops_fit.study.vary import file_of
from flops_fit.sweep.experiment import parse_budget
from flops_fit_assets.commands.reading import Reading

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "flops_fit.fit_command/1"


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How a table is read, as typed: options that a study file has no use for."""

    fix: Sequence[str] = ()
    reading: Reading = field(default_factory=Reading)
    metric: Sequence[str] = ()

    @property
    def given(self) -> list[str]:
        """The options that were typed."""
        of_reading = [option.partition("=")[0] for option in self.reading.typed]
        return [*(["--fix"] if self.fix else []), *of_reading, *(["--metric"] if self.metric else [])]


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A law, where its report belongs, the folder of its trainings if it has one, and lines on the forecasts that its
    runs score."""

    law: ScalingLaw
    report: Path
    trainings: Path | None = None
    forecasts: Any = None


def print_fit(
    runs: Path,
    console: Console,
    report_path: Path | None,
    target: str | None,
    eval_set: str | None,
    options: TableOptions,
    *,
    as_json: bool = False,
) -> None:
    """Fit, write the report, and print the law: as text, or as JSON with the keys of `fit_json`.

    `target` is compute in FLOPs to extrapolate to, several with commas. Raises `FlopsFitError` for what is not valid.
    """
    targets = targets_of(target)
    is_study = file_of(runs).suffix == ".toml"
    found = _of_study(runs, eval_set, options) if is_study else _of_table(runs, eval_set, options)
    law, forecasts = found.law, found.forecasts
    if not as_json:  # before the report, which may fail on its way to the disk
        say(console, law.summary(targets))
    curves = _curves(found)
    written = write_report(law, report_path or found.report, forecasts=forecasts, figures=curves, targets=targets)
    if as_json:
        from flops_fit_assets.commands.printed_json import print_json

        print_json(fit_json(law, targets, written))
        return
    say_markdown(console, "\n".join([*(forecasts.record() if forecasts else ()), f"report: {written}"]))


def targets_of(text: str | None) -> list[float]:
    """Compute in FLOPs, with commas between; raises `FlopsFitError` where text names none."""
    found = [parse_budget(part.strip(), "--target") for part in (text or "").split(",") if part.strip()]
    if text is not None and not found:
        raise FlopsFitError(f"--target {text!r} names no compute; give FLOPs with commas between: --target 1e21,1e22")
    return found


def _curves(found: _Fitted) -> dict[str, Drawn | NotDrawn]:
    """The training curves of the law's runs, used or not, where their logs are here."""
    runs = found.law.runs
    ours = {*runs.experiment_id, *(item.experiment_id for item in runs.excluded)}
    curves = load_curves(found.trainings) if found.trainings is not None else []
    return drawn_curves([curve for curve in curves if curve.experiment_id in ours], found.law.loss_unit)


def _of_table(runs: Path, eval_set: str | None, options: TableOptions) -> _Fitted:
    from flops_fit_assets.commands.forecast import folder_beside

    if eval_set is not None:
        raise click.UsageError(
            f"--eval-set {eval_set} is for a study file, such as study.toml; of a table give --columns "
            f"loss=loss_{eval_set}"
        )
    reading = options.reading.options()
    try:
        table = load_runs(runs)
    except FileNotFoundError as error:
        remedy = "copy it to this machine first" if is_url(runs) else "give a table of runs or a directory of results"
        raise FlopsFitError(f"{runs} does not exist; {remedy}") from error
    law = fit_scaling_law(table, fix=from_text(options.fix), **reading)
    law = with_metrics(law, table, options.metric, **reading)
    forecasts = score_forecasts(folder_beside(runs), law.runs)
    report = runs.with_name(f"{runs.stem}_report.html")
    return _Fitted(law=law, report=report, trainings=runs if runs.is_dir() else None, forecasts=forecasts)


def _of_study(study: Path, eval_set: str | None, options: TableOptions) -> _Fitted:
    from flops_fit_assets.commands.fit_study import law_of_study

    refuse_of_tables(options)
    law, beside = law_of_study(study, eval_set)
    return _Fitted(law=law, report=beside, trainings=beside.parent)


def refuse_of_tables(options: TableOptions) -> None:
    """Raise `UsageError` where options were typed that a study file has no use for."""
    if options.given:
        raise click.UsageError(f"{options.given[0]} is for tables of runs; leave it out, or give the study's runs.csv")


def fit_json(law: ScalingLaw, targets: Sequence[float], report: Path) -> dict[str, Any]:
    """One object: parameters with 90 % intervals, predictions at the default budgets and `targets`, verdict, findings.

    Keys stay as they are within a schema. Losses are in `loss_unit`, compute in FLOPs, N in parameters, D in tokens.
    Where the runs do not determine the law, parameters are null and `determined` is false.
    """
    from flops_fit.scaling_law.prediction_table import budgets_to_show

    budgets = budgets_to_show(law.default_budgets(), targets)
    return {
        "schema": SCHEMA,
        "loss_unit": law.loss_unit or None,
        "determined": law.determined,
        "verdict": law.verdict,
        "parameters": {name: _parameter(law, name) for name in ("E", "A", "B", "alpha", "beta", "a", "b")},
        "runs": len(law.runs),
        "runs_excluded": len(law.runs.excluded),
        "runs_largest_flops": law.runs.flops.max(),
        "objective": law.objective,
        "predictions": [_prediction(law, budget) for budget in budgets],
        "minima": [
            {
                "budget_flops": minimum.compute_budget,
                "num_params": minimum.N if minimum.interior else None,
                "loss": minimum.loss if minimum.interior else None,
                "interior": bool(minimum.interior),
            }
            for minimum in law.isoflops
        ],
        "findings": [_finding(finding) for finding in law.diagnostics],
        "report": str(report),
    }


def _parameter(law: ScalingLaw, name: str) -> dict[str, Any] | None:
    if not law.determined:
        return None
    low, high = law.interval(name)
    return {"value": getattr(law, name), "low": low, "high": high}


def _finding(finding: Any) -> dict[str, str]:
    return {name: getattr(finding, name) for name in ("code", "severity", "message", "remedy")}


def _prediction(law: ScalingLaw, budget: float) -> dict[str, Any]:
    at = law.predict(budget)
    quantities = {"num_params": "optimal_params", "num_tokens": "optimal_tokens", "loss": "expected_loss"}
    return {
        "compute_flops": at["target_compute"],
        **{name: at[key] for name, key in quantities.items()},
        **{f"{name}_interval": list(at[f"{key}_interval"]) for name, key in quantities.items()},
        "level": at["level"],
        "tokens_per_param": at["tokens_per_param"],
        "times_the_largest_run": at["extrapolation"],
        "verdict_num_params": at["verdicts"]["N_opt"],
        "verdict_loss": at["verdicts"]["loss"],
        "warnings": at["warnings"],
    }
