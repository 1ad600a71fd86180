"""ScalingLaw: a fitted law with the answers, tables and figures that people ask it for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import markdown_table
from flops_fit.errors import FitError
from flops_fit.scaling_law import answers, sensitivity
from flops_fit.scaling_law.by_set import SET_HEADERS, set_rows
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments import of_law
from flops_fit.scaling_law.prediction_table import prediction_rows
from flops_fit.scaling_law.summary import summarise

if TYPE_CHECKING:
    from flops_fit.drawing.shown_figure import ShownFigure
    from flops_fit.scaling_law.forecasts.forecast import Forecast


class ScalingLaw(FittedLaw):
    """`L(N, D) = E + A/N^alpha + B/D^beta`, fitted, with the runs it was fitted on; attributes as of `FittedLaw`."""

    compute_for_loss = answers.compute_for_loss
    cost_of_size = answers.cost_of_size
    inference_optimum = answers.inference_optimum
    data_limited_optimum = answers.data_limited_optimum
    nearest_buildable = answers.nearest_buildable
    sensitivity_to_E = sensitivity.sensitivity_to_E
    next_experiments = of_law.next_experiments

    def chinchilla_table(self, budgets: Iterable[float] | None = None) -> str:
        """A Markdown table of the optimum at each budget; by default from the runs' budgets to 100 times beyond."""
        rows = prediction_rows(self, self.default_budgets() if budgets is None else budgets)
        shown = [(compute, N, D, ratio, loss) for compute, N, _, D, ratio, loss, _ in rows]
        return markdown_table(("Compute Budget", "Optimal N", "Optimal D", "D/N Ratio", "Predicted Loss"), shown)

    def held_out_sets_table(self) -> str:
        """A Markdown table of the optima that each of several held-out sets asks for, at 10 and 100 times the largest
        budget and at the study's targets. Raises `FitError` for a law that is not of several sets."""
        rows = set_rows(self)
        if not rows:
            raise FitError(
                'this law is of one held-out set; give several, such as eval_dataset={"web": ..., "code": ...}'
            )
        return markdown_table(SET_HEADERS, rows)

    def summary(self, target_budgets: Sequence[float] = ()) -> str:
        """The fit as text: estimates, intervals, predictions (also at `target_budgets`), verdict and findings."""
        return summarise(self, target_budgets)

    def forecast(self, targets: Iterable[float | str] | float | str, *, level: float = 0.9) -> Forecast:
        """What the law says of budgets that are not trained yet (FLOPs), dated and sealed by a hash: to save now and to
        score when their runs are there. Raises `FitError` for a target that is not beyond the runs."""
        from flops_fit.scaling_law.forecasts.make import forecast_of

        return forecast_of(self, targets, level=level)

    def _repr_html_(self) -> str:
        from flops_fit.scaling_law.figures.notebook import law_html

        return law_html(self)

    def plot(self) -> ShownFigure:
        """The IsoFLOP curves with the fitted law and the minima, as a matplotlib figure that a notebook shows."""
        from flops_fit.scaling_law.figures.plots import isoflop_figure

        return isoflop_figure(self)
