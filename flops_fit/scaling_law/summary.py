"""The law as text, the way a good statistics package prints a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.by_set import SET_OPTION, set_rows
from flops_fit.scaling_law.checks.verdict import too_far, worst
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.held import described
from flops_fit.scaling_law.flops_per_token import optimal_params
from flops_fit.scaling_law.from_loss.shown import metric_doubts, metric_rows
from flops_fit.scaling_law.mixture import mixed_loss, mixed_optimum
from flops_fit.scaling_law.next_experiments.in_words import next_in_words
from flops_fit.scaling_law.prediction_table import budgets_to_show, judged_budgets, prediction_rows, verdict_rows
from flops_fit.scaling_law.quantities import checked_compute
from flops_fit.scaling_law.sensitivity import sensitivity_in_words

ROUNDING = 1e-9  # residuals on log loss below this are known to fewer digits than are shown


def summarise(law: FittedLaw, target_budgets: Sequence[float] = ()) -> str:
    """Estimates with 90 % intervals, predictions, each budget's minimum, verdict and findings."""
    targets = checked_compute([*target_budgets]).tolist()
    predictions = _predictions(law, targets)
    trust = _trust(law) if law.determined else ""
    blocks = [_head(law), _parameters(law), _minima(law), predictions, _sets(law), _metrics(law), trust]
    blocks.append(_findings(law, targets))
    return "\n\n".join(block for block in blocks if block)


def _head(law: FittedLaw) -> str:
    runs = law.runs
    compute = f"{format_flops(runs.flops.min())} to {format_flops(runs.flops.max())} FLOPs"
    excluded = f", {len(runs.excluded)} excluded" if runs.excluded else ""
    lines = [
        f"Scaling law   L(N, D) = E + A/N^alpha + B/D^beta{f'   ({law.loss_unit})' if law.loss_unit else ''}",
        f"  runs        {len(runs)} in {len(law.isoflops)} IsoFLOP budgets, {compute}{excluded}",
        *(f"  {'' if at else 'table':<11} {note}" for at, note in enumerate(runs.notes)),
        f"  objective   {_objective(law)}   Huber(delta = {law.delta:.3g}) on log loss, sd {law.sigma:.2%}",
        f"  compute     {law.flops_per_token.description}",
        f"  weighting   {law.weighting.description}",
        f"  prediction  {law.prediction.description}",
    ]
    lines += [f"  losses      on held-out set {law.options[SET_OPTION]}"] if SET_OPTION in law.options else []
    lines += [f"  held        {described(law.options['fix'])}"] if "fix" in law.options else []
    lines += [f"  {'' if at else 'thinned':<11} {said}" for at, said in enumerate(law.thinned)]
    count = 2 + len(runs.notes)
    return "\n".join(lines if law.determined else [*lines[:count], lines[count + 1]])


def _objective(law: FittedLaw) -> str:
    """The lowest objective; what a noise-free law leaves is rounding, which differs from processor to processor."""
    return f"{law.objective:.6g}" if law.sigma > ROUNDING else "0 to rounding"


def _parameters(law: FittedLaw) -> str:
    if not law.determined:
        return "  estimates   not shown: very different parameters fit the runs as well"
    lines = ["                estimate     90 % interval"]
    for name in ("E", "A", "B", "alpha", "beta", "a", "b"):
        low, high = law.interval(name)
        lines.append(f"  {name:<10} {getattr(law, name):>11.4g}     [{low:.4g}, {high:.4g}]{_note(law, name)}")
    return "\n".join(lines)


def _note(law: FittedLaw, name: str) -> str:
    held = law.options.get("fix", {})
    if name in ("a", "b"):
        return f"   {'N' if name == 'a' else 'D'}_opt ~ C^{name}"
    if name in law.at_bound:
        return "   at the end of its range" if name in held else "   at its bound"
    return "   held" if name in held and not isinstance(held[name], list) else ""


def _minima(law: FittedLaw) -> str:
    if not law.isoflops:
        return ""
    owns = [
        f"N = {format_count(minimum.N)}, loss {format_loss(minimum.loss)}" if minimum.interior else minimum.reason
        for minimum in law.isoflops
    ]
    width = max(30, *map(len, owns))
    lines = [f"  budget        {'minimum of its own curve':<{width}}  the law"]
    for minimum, own in zip(law.isoflops, owns, strict=True):
        compute, N, *_, loss, _ = prediction_rows(law, [minimum.compute_budget])[0]
        lines.append(f"  {compute:<12}  {own:<{width}}  N = {N}, loss {loss}")
    return "\n".join(lines)


