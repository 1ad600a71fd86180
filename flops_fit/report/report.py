"""One self-contained HTML report of a fitted law: figures, tables, verdict, conventions, versions."""

from __future__ import annotations

import html
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flops_fit.adaptive.progress import Progress
from flops_fit.basics.files import write_text
from flops_fit.basics.formatting import format_count, format_flops, format_loss, format_money
from flops_fit.identity.fingerprints import package_version
from flops_fit.rate_check.rate_check import RateCheck
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit.report.figure_block import figure_block
from flops_fit.report.measured_table import measured_table, metrics_section
from flops_fit.report.rate_section import rate_section
from flops_fit.report.recipe_section import recipe_section
from flops_fit.report.report_style import STYLE, definitions, details, html_table, interval_text, json_block
from flops_fit.report.rounds_section import rounds_section
from flops_fit.scaling_law.all_approaches import compare_approaches
from flops_fit.scaling_law.by_set import OPTIMA_OPTION, SET_HEADERS, SET_OPTION, set_rows
from flops_fit.scaling_law.checks.verdict import too_far
from flops_fit.scaling_law.forecasts.calibration import HEADERS as FORECAST_HEADERS
from flops_fit.scaling_law.forecasts.calibration import Calibration
from flops_fit.scaling_law.from_loss.shown import METRICS_OPTION, metric_rows
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.next_experiments.in_words import next_in_words
from flops_fit.scaling_law.prediction_table import (
    PREDICTION_HEADERS,
    VERDICT_HEADERS,
    budgets_to_show,
    prediction_rows,
    verdict_rows,
)
from flops_fit.scaling_law.sensitivity import sensitivity_in_words

VERDICTS = {
    "trustworthy": (
        "ok",
        "At ten times the compute of its runs N_opt is within a factor 1.5 and the loss within 2 % at 90 %.",
    ),
    "provisional": ("warn", "Usable with care: read the findings first."),
    "not supported": ("bad", "The runs do not support a law: the numbers below are shown, not to be used."),
}

MOST_RUNS = 1000  # that are listed one by one
OWN_PLACE = ("thinned", OPTIMA_OPTION, METRICS_OPTION)  # of the law's options, which are shown elsewhere
NOT_SHOWN = "<p>Not shown, since the runs do not support a law.</p>"


