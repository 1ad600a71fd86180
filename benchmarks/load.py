"""How long do the law of a large table and its report take, and how much memory?

    OMP_NUM_THREADS=1 python benchmarks/load.py [--rows 240 5000 100000] [--write]

CPU seconds by stage, one thread, each table in a process of its own (imports are not counted, those of matplotlib are):
the default `fit_scaling_law` with its 1000 resamples, the summary, the file, the report with its five figures. Tables
are IsoFLOP studies of 15 budgets over three decades with noise of 0.5 %, of a law and of one that bends.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.report.report import write_report
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import REPLICATION, synthetic_runs

BENDS = {"straight": None, "bent": lambda N, D, loss: loss * (1 + 0.002 * np.log(D / N / 20) ** 2)}
STAGES = ("fit", "summary", "save", "report")


def measure(kind, rows):
    """CPU seconds of each stage, peak memory in MB, and what the law says was thinned."""
    runs = synthetic_runs(
        REPLICATION,
        compute_budgets=np.geomspace(1e18, 1e21, 15),
        sizes_per_budget=round(rows / 15),
        noise=0.005,
        seed=1,
        transform=BENDS[kind],
    )
    seconds = {}

    def timed(stage, function):
        began = time.process_time()
        value = function()
        seconds[stage] = time.process_time() - began
        return value

    with tempfile.TemporaryDirectory() as folder:
        law = timed("fit", lambda: fit_scaling_law(runs))
        timed("summary", law.summary)
        timed("save", lambda: law.save(Path(folder) / "law.json"))
        timed("report", lambda: write_report(law, Path(folder) / "report.html"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(runs), "seconds": seconds, "peak": peak, "thinned": law.thinned}


def in_a_process_of_its_own(kind, rows):
    """`measure` in a fresh interpreter, so that peaks and imports do not mix."""
    command = [sys.executable, __file__, "--one", kind, str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[240, 5000, 100_000])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    table, said = [], []
    for kind in BENDS:
        least = None
        for rows in options.rows:
            found = in_a_process_of_its_own(kind, rows)
            total = sum(found["seconds"].values())
            least = least or total
            each = [f"{found['seconds'][stage]:.2f}" for stage in STAGES]
            table.append(
                (kind, f"{found['rows']:,}", *each, f"{total:.1f}", f"{total / least:.1f}", f"{found['peak']:.0f}")
            )
            said += [f"- {kind}, {found['rows']:,} rows: {words}" for words in found["thinned"]]
            print(*table[-1], flush=True)
    headers = ("law", "rows", *(f"{stage}, s" for stage in STAGES), "all, s", "over the first", "peak, MB")
    text = markdown_table(headers, table) + "\n\nThe laws say of themselves:\n\n" + "\n".join(said)
    print(text)
    if options.write:
        write_page(__file__, "Large tables, one thread, CPU seconds", text)


if __name__ == "__main__":
    main()