def _predictions(law: FittedLaw, target_budgets: Sequence[float]) -> str:
    lines = ["  compute       N_opt    [90 %]               D_opt     D/N      loss"]
    budgets = budgets_to_show(law.default_budgets()[-2:], target_budgets)
    for compute, N, between, D, ratio, loss, _ in prediction_rows(law, budgets):
        band = f"[{between.replace(' to ', ', ')}]"
        lines.append(f"  {compute:<12}  {N:<8} {band:<20} {D:<9} {ratio:<8} {loss}")
    lines += [f"  caution     {warning}" for warning in too_far(law.runs, target_budgets)]
    return "\n".join(lines)


def _sets(law: FittedLaw) -> str:
    """The optima of each held-out set, where there are several."""
    rows = set_rows(law)
    if not rows:
        return ""
    lines = ["  held-out set   runs   compute       N_opt    [90 %]               D_opt     loss"]
    for name, runs, compute, N, between, D, loss, _ in rows:
        band = f"[{between.replace(' to ', ', ')}]"
        lines.append(f"  {name:<14} {runs:<6} {compute:<12}  {N:<8} {band:<20} {D:<9} {loss}")
    return "\n".join(lines)


def _metrics(law: FittedLaw) -> str:
    """What the study's metrics are predicted to be."""
    rows = metric_rows(law)
    if not rows:
        return ""
    lines = ["  metric           compute       loss     predicted            90 %"]
    for name, compute, loss, predicted, between in rows:
        lines.append(f"  {name:<16} {compute:<12}  {loss:<8} {predicted:<20} {between}".rstrip())
    return "\n".join([*lines, *(f"  caution     {said}" for said in metric_doubts(law))])


def _trust(law: FittedLaw) -> str:
    lines = []
    if law.holdout is not None:
        test = law.holdout
        lines.append(
            f"  held out    {test.runs} runs near the optimum from {format_flops(test.flops)} FLOPs on: "
            f"error {test.error:.2%}, N_opt there x{test.N_ratio:.2f}"
        )
    if law.weighting.other is not None:
        kind, far = "plain" if law.weighting.kind == "valley" else "valley", law.default_budgets()[-1]
        other = float(optimal_params(np.array(law.weighting.other), far, law.flops_per_token))
        lines.append(f"  otherwise   {kind} weighting gives N_opt = {format_count(other)} at {format_flops(far)} FLOPs")
    with_e = sensitivity_in_words(law)
    if with_e:
        lines.append(f"  E           {with_e}")
    if law.form != "chinchilla":
        lines.append(f"  others      {_others(law)}")
    return "\n".join(lines)


def _others(law: FittedLaw) -> str:
    """What the candidates that were not chosen say of the next decade."""
    compute = law.default_budgets()[-2]
    each = np.array([candidate.parameters for candidate in law.candidates if not candidate.chosen])[:, None, :]
    N = mixed_optimum(each, compute, law.flops_per_token)
    loss = mixed_loss(each, N, compute / law.flops_per_token(N))
    if len(each) == 1:
        return (
            f"the candidate not used gives N_opt {format_count(N.item())} and loss {format_loss(loss.item())} at "
            f"{format_flops(compute)} FLOPs"
        )
    return (
        f"candidates not used give N_opt from {format_count(N.min())} to {format_count(N.max())} and loss from "
        f"{format_loss(loss.min())} to {format_loss(loss.max())} at {format_flops(compute)} FLOPs"
    )


def _verdicts(law: FittedLaw, targets: Sequence[float]) -> list[str]:
    """What is to be thought of each target: N_opt and loss apart."""
    lines = []
    for compute, size, of_size, loss, of_loss in verdict_rows(law, judged_budgets(law, targets)):
        lines.append(f"    {compute:<12}  N_opt {size} at 90 %: {of_size}")
        lines.append(f"{' ' * 18}loss {loss} at 90 %: {of_loss}")
    return lines


def _verdict(law: FittedLaw, targets: Sequence[float]) -> str:
    """The law's verdict, and before it what is thought of the targets that were asked about, where that differs."""
    if not targets or not law.determined:
        return law.verdict
    further = 10 * float(law.runs.flops.max())
    asked = {compute: worst(law.verdict_at(compute, name) for name in ("N_opt", "loss")) for compute in targets}
    if set(asked.values()) == {law.verdict}:
        return law.verdict
    said = [f"{verdict} at {format_flops(compute)} FLOPs" for compute, verdict in asked.items()]
    return "; ".join([*said, f"{law.verdict} at {format_flops(further)}, ten times the largest run"])


def _findings(law: FittedLaw, targets: Sequence[float]) -> str:
    lines = [f"  verdict     {_verdict(law, targets)}", *_verdicts(law, targets)]
    following = next_in_words(law)
    lines += [f"    next     {following}"] if following else []
    for finding in law.diagnostics:
        lines.append(f"    {finding.severity:<8} {finding.message}")
        lines.append(f"             -> {finding.remedy}")
    return "\n".join(lines)