def write_report(
    law: ScalingLaw,
    path: str | os.PathLike[str],
    *,
    plan: Any = None,
    study: Mapping[str, Any] | None = None,
    cost: Any = None,
    title: str | None = None,
    images: Mapping[str, bytes] | None = None,
    forecasts: Calibration | None = None,
    rounds: Progress | None = None,
    tuned: TunedRecipe | None = None,
    checked: RateCheck | None = None,
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """Write the report to `path` and return it; the file needs nothing beside it.

    `plan` (a SweepPlan), `study` (its description as plain values) and `cost` (a CostEstimate) add what a reader needs
    to repeat the study. `images` are figures by name (`flops_fit.scaling_law.figures.plots.all_figures`) that are there
    as PNG already; `forecasts` how those of the study came out so far; `rounds` how far an adaptive study has come;
    `tuned` the rule that its recipe was found to follow; `checked` what came of the checks of its learning rate;
    `measured` the losses on held-out sets and the metrics of each experiment.
    """
    name = title or (str(study["name"]) if study and "name" in study else "Scaling law")
    parts: dict[str, Any] = {"plan": plan, "study": study, "cost": cost, "images": images}
    parts |= {"forecasts": forecasts, "rounds": rounds, "tuned": tuned, "checked": checked, "measured": measured}
    return write_text(path, report_html(law, name, **parts))


def report_html(
    law: ScalingLaw,
    name: str,
    *,
    plan: Any = None,
    study: Mapping[str, Any] | None = None,
    cost: Any = None,
    images: Mapping[str, bytes] | None = None,
    forecasts: Calibration | None = None,
    rounds: Progress | None = None,
    tuned: TunedRecipe | None = None,
    checked: RateCheck | None = None,
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """The report as one HTML document; arguments as of `write_report`."""
    from flops_fit.scaling_law.figures.plots import all_figures, figure_png

    there = dict(images or {})
    images = there | {key: figure_png(figure) for key, figure in all_figures(law, without=there).items()}
    sections = [
        _head(law, name),
        _verdict(law),
        figure_block("isoflop", images),
        "<h2>What to train at a budget</h2>" + _predictions(law, plan.target_budgets if plan else ()),
        "<h2>Held-out sets</h2>" + _sets(law) if set_rows(law) else "",
        "<h2>Metrics</h2>" + metrics_section(law) if metric_rows(law) else "",
        "<h2>Rounds</h2>" + rounds_section(rounds) if rounds else "",
        figure_block("frontier", images),
        "<h2>What another size costs</h2>" + _sizes(law),
        "<h2>The law</h2>" + _parameters(law),
        "<h2>Each budget on its own</h2>" + _minima(law),
        "<h2>Other approaches</h2>" + _approaches(law),
        "<h2>Forecasts</h2>" + _forecasts(forecasts) if forecasts else "",
        "<h2>The tuned recipe</h2>" + recipe_section(tuned, plan) if tuned else "",
        "<h2>The learning rate, checked</h2>" + rate_section(checked) if checked else "",
        "<h2>How well it fits, and how sure it is</h2>" + _holdout(law),
        *(figure_block(key, images) for key in ("residuals", "exponents", "contours")),
        "<h2>How this was made</h2>" + _making(law, plan, cost),
        details("Study", json_block(study)) if study else "",
        details(f"Plan of {len(plan.trainings)} trainings", _plan(plan)) if plan is not None else "",
        details(f"{len(law.runs)} runs used", _runs(law)),
        details("Losses on each held-out set, and metrics", measured_table(measured)) if measured else "",
        details(f"{len(law.runs.excluded)} runs excluded", _excluded(law)) if law.runs.excluded else "",
        details("Summary as text", f"<pre>{html.escape(law.summary())}</pre>"),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(name)}: scaling law</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _head(law: ScalingLaw, name: str) -> str:
    runs = law.runs
    lead = (
        f"{len(runs)} runs in {len(law.isoflops)} compute budgets, {format_flops(runs.flops.min())} to "
        f"{format_flops(runs.flops.max())} FLOPs; {format_count(runs.num_params.min())} to "
        f"{format_count(runs.num_params.max())} parameters."
    )
    if not law.determined:
        return f'<h1>{html.escape(name)}</h1><p class="lead">{lead}</p>'
    formula = (
        f"L(N, D) = {law.E:.4g} + {law.A:.4g} / N<sup>{law.alpha:.4f}</sup> + {law.B:.4g} / D<sup>{law.beta:.4f}</sup>"
        f" &nbsp;&nbsp; N<sub>opt</sub> ∝ C<sup>{law.a:.3f}</sup>"
    )
    law_there = f'<h1>{html.escape(name)}</h1><p class="lead">{lead}</p><div class="law">{formula}</div>'
    if law.form == "chinchilla":
        return law_there
    answering = html.escape(law.prediction.description)
    return f"{law_there}<p class='lead'>The answers below are not this formula's. Prediction: {answering}.</p>"


def _verdict(law: ScalingLaw) -> str:
    kind, meaning = VERDICTS[law.verdict]
    box = f'<div class="verdict {kind}"><b>{law.verdict.capitalize()}.</b> {meaning}</div>'
    targets = verdict_rows(law, law.default_budgets()[-2:])
    if targets:
        box += html_table(VERDICT_HEADERS, targets, text=(2, 4))
    if following := next_in_words(law):
        box += f"<p>What would help most: {html.escape(following)}.</p>"
    rows = [
        (f'<span class="tag {f.severity}">{f.severity}</span>', html.escape(f.message), html.escape(f.remedy))
        for f in law.diagnostics
    ]
    return box + (html_table(("", "Finding", "What to do"), rows, text=(1, 2)) if rows else "")


def _predictions(law: ScalingLaw, target_budgets: Sequence[float]) -> str:
    rows = prediction_rows(law, budgets_to_show(law.default_budgets(), target_budgets))
    far = "".join(f"<p>{html.escape(warning)}</p>" for warning in too_far(law.runs, target_budgets))
    return html_table(PREDICTION_HEADERS, rows) + far


def _sizes(law: ScalingLaw) -> str:
    if law.verdict == "not supported":
        return NOT_SHOWN
    compute = law.default_budgets()[-2]
    rows = []
    for factor in (1 / 4, 1 / 2, 1.0, 2.0, 4.0):
        cost = law.cost_of_size(compute, factor * law.N_opt(compute))
        match = cost.compute_to_match / compute
        rows.append(
            (
                f"{factor:g} × optimal",
                format_count(cost.N),
                format_count(cost.D),
                format_loss(cost.loss),
                f"{cost.excess_loss:+.4f}",
                f"{1 - cost.equivalent_compute / compute:.0%}",
                f"{match - 1:+.0%}" if match < 1e3 else "out of reach",
            )
        )
    headers = ("Size", "Parameters", "Tokens", "Loss", "Above the best", "Compute wasted", "Compute to catch up")
    return f"<p>At {format_flops(compute)} FLOPs.</p>" + html_table(headers, rows)


def _approaches(law: ScalingLaw) -> str:
    if not law.determined:
        return NOT_SHOWN
    compute = law.default_budgets()[-2]
    rows = [
        (way.name, f"{way.a:.3f}", format_count(way.N), f"{way.ratio:.2f}", "yes" if way.agrees else "no", way.note)
        for way in compare_approaches(law, compute)
    ]
    headers = ("Approach", "a", f"N_opt at {format_flops(compute)}", "Over the law's", "Within 25 %", "Note")
    return html_table(headers, [tuple(html.escape(cell) for cell in row) for row in rows], text=(5,))


def _holdout(law: ScalingLaw) -> str:
    test = law.holdout
    if not law.determined:
        return NOT_SHOWN
    if test is None:
        return "<p>Fewer than three budgets: nothing can be held out to test the extrapolation.</p>"
    return (
        f"<p>Fitted without the runs from {format_flops(test.flops)} FLOPs on, the law predicts {test.runs} of them "
        f"near the optimum with a root-mean-square error of {test.error:.2%} of the loss (bias {test.bias:+.2%}), and "
        f"N<sub>opt</sub> there at {test.N_ratio:.2f} times the final estimate.</p>"
    )


def _forecasts(calibration: Calibration) -> str:
    rows = [
        (*(f'<span class="whole">{html.escape(cell)}</span>' for cell in row[:-1]), html.escape(row[-1]))
        for row in calibration.rows()
    ]
    table = html_table(FORECAST_HEADERS, rows, text=(1, 2, 6, 9)) if rows else ""
    intro = "<p>Made and sealed before these budgets were trained, and compared with what was found there since.</p>"
    record = "".join(f"<li>{html.escape(line)}</li>" for line in calibration.record())
    return f"{intro}{table}<ul>{record}</ul>"


def _parameters(law: ScalingLaw) -> str:
    if not law.determined:
        return NOT_SHOWN
    meaning = {
        "E": f"irreducible loss{f', {law.loss_unit}' if law.loss_unit else ''}"
        + ("" if law.form == "chinchilla" else f"; of what answers {law.irreducible:.5g}"),
        "A": "size coefficient",
        "B": "data coefficient",
        "alpha": "exponent of N",
        "beta": "exponent of D",
        "a": "exponent of N_opt in C",
        "b": "exponent of D_opt in C",
    }
    rows = [
        (name, f"{getattr(law, name):.5g}", interval_text(law.interval(name), lambda value: f"{value:.4g}"), words)
        for name, words in meaning.items()
    ]
    return html_table(("", "Estimate", "90 % interval", "Meaning"), rows, text=(3,))


def _sets(law: ScalingLaw) -> str:
    own = html.escape(str(law.options.get(SET_OPTION)))
    intro = f"<p>The law on this page is that of the loss on {own}. What a law of each set's losses asks for:</p>"
    return intro + html_table(SET_HEADERS, [tuple(map(html.escape, row)) for row in set_rows(law)])


def _minima(law: ScalingLaw) -> str:
    rows = []
    for minimum in law.isoflops:
        own = format_count(minimum.N) if minimum.interior else f"none: {minimum.reason}"
        band = interval_text(minimum.interval, format_count) if minimum.interval else "–"
        own_loss = format_loss(minimum.loss) if minimum.interior else "–"
        compute, N, _, _, _, loss, _ = prediction_rows(law, [minimum.compute_budget])[0]
        rows.append((compute, str(minimum.runs), own, band, own_loss, N, loss))
    headers = ("Budget (FLOPs)", "Runs", "Own minimum N", "90 %", "Loss there", "Law's N", "Law's loss")
    return html_table(headers, rows) if rows else "<p>No budget has enough sizes for a curve of its own.</p>"


def _making(law: ScalingLaw, plan: Any, cost: Any) -> str:
    facts = {
        "FLOPs": law.flops_per_token.description,
        "Objective": f"{law.objective:.6g}: Huber loss of log-loss residuals, delta = {law.delta:.4g}",
        "Weighting": law.weighting.description,
        "Residual sd": f"{law.sigma:.3%} of the loss (robust)",
        "Prediction": law.prediction.description,
        "Intervals": f"pairs bootstrap, {len(law.draws)} resamples, seed {law.options.get('seed')}; misfit of the form",
        "Options": ", ".join(f"{key} = {value}" for key, value in law.options.items() if key not in OWN_PLACE),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    if with_e := sensitivity_in_words(law):
        facts["E"] = with_e
    if law.thinned:
        facts["Thinned"] = "; ".join(law.thinned)
    if law.runs.notes:
        facts["Columns"] = "; ".join(law.runs.notes)
    if plan is not None:
        facts["Plan"] = repr(plan)
    if cost is not None:
        money = f", {format_money(cost.money)}" if cost.money else ""
        facts["Cost"] = f"{cost.device_hours:.3g} device-hours{money}; {cost.basis}"
        if cost.memory_text():
            facts["Memory"] = cost.memory_text()
    return definitions(facts)


def versions() -> dict[str, str]:
    """Versions of Python and of what the fit depends on."""
    packages = ("flops-fit", "numpy", "scipy", "pandas")
    found = {package: package_version(package) or "not installed" for package in packages}
    return {"python": platform.python_version()} | found


def _runs(law: ScalingLaw) -> str:
    runs = law.runs
    rows = [
        (
            html.escape(runs.experiment_id[i]),
            format_flops(runs.flops[i]),
            format_count(runs.num_params[i]),
            format_count(runs.num_tokens[i]),
            format_loss(runs.loss[i]),
            f"{-law.residual[i]:+.2%}",
        )
        for i in np.unique(np.linspace(0, len(runs) - 1, min(MOST_RUNS, len(runs))).astype(int)).tolist()
    ]
    table = html_table(("Run", "FLOPs", "Parameters", "Tokens", "Loss", "Above the law"), rows)
    if len(rows) == len(runs):
        return table
    return f"<p>{len(rows):,} of {len(runs):,} runs, spread evenly; <code>law.runs</code> has all.</p>{table}"


def _plan(plan: Any) -> str:
    sets = any(experiment.arguments for experiment in plan.trainings)
    rows = [
        (
            html.escape(experiment.experiment_id),
            format_flops(experiment.compute_budget),
            html.escape(experiment.label or f"{experiment.size_param} = {experiment.size_param_value}"),
            *([html.escape(", ".join(f"{name} {value}" for name, value in experiment.arguments.items()))] * sets),
            f"{experiment.num_params:,}",
            f"{experiment.num_tokens:,}",
            str(experiment.seed),
        )
        for experiment in plan.trainings
    ]
    dropped = [(html.escape(str(point.compute_budget)), html.escape(point.reason)) for point in plan.dropped]
    headers = ("Experiment", "Budget (FLOPs)", "Size", *(["Sets"] if sets else []), "Parameters", "Tokens", "Seed")
    text = html_table(headers, rows)
    return text + (html_table(("Not planned at", "Reason"), dropped, text=(1,)) if dropped else "")


def _excluded(law: ScalingLaw) -> str:
    rows = [(html.escape(item.experiment_id), html.escape(item.reason)) for item in law.runs.excluded]
    return html_table(("Run", "Reason"), rows, text=(1,))
