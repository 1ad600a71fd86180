"""What became of an experiment: its result as data, found again, or matched from a table of other runs."""

from flops_fit.results.finished import already_finished, load_finished
from flops_fit.results.matching import Unmatched, match_runs
from flops_fit.results.results import ExperimentResult, failed_result, load_results, load_runs, results_frame, save_runs

__all__ = [
    "ExperimentResult",
    "Unmatched",
    "already_finished",
    "failed_result",
    "load_finished",
    "load_results",
    "load_runs",
    "match_runs",
    "results_frame",
    "save_runs",
]
