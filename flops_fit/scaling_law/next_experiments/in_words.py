"""Suggestions as people read them: a table, a file to fill in, and one line where an answer is not trustworthy."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Suggestion
from flops_fit.scaling_law.next_experiments.of_law import next_experiments
from flops_fit.scaling_law.next_experiments.width import widths

FURTHER = 10  # times the largest run is where the summary's verdict is about
NEXT_OPTION = "next"  # of a study's law: what to add to the study
COLUMNS = ("num_params", "num_tokens", "flops", "loss")


def suggestions_table(law: FittedLaw, found: Sequence[Suggestion], target: float) -> str:
    """What to train, and half of the answer's 90 % interval now and expected after each, in Markdown."""
    now = widths(law, target) if law.determined else {}
    rows = [["now", "", "", "", _size(now), _loss(now), "" if law.determined else "the runs do not determine a law"]]
    for number, each in enumerate(found, start=1):
        what, after = each.candidate, each.widths_after
        sizes = [format_count(what.num_params), format_count(what.num_tokens), format_flops(what.flops)]
        rows.append([str(number), *sizes, _size(after), _loss(after), each.reason])
    return markdown_table(["", "N", "D", "FLOPs", "N_opt", "loss", "why"], rows)


def suggestions_csv(found: Sequence[Suggestion]) -> str:
    """A table of runs with an empty column for the loss, to fill in."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "why"))
    for each in found:
        what = each.candidate
        writer.writerow((round(what.num_params), round(what.num_tokens), f"{what.flops:.6g}", "", each.reason))
    return text.getvalue()


def next_in_words(law: FittedLaw) -> str:
    """What to train next where the law's verdict is not "trustworthy", in a line; empty otherwise, and where the runs
    determine no law to choose by. Of a study's law it is what to add to the study; else sizes and tokens."""
    if NEXT_OPTION in law.options:
        return str(law.options[NEXT_OPTION])
    if not law.determined or law.verdict == "trustworthy":
        return ""
    target = FURTHER * float(law.runs.flops.max())
    found = next_experiments(law, 3, target=target)
    if not found:
        return ""
    each = "; ".join(
        f"N = {format_count(one.candidate.num_params)} on D = {format_count(one.candidate.num_tokens)}" for one in found
    )
    cost = format_flops(sum(one.candidate.flops for one in found))
    after = found[-1].widths_after
    return f"train {each} ({cost} FLOPs){', ' + hope(target, after) if after else ''}"


def hope(target: float, widths_after: Mapping[str, float]) -> str:
    """What the answer at `target` FLOPs is expected to be known within."""
    return f"N_opt at {format_flops(target)} then expected {_size(widths_after)}, the loss {_loss(widths_after)}"


def _size(each: Mapping[str, float]) -> str:
    width = each.get("N_opt", math.inf)
    return f"within x{math.exp(width):.2f}" if width < 5 else "unknown"


def _loss(each: Mapping[str, float]) -> str:
    width = each.get("L_opt", math.inf)
    return f"within {math.expm1(width):.2%}" if width < 5 else "unknown"
