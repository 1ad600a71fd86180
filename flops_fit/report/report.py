"""One self-contained HTML report of a fitted law: figures, tables, verdict, conventions, versions."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flops_fit.adaptive.progress import Progress
from flops_fit.basics.files import write_text
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit.rate_check.rate_check import RateCheck
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit.report.answers_section import held_out_sets, other_sizes, predictions
from flops_fit.report.figure_block import PointTexts, figure_block, point_texts
from flops_fit.report.head_section import head, verdict_box
from flops_fit.report.law_section import forecast_record, held_out_budget, other_approaches, own_minima, parameters
from flops_fit.report.making_section import how_made
from flops_fit.report.measured_table import measured_table, metrics_section
from flops_fit.report.page import document
from flops_fit.report.rate_section import rate_section
from flops_fit.report.recipe_section import recipe_section
from flops_fit.report.report_style import details, json_block
from flops_fit.report.rounds_section import rounds_section
from flops_fit.report.run_tables import excluded_table, plan_table, runs_table
from flops_fit.scaling_law.by_set import set_rows
from flops_fit.scaling_law.figures.of_law import law_figures
from flops_fit.scaling_law.forecasts.calibration import Calibration
from flops_fit.scaling_law.from_loss.shown import metric_rows
from flops_fit.scaling_law.law import ScalingLaw


def write_report(
    law: ScalingLaw,
    path: str | os.PathLike[str],
    *,
    plan: Any = None,
    study: Mapping[str, Any] | None = None,
    cost: Any = None,
    title: str | None = None,
    figures: Mapping[str, Drawn | NotDrawn] | None = None,
    forecasts: Calibration | None = None,
    rounds: Progress | None = None,
    tuned: TunedRecipe | None = None,
    checked: RateCheck | None = None,
    measured: Mapping[str, Mapping[str, float]] | None = None,
    targets: Sequence[float] = (),
) -> Path:
    """Write the report to `path` and return it; the file needs nothing beside it.

    `plan` (a SweepPlan), `study` (its description as plain values) and `cost` (a CostEstimate) add what a reader needs
    to repeat the study. `figures` are those by name that are drawn already, of the law
    (`flops_fit.scaling_law.figures.of_law`) and of the study ("training_curves", "cost"); `forecasts` how those of the
    study came out so far; `rounds` how far an adaptive study has come; `tuned` the rule that its recipe was found to
    follow; `checked` what came of the checks of its learning rate; `measured` the losses on held-out sets and the
    metrics of each experiment; `targets` are FLOPs to predict at besides those of the plan. A figure that cannot be
    drawn is left out, with a note.
    """
    name = title or (str(study["name"]) if study and "name" in study else "Scaling law")
    parts: dict[str, Any] = {"plan": plan, "study": study, "cost": cost, "figures": figures}
    parts |= {"forecasts": forecasts, "rounds": rounds, "tuned": tuned, "checked": checked, "measured": measured}
    parts["targets"] = targets
    return write_text(path, report_html(law, name, **parts))


def report_html(
    law: ScalingLaw,
    name: str,
    *,
    plan: Any = None,
    study: Mapping[str, Any] | None = None,
    cost: Any = None,
    figures: Mapping[str, Drawn | NotDrawn] | None = None,
    forecasts: Calibration | None = None,
    rounds: Progress | None = None,
    tuned: TunedRecipe | None = None,
    checked: RateCheck | None = None,
    measured: Mapping[str, Mapping[str, float]] | None = None,
    targets: Sequence[float] = (),
) -> str:
    """The report as one HTML document; arguments as of `write_report`."""
    there = dict(figures or {})
    there |= law_figures(law, without=there)
    texts = PointTexts()

    def figure(key: str) -> str:
        return figure_block(there[key], texts) if key in there else ""

    def section(heading: str, content: str) -> str:
        return f"<h2>{heading}</h2>{content}" if content else ""

    asked = [*(plan.target_budgets if plan else ()), *targets]
    sections = [
        head(law, name),
        verdict_box(law, asked),
        figure("isoflop"),
        section("What to train at a budget", predictions(law, asked)),
        section("Held-out sets", held_out_sets(law) if set_rows(law) else ""),
        section("Metrics", metrics_section(law) if metric_rows(law) else ""),
        section("Rounds", rounds_section(rounds, texts) if rounds else ""),
        figure("frontier"),
        figure("tokens_per_param"),
        section("What another size costs", other_sizes(law)),
        section("The law", parameters(law)),
        section("Each budget on its own", own_minima(law)),
        section("Other approaches", other_approaches(law)),
        section("Forecasts", forecast_record(forecasts) if forecasts else ""),
        section("The tuned recipe", recipe_section(tuned, texts, plan) if tuned else ""),
        section("The learning rate, checked", rate_section(checked) if checked else ""),
        section("How well it fits, and how sure it is", held_out_budget(law)),
        *(figure(key) for key in ("residuals", "exponents", "contours")),
        section("The trainings", figure("training_curves")),
        section("What it cost", figure("cost")),
        section("How this was made", how_made(law, plan, cost)),
        details("Study", json_block(study)) if study else "",
        details(f"Plan of {len(plan.trainings)} trainings", plan_table(plan)) if plan is not None else "",
        details(f"{len(law.runs)} runs used", runs_table(law)),
        details("Losses on each held-out set, and metrics", measured_table(measured)) if measured else "",
        details(f"{len(law.runs.excluded)} runs excluded", excluded_table(law)) if law.runs.excluded else "",
        details("Summary as text", f"<pre>{html.escape(law.summary(targets))}</pre>"),
        point_texts(texts),
    ]
    return document(f"{name}: scaling law", "\n".join(part for part in sections if part))
