"""Fitting scaling laws to a table of runs; numpy, pandas and scipy only, loaded with the first name that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

_EXPORTS = {
    "Comparison": "comparison.comparison",
    "Diagnostic": "checks.verdict",
    "Envelope": "approaches.envelope",
    "FlopsPerToken": "flops_per_token",
    "Forecast": "forecasts.forecast",
    "IsoflopMinimum": "approaches.isoflop",
    "MetricLaw": "from_loss.metric_law",
    "Runs": "table.runs",
    "ScalingLaw": "law",
    "approaches_table": "all_approaches",
    "compare_approaches": "all_approaches",
    "compare_laws": "comparison.compare",
    "rank_laws": "comparison.rank",
    "Ranking": "comparison.ranking",
    "Repetition": "repetition",
    "effective_params": "repetition",
    "effective_tokens": "repetition",
    "envelope": "approaches.envelope",
    "fit_metric": "from_loss.metric_law",
    "fit_repetition": "repetition",
    "fit_scaling_law": "fit",
    "fit_scaling_law_together": "together",
    "interpolated_minima": "approaches.interpolated",
    "interpolated_power_law": "approaches.interpolated",
    "isoflop_minima": "approaches.isoflop",
    "read_runs": "table.runs",
    "score_forecasts": "forecasts.folder",
}

__all__ = [*_EXPORTS]

if TYPE_CHECKING:
    from flops_fit.basics.diagnostic import Diagnostic as Diagnostic
    from flops_fit.scaling_law.all_approaches import approaches_table as approaches_table
    from flops_fit.scaling_law.all_approaches import compare_approaches as compare_approaches
    from flops_fit.scaling_law.approaches.envelope import Envelope as Envelope
    from flops_fit.scaling_law.approaches.envelope import envelope as envelope
    from flops_fit.scaling_law.approaches.interpolated import interpolated_minima as interpolated_minima
    from flops_fit.scaling_law.approaches.interpolated import interpolated_power_law as interpolated_power_law
    from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum as IsoflopMinimum
    from flops_fit.scaling_law.approaches.isoflop import isoflop_minima as isoflop_minima
    from flops_fit.scaling_law.comparison.compare import compare_laws as compare_laws
    from flops_fit.scaling_law.comparison.comparison import Comparison as Comparison
    from flops_fit.scaling_law.comparison.rank import rank_laws as rank_laws
    from flops_fit.scaling_law.comparison.ranking import Ranking as Ranking
    from flops_fit.scaling_law.fit import fit_scaling_law as fit_scaling_law
    from flops_fit.scaling_law.flops_per_token import FlopsPerToken as FlopsPerToken
    from flops_fit.scaling_law.forecasts.folder import score_forecasts as score_forecasts
    from flops_fit.scaling_law.forecasts.forecast import Forecast as Forecast
    from flops_fit.scaling_law.from_loss.metric_law import MetricLaw as MetricLaw
    from flops_fit.scaling_law.from_loss.metric_law import fit_metric as fit_metric
    from flops_fit.scaling_law.law import ScalingLaw as ScalingLaw
    from flops_fit.scaling_law.repetition import Repetition as Repetition
    from flops_fit.scaling_law.repetition import effective_params as effective_params
    from flops_fit.scaling_law.repetition import effective_tokens as effective_tokens
    from flops_fit.scaling_law.repetition import fit_repetition as fit_repetition
    from flops_fit.scaling_law.table.runs import Runs as Runs
    from flops_fit.scaling_law.table.runs import read_runs as read_runs
    from flops_fit.scaling_law.together import fit_scaling_law_together as fit_scaling_law_together

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
