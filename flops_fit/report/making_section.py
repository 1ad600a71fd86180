"""How the law was made, in the report."""

from __future__ import annotations

import platform
from typing import Any

from flops_fit.basics.formatting import format_money
from flops_fit.identity.fingerprints import package_version
from flops_fit.report.report_style import definitions
from flops_fit.scaling_law.by_set import OPTIMA_OPTION
from flops_fit.scaling_law.from_loss.shown import METRICS_OPTION
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.next_experiments.in_words import NEXT_OPTION
from flops_fit.scaling_law.sensitivity import sensitivity_in_words

OWN_PLACE = ("thinned", OPTIMA_OPTION, METRICS_OPTION, NEXT_OPTION)  # of the law's options, which are shown elsewhere


def how_made(law: ScalingLaw, plan: Any, cost: Any) -> str:
    """Objective, weighting, intervals, options, versions, plan and cost."""
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
