"""fit_scaling_law: from a table of runs to a ScalingLaw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from flops_fit.basics.arguments import need, number, one_of, whole
from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.errors import FitError
from flops_fit.scaling_law.approaches.isoflop import isoflop_minima, with_bias
from flops_fit.scaling_law.candidates import Rolling, roll
from flops_fit.scaling_law.checks.diverged import COMPARED, without_diverged
from flops_fit.scaling_law.checks.evidence import Evidence
from flops_fit.scaling_law.checks.holdout import Holdout, hold_out
from flops_fit.scaling_law.checks.of_fit import undetermined
from flops_fit.scaling_law.checks.verdict import diagnose
from flops_fit.scaling_law.fitting.held import FREE, Held, checked
from flops_fit.scaling_law.fitting.objective import LARGE
from flops_fit.scaling_law.fitting.parametric import ParametricFit, fit_parametric
from flops_fit.scaling_law.fitting.shape import BEND, PERHAPS, bend_chance
from flops_fit.scaling_law.fitting.uncertainty import bootstrap
from flops_fit.scaling_law.fitting.weighting import MIN_RUNS, ValleyFit, fit_valley
from flops_fit.scaling_law.flops_per_token import FlopsPerToken, learn_flops_per_token, optimal_params
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.prediction import FORMS, Prediction, bent, unbent
from flops_fit.scaling_law.quantities import PARAMETERS, law_loss
from flops_fit.scaling_law.table.runs import Runs, read_runs
from flops_fit.tables.named import Units

WEIGHTINGS = ("auto", "plain", "valley")


def fit_scaling_law(
    runs: Any,
    *,
    method: str = "parametric",
    delta: float | Literal["auto"] = "auto",
    weighting: str | None = None,
    form: str | None = None,
    fix: Mapping[str, float | tuple[float, float]] | None = None,
    bootstraps: int = 1000,
    seed: int = 0,
    units: Units | None = None,
    loss_unit: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    loss_kind: str | None = None,
    loss_offset: float = 0.0,
    flops_per_token: Any = None,
) -> ScalingLaw:
    """Fit `L(N, D) = E + A/N^alpha + B/D^beta` to runs, with each budget's own minimum and bootstrap intervals.

    Args:
        runs: DataFrame, path (.csv, .json, .jsonl, directory of results) or list of results; needs N, loss and D or
            FLOPs, under these or usual names.
        method: "parametric" (Hoffmann et al. 2022, approach 3).
        delta: Huber threshold on log-loss residuals; 0 for least absolute deviation; "auto" for 1.345 robust sigma,
            without runs that are taken for diverged (`law.runs.excluded`).
        weighting: "plain" (all runs alike), "valley" (runs near the optimum and at high compute count more) or "auto"
            (as far as the runs' likelihood supports it, often not at all). By default "auto", and "plain" where delta
            is a number, which gives the objective of published fits.
        form: "auto" predicts with laws that bend where the runs show a bend, chosen by the largest budget left out,
            and says how far off that has been; "chinchilla" with the five-parameter law in any case, its intervals are
            about sampling alone. By default "auto", and "chinchilla" where delta is a number or weighting is given.
        fix: what is known of E, A, B, alpha or beta: `{"E": 1.69}` holds a value, `{"E": (1.5, 1.8)}` a range. E is
            the same in all forms; with others held the form is "chinchilla", since no other has them in this sense.
        bootstraps: resamples for the intervals.
        seed: of the bootstrap; the same numbers every time.
        units: factor per column, such as `{"num_params": 1e9}` for billions, or "log10" or "ln" for logarithms; 1
            confirms a column as it is.
        loss_unit: of the losses, in words such as "bits per byte", for what is printed and drawn; by default what the
            column's name says (`val_bpb`), else nats per token. No number depends on it: errors are shares of the loss.
        columns: our name → the table's, such as `{"loss": "val_loss"}`, where names do not say it; None for none.
        loss_kind: what the losses are where they are no loss yet, such as "perplexity" or "accuracy", or "other" for a
            loss that is in no doubt (`flops_fit.tables.losses.KINDS`, docs/fitting.md).
        loss_offset: added to the losses, which must be above 0 then; E and every predicted loss hold it too.
        flops_per_token: FLOPs per token as a function of N: a `FlopsPerToken` or a size map; by default learned from
            the runs.

    Raises `FitError` for runs that no law can be fitted to.
    """
    if method != "parametric":
        raise FitError(
            f"method = {method!r} is unknown; give 'parametric' (for the others see isoflop_minima, envelope)"
        )
    options = checked_options(delta=delta, weighting=weighting, form=form, bootstraps=bootstraps, seed=seed)
    table = read_runs(
        runs, units=units, loss_unit=loss_unit, columns=columns, loss_kind=loss_kind, loss_offset=loss_offset
    )
    table = without_diverged(table) if delta == "auto" else table
    held = checked(fix, float(table.loss.min()))
    _refuse_too_few(table, sum(held.get(name, (0.0, 1.0))[0] < held.get(name, (0.0, 1.0))[1] for name in PARAMETERS))
    return fit_table(table, flops_per_token_of(flops_per_token, table), options | with_fix(held))


def _refuse_too_few(table: Runs, free: int) -> None:
    """Raise `FitError` for fewer runs than the law has free parameters, and say what became of the others."""
    if len(table) > free:
        return
    left_out = [item.reason for item in table.excluded]
    why = f"; {len(left_out)} were left out ({left_out[0]})" if left_out else ""
    kinds = [finding for finding in table.doubts if finding.code == "loss_kind"]
    remedy = kinds[0].remedy if kinds else f"give at least {free + 1}"
    if left_out and left_out[0].startswith("taken for diverged"):
        remedy += "; if none diverged, losses that have been shifted need --loss-offset, in Python loss_offset=1"
    raise FitError(f"{len(table)} usable runs cannot fix the law's {free} parameters{why}; {remedy}")


def checked_options(
    *, delta: float | Literal["auto"], weighting: str | None, form: str | None, bootstraps: int, seed: int
) -> dict[str, Any]:
    """The options of a fit with what follows from each other; raises `FitError` for unknown ones."""
    form = form or ("auto" if delta == "auto" and weighting is None else "chinchilla")
    weighting = weighting or ("auto" if delta == "auto" else "plain")
    if weighting not in WEIGHTINGS:
        raise FitError(f"weighting = {weighting!r} is unknown; give one of {', '.join(WEIGHTINGS)}")
    if form not in FORMS:
        raise FitError(f"form = {form!r} is unknown; give one of {', '.join(FORMS)}")
    need("delta", delta, one_of("auto") | number(least=0), FitError)
    need("bootstraps", bootstraps, whole(), FitError)
    need("seed", seed, whole(0), FitError)
    return {
        "method": "parametric",
        "delta": delta,
        "weighting": weighting,
        "form": form,
        "bootstraps": bootstraps,
        "seed": seed,
    }


def with_fix(held: Held) -> dict[str, Any]:
    """What is held, as an option of the law; nothing where nothing is."""
    fix = {name: low if low == high else [low, high] for name, (low, high) in held.items()}
    return {"fix": fix} if fix else {}


def fit_table(table: Runs, per_token: FlopsPerToken, options: dict[str, Any]) -> ScalingLaw:
    """The law of a table, with `options` as of `fit_scaling_law`."""
    delta, weighting, form = (options[name] for name in ("delta", "weighting", "form"))
    known = checked(options.get("fix"), np.inf)
    others = [name for name in known if name != "E"]
    chosen, other = fit_both(table, per_token, delta, weighting, known)
    fit = chosen.fit
    draws, refits = bootstrap(fit, table.cluster, resamples=options["bootstraps"], seed=options["seed"])
    evidence = evidence_of(table, per_token, fit, other, draws)
    prediction, rolling, member_refits = Prediction(), None, ""
    if form == "auto" and others:
        prediction = Prediction(asked=f"since {' and '.join(others)} {'are' if len(others) > 1 else 'is'} held")
    elif form == "auto" and undetermined(evidence) is None:
        prediction, rolling, member_refits = _predict_with(evidence, chosen, known, options)
    held = rolling.holdout() if rolling is not None else None
    if held is None:
        held = hold_out(table, fit, per_token, lambda part: fit_both(part, per_token, delta, weighting, known)[0].fit)
    tested = form == "auto" and not others
    said = options | _thinned(len(table), refits, member_refits)
    return law_of(evidence, chosen, prediction, held, said, tested=tested)


def evidence_of(
    table: Runs, per_token: FlopsPerToken, fit: ParametricFit, other: ParametricFit | None, draws: np.ndarray
) -> Evidence:
    """What the checks look at, each budget's own minimum among it."""
    minima = with_bias(
        isoflop_minima(table),
        table,
        lambda N, D: law_loss(fit.parameters, N, D),
        lambda C: optimal_params(fit.parameters, C, per_token),
    )
    return Evidence(
        runs=table, fit=fit, other=other, minima=minima, flops_per_token=per_token, draws=draws, holdout=None
    )


def law_of(
    evidence: Evidence,
    chosen: ValleyFit,
    prediction: Prediction,
    held: Holdout | None,
    options: Mapping[str, Any],
    *,
    tested: bool = False,
    further: Sequence[Diagnostic] = (),
) -> ScalingLaw:
    """The law of a fit: `tested` says that the chance of a bend is the prediction's, and `further` are findings of its
    own."""
    fit, other = evidence.fit, evidence.other
    chance = prediction.bend_chance if tested else bend_chance(_plain_of(fit, chosen, other))
    known = replace(
        evidence,
        holdout=held,
        members=prediction.members,
        bend_chance=chance,
        misfit_measured=bool(prediction.candidates),
    )
    numbers: dict[str, Any] = dict(zip(PARAMETERS, fit.parameters.tolist(), strict=True))
    return ScalingLaw(
        **numbers,
        objective=fit.objective,
        delta=fit.delta,
        sigma=fit.sigma,
        flops_per_token=evidence.flops_per_token,
        runs=evidence.runs,
        isoflops=evidence.minima,
        draws=evidence.draws,
        residual=fit.residual,
        scale=fit.scale,
        at_bound=fit.at_bound,
        weighting=chosen.weighting(other),
        holdout=held,
        diagnostics=diagnose(known, further),
        prediction=prediction,
        options=options,
    )


def _thinned(runs: int, refits: str, member_refits: str) -> dict[str, Any]:
    """What was not done in full in a large table, in words, as an option of the law."""
    if runs <= LARGE:
        return {}
    said = [
        f"of {runs:,} runs the search began on {LARGE:,}, spread evenly over compute and size; it ended on all of them",
        f"each resample of the five-parameter law is {refits}",
        *([f"each resample of what answers is {member_refits}"] if member_refits else []),
        "leaving one run out is one Newton step from the fit",
        f"to find runs that diverged each was compared with {COMPARED} others and the law",
    ]
    return {"thinned": said}


def _plain_of(fit: ParametricFit, chosen: ValleyFit, other: ParametricFit | None) -> ParametricFit:
    """The fit that trusts all runs alike."""
    return fit if chosen.is_plain or other is None else other


def _predict_with(
    evidence: Evidence, chosen: ValleyFit, known: Held, options: Mapping[str, Any]
) -> tuple[Prediction, Rolling | None, str]:
    """The five-parameter law where it has the shape of the runs, else what predicts the largest budgets best, with the
    candidates at every stage and what their resamples are."""
    runs, flops_per_token = evidence.runs, evidence.flops_per_token
    chance = bend_chance(_plain_of(chosen.fit, chosen, evidence.other))
    if chance >= PERHAPS:
        return unbent(chance, runs), None, ""
    optimum = optimal_params(chosen.fit.parameters, runs.flops, flops_per_token)
    own = {minimum.compute_budget: minimum.N for minimum in evidence.minima if minimum.interior}
    rolling = roll(runs, flops_per_token, optimum, own, known, sure=chance < BEND)
    five, draws = chosen.fit.parameters, evidence.draws
    prediction, refits = bent(chance, rolling, five, draws, options["bootstraps"], options["seed"])
    return prediction, rolling, refits


def flops_per_token_of(given: Any, runs: Runs) -> FlopsPerToken:
    """What was given, as a function of N; learned from a size map's entries or from the runs where it has to be."""
    if isinstance(given, FlopsPerToken):
        return given
    if given is None:
        return learn_flops_per_token(runs.num_params, runs.num_tokens, runs.flops)
    if not hasattr(given, "entries"):
        raise FitError(f"flops_per_token = {given!r} must be a FlopsPerToken or a size map, or left out")
    N = np.array([entry.num_params for entry in given.entries], dtype=float)
    flops = np.array([entry.flops_per_token for entry in given.entries], dtype=float)
    return learn_flops_per_token(N, np.ones_like(N), flops)


def fit_both(
    runs: Runs,
    flops_per_token: FlopsPerToken,
    delta: float | Literal["auto"],
    weighting: str,
    held: Held = FREE,
) -> tuple[ValleyFit, ParametricFit | None]:
    """The fit that the law uses, and its alternative (None with too few runs)."""
    plain = fit_parametric(runs.num_params, runs.num_tokens, runs.loss, weights=runs.weight, delta=delta, held=held)
    unweighted = ValleyFit(fit=plain, v=np.inf, c=np.inf, gain=0.0)
    if len(runs) < MIN_RUNS and weighting != "valley":
        return unweighted, None

    def optimum(parameters: np.ndarray) -> np.ndarray:
        return optimal_params(parameters, runs.flops, flops_per_token)

    best = fit_valley(plain, runs.flops, optimum, forced=weighting == "valley")
    if not best.is_plain and weighting != "plain":
        return best, plain
    return unweighted, best.fit if not best.is_plain else None
