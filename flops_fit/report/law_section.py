"""The law itself in the report: its parameters, the budgets' own minima, other approaches, what it was tested on."""

from __future__ import annotations

import html

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.report.report_style import NOT_SHOWN, escaped, html_table, interval_text
from flops_fit.scaling_law.all_approaches import compare_approaches
from flops_fit.scaling_law.forecasts.calibration import HEADERS as FORECAST_HEADERS
from flops_fit.scaling_law.forecasts.calibration import Calibration
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.prediction_table import prediction_rows


def parameters(law: ScalingLaw) -> str:
    """Each parameter with its interval and meaning."""
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


def own_minima(law: ScalingLaw) -> str:
    """The minimum of each budget's own curve beside the law's."""
    rows = []
    for minimum in law.isoflops:
        own = format_count(minimum.N) if minimum.interior else f"none: {minimum.reason}"
        band = interval_text(minimum.interval, format_count) if minimum.interval else "–"
        own_loss = format_loss(minimum.loss) if minimum.interior else "–"
        compute, N, _, _, _, loss, _ = prediction_rows(law, [minimum.compute_budget])[0]
        rows.append((compute, str(minimum.runs), own, band, own_loss, N, loss))
    headers = ("Budget (FLOPs)", "Runs", "Own minimum N", "90 %", "Loss there", "Law's N", "Law's loss")
    return html_table(headers, rows) if rows else "<p>No budget has enough sizes for a curve of its own.</p>"


def other_approaches(law: ScalingLaw) -> str:
    """What other approaches give from the same runs."""
    if not law.determined:
        return NOT_SHOWN
    compute = law.default_budgets()[-2]
    rows = [
        (way.name, f"{way.a:.3f}", format_count(way.N), f"{way.ratio:.2f}", "yes" if way.agrees else "no", way.note)
        for way in compare_approaches(law, compute)
    ]
    headers = ("Approach", "a", f"N_opt at {format_flops(compute)}", "Over the law's", "Within 25 %", "Note")
    return html_table(headers, escaped(rows), text=(5,))


def held_out_budget(law: ScalingLaw) -> str:
    """How well a law of the other budgets predicts the largest."""
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


def forecast_record(calibration: Calibration) -> str:
    """How forecasts of the study came out so far."""
    rows = [
        (*(f'<span class="whole">{html.escape(cell)}</span>' for cell in row[:-1]), html.escape(row[-1]))
        for row in calibration.rows()
    ]
    table = html_table(FORECAST_HEADERS, rows, text=(1, 2, 6, 9)) if rows else ""
    intro = "<p>Made and sealed before these budgets were trained, and compared with what was found there since.</p>"
    record = "".join(f"<li>{html.escape(line)}</li>" for line in calibration.record())
    return f"{intro}{table}<ul>{record}</ul>"
