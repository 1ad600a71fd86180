"""One training on a page of its own: how far it is, its curve, its numbers, and the end of its log."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flops_fit.basics.formatting import format_count, format_flops, format_loss, format_seconds
from flops_fit.loss_curves.curves import LOG_FILE, RUNNING, LossCurve, read_log
from flops_fit.loss_curves.one_curve import curve_svg

_TAIL = 12  # lines of a log
_REFRESH = 5  # seconds, while it is not finished
_STYLE = """\
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:56rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.1rem 1rem .1rem 0;text-align:left;font-variant-numeric:tabular-nums}
pre{overflow-x:auto;font-size:12px}svg{width:100%;height:auto}.reason{color:#b3261e}
"""


def training_page(name: str, folder: Path | None, plan: Path | None) -> str | None:
    """The page of the training called `name`, from its `folder` and the plan's file, where these are; None for neither.

    It loads itself again until the training has ended.
    """
    planned = _planned(name, plan)
    result, lines = _json(folder / "result.json") if folder else {}, _log(folder)
    if folder is None and not planned:
        return None
    status = result.get("status") or ("training" if lines else "not begun")
    ended = "status" in result
    again = "" if ended else f'<meta http-equiv="refresh" content="{_REFRESH}">'
    reason = f'<p class="reason">{html.escape(str(result["reason"]))}</p>' if result.get("reason") else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}<title>{html.escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{html.escape(name)}</h1>{reason}{_table(_facts(status, planned, result, lines))}"
        f"{_curve(name, folder, plan)}{_end_of_log(folder)}</body></html>"
    )


def _facts(
    status: str, planned: Mapping[str, Any], result: Mapping[str, Any], lines: Sequence[Mapping[str, float]]
) -> list[tuple[str, str]]:
    known = {**planned, **{key: value for key, value in result.items() if value is not None}}
    wanted, done = planned.get("num_tokens"), result.get("num_tokens") or (lines[-1]["tokens"] if lines else 0)
    seconds = result.get("seconds") or (lines[-1].get("seconds", 0.0) if lines else 0.0)
    share = f" ({min(done / wanted, 1):.0%} of {format_count(wanted)})" if wanted else ""
    facts = [("status", status), ("tokens seen", f"{format_count(done)}{share}")]
    if isinstance(result.get("loss"), int | float):
        facts.append(("held-out loss", format_loss(result["loss"])))
    if lines:
        facts.append(("training loss, last step", format_loss(lines[-1]["loss"])))
    facts += [("compute budget", f"{format_flops(known['compute_budget'])} FLOPs")] if "compute_budget" in known else []
    facts += [("parameters", format_count(known["num_params"]))] if "num_params" in known else []
    left = seconds * (wanted - done) / done if wanted and done and not result else 0
    facts.append(("time", format_seconds(seconds) + (f", about {format_seconds(left)} left" if left else "")))
    return facts


def _table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts)
    return f"<table>{rows}</table>"


def _curve(name: str, folder: Path | None, plan: Path | None) -> str:
    drawn = training_curve(name, folder, plan)
    return f"<h2>Curve</h2>{drawn}" if drawn else "<p>No curve yet: the log has fewer than two steps.</p>"


def training_curve(name: str, folder: Path | None, plan: Path | None) -> str | None:
    """The curve of a training as an SVG, also while it is under way; None where its log has fewer than two steps."""
    if folder is None:
        return None
    known = {**_planned(name, plan), **_json(folder / "result.json")}
    tokens, loss = read_log(folder / LOG_FILE)
    held_out = known.get("loss")
    if len(tokens) < 2:
        return None
    try:
        curve = LossCurve(
            experiment_id=name,
            compute_budget=float(known.get("compute_budget", 0)),
            num_params=int(known.get("num_params", 0)),
            tokens=tokens,
            loss=loss,
            flops_per_token=float(known.get("flops_per_token", 1)),
            status=str(known.get("status", RUNNING)),
            held_out=float(held_out) if isinstance(held_out, int | float) else None,
        )
        return curve_svg(curve)
    except (ValueError, ArithmeticError, TypeError, IndexError):  # no picture is worth a page
        return None


def _end_of_log(folder: Path | None) -> str:
    for name in ("trainer.log", "log.jsonl"):
        if folder is not None and (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            tail = html.escape("\n".join(text.splitlines()[-_TAIL:]))
            here = f"/flops_fit/{folder.parent.parent.name}/runs/{folder.name}"
            others = "".join(
                f' · <a href="{here}/{other}">{other}</a>' for other in ("result.json",) if (folder / other).is_file()
            )
            return f'<h2>Log</h2><p><a href="{here}/{name}">{name}</a>{others}</p><pre>{tail}</pre>'
    return "<p>No log yet.</p>"


def _planned(name: str, plan: Path | None) -> Mapping[str, Any]:
    content = _json(plan) if plan else {}
    every = [*content.get("experiments", []), *content.get("checks", [])]
    return next((item for item in every if isinstance(item, dict) and item.get("experiment_id") == name), {})


def _json(path: Path) -> Mapping[str, Any]:
    """What a file holds; nothing where it is torn, or not there yet."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _log(folder: Path | None) -> list[Mapping[str, float]]:
    """The whole lines of a training's log; none of a command's, which is text."""
    try:
        text = (folder / "log.jsonl").read_text(encoding="utf-8") if folder else ""
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        return [line for line in lines if {"tokens", "loss"} <= line.keys()]
    except (OSError, ValueError, AttributeError):
        return []
