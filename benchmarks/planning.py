"""What planning costs, and the evidence for the default grid.

    python benchmarks/planning.py             # probe, map and plan: speed and memory, as ratios within one run
    python benchmarks/planning.py grid [n]    # error of N_opt at 100x over span, sizes, laws and noise (n repetitions)
    python benchmarks/planning.py form        # the same for truths that are not of the fitted form
    python benchmarks/planning.py seconds DIR # predicted against actual seconds, DIR being a study's runs folder

Every measured part of the first runs in a process of its own, so that its peak memory is its own.
"""

import json
import math
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from flops_fit.basics.memory import peak_bytes

VOCABULARY = 50257
LARGE = 2560  # width of 12 layers with 1.07B parameters


def gpt(width, layers=12):
    """A GPT with 12·layers·width² weights in its layers, and embedding and head of 50257 tokens."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(1024, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
            self.head.weight = self.embed.weight

    return GPT()


def measure_probe():
    """Seconds and bytes of a warm meta probe of 1B parameters."""
    from flops_fit.sizes.counting import ProbeRequest, build_and_count

    request = ProbeRequest(model_cls=gpt, size_param="width")
    build_and_count(request, 64, device="meta")
    before, times = peak_bytes(), []
    for _ in range(5):
        started = time.perf_counter()
        probe = build_and_count(request, LARGE, device="meta")
        times.append(time.perf_counter() - started)
    return {"seconds": min(times), "bytes": max(peak_bytes() - before, 1 << 20), "params": probe.counts["total"]}


def measure_construction():
    """Seconds and bytes of building the same model in full."""
    gpt(64)
    before, started = peak_bytes(), time.perf_counter()
    gpt(LARGE)
    return {"seconds": time.perf_counter() - started, "bytes": peak_bytes() - before}


def measure_map():
    """Seconds and peak bytes of a process that maps the GPT up to 1e11 parameters, imports included, and plans."""
    started = time.perf_counter()
    from flops_fit import build_size_map, plan_from_size_map

    size_map = build_size_map(gpt, "width")
    seconds = time.perf_counter() - started
    budgets = np.geomspace(1e16, 1e22, 10).tolist()
    plan_from_size_map(size_map, budgets, num_sizes_per_budget=10)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        plan = plan_from_size_map(size_map, budgets, num_sizes_per_budget=10)
        times.append(time.perf_counter() - begin)
    counts = [entry.num_params for entry in size_map.entries]
    return {
        "seconds": seconds,
        "bytes": peak_bytes(),
        "sizes": len(counts),
        "smallest": counts[0],
        "largest": counts[-1],
        "plan_seconds": min(times),
        "experiments": plan.num_experiments,
    }


def _in_own_process(name):
    command = [sys.executable, __file__, "--part", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def speed():
    """The figures, each beside what it must be."""
    probe, full, mapped = (_in_own_process(name) for name in ("probe", "construction", "map"))
    rows = [
        ("1B-parameter GPT: full construction", f"{full['seconds']:.2f} s, {full['bytes'] / 1e9:.2f} GB", ""),
        ("... warm probe", f"{probe['seconds'] * 1e3:.1f} ms, {probe['bytes'] / 1e6:.1f} MB", ""),
        ("... times faster", f"{full['seconds'] / probe['seconds']:.0f}", ">= 100"),
        ("... times less memory", f"{full['bytes'] / probe['bytes']:.0f}", ">= 40"),
        (f"size map {mapped['smallest']:.1e} to {mapped['largest']:.1e}, {mapped['sizes']} sizes, imports included",
         f"{mapped['seconds']:.1f} s, {mapped['bytes'] / 1e6:.0f} MB", "<= 15 s, <= 600 MB"),
        (f"plan of 10 budgets x 10 sizes, {mapped['experiments']} experiments",
         f"{mapped['plan_seconds'] * 1e3:.1f} ms", "<= 50 ms"),
    ]  # fmt: skip
    for label, value, limit in rows:
        print(f"{label:75} {value:>22} {limit:>20}")


# -- the grid -----------------------------------------------------------------------------------------------------

BUDGETS = (1e18, 10**18.5, 1e19, 10**19.5, 1e20)
TARGET = 1e22


def laws():
    """Laws of the literature, and made ones whose optimum at 1e19 FLOPs is `off` times the prior's tokens."""
    from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, SYMMETRIC

    return {
        "Chinchilla": CHINCHILLA,
        "replication": REPLICATION,
        "symmetric": SYMMETRIC,
        "data-heavy": DATA_HEAVY,
        "model-heavy": MODEL_HEAVY,
        "beta = 2 alpha": _made(0.25, 0.5, off=1),
        "alpha = 2 beta": _made(0.5, 0.25, off=1),
        "200 tokens/param": _made(0.35, 0.35, off=10),
        "2 tokens/param": _made(0.35, 0.35, off=0.1),
    }


def _made(alpha, beta, *, off):
    """Exponents given, reducible loss 0.8 at the optimum of 1e19 FLOPs, tokens per parameter there 20·off."""
    from flops_fit.synthetic import KnownLaw

    params = math.sqrt(1e19 / (6 * 20 * off))
    tokens = 1e19 / (6 * params)
    reducible = 0.8 / (alpha + beta)
    return KnownLaw(
        E=1.7, A=beta * reducible * params**alpha, B=alpha * reducible * tokens**beta, alpha=alpha, beta=beta
    )


def error_at_100x(law, span, sizes, noise, repetitions, power=1.0):
    """Median relative error of N_opt at 100 times the largest budget, and how many experiments it took.

    The five-parameter law is fitted: it is the grid that is judged, not whether a bend is taken for one.

    With `power` other than 1 the truth is E + (A/N^alpha + B/D^beta)^power, which has the same optimum but is not of
    the form that is fitted.
    """
    from flops_fit.scaling_law import fit_scaling_law
    from flops_fit.sweep.counts import plan_from_counts

    plan = plan_from_counts((1e4, 1e12), BUDGETS, span=span, num_sizes_per_budget=sizes)
    table = plan.to_frame().assign(status="completed", flops=lambda frame: frame["planned_flops"])
    clean = law.loss(table["num_params"].to_numpy(float), table["num_tokens"].to_numpy(float))
    clean = law.E + (clean - law.E) ** power
    truth, errors = float(law.N_opt(TARGET)), []
    for seed in range(repetitions):
        drawn = np.random.default_rng(seed).standard_normal(len(table))
        noisy = table.assign(loss=clean * np.exp(noise * drawn))
        fitted = fit_scaling_law(noisy, bootstraps=1, form="chinchilla", weighting="auto")
        errors.append(abs(float(fitted.N_opt(TARGET)) / truth - 1))
    return float(np.median(errors)), len(table)


def grid(repetitions):
    """A Markdown table: rows are grids, columns laws."""
    from flops_fit.basics.formatting import markdown_table

    known = laws()
    for noise in (0.003, 0.01):
        rows = []
        for span, sizes in ((2, 7), (3, 7), (4, 7), (5, 7), (6, 7), (8, 7), (6, 5), (6, 9), (6, 13)):
            results = [error_at_100x(law, span, sizes, noise, repetitions) for law in known.values()]
            errors = [error for error, _ in results]
            rows.append([span, sizes, results[0][1], *(f"{e:.1%}" for e in errors), f"{max(errors):.1%}"])
        print(f"\nNoise {noise:.1%} on the loss, {repetitions} repetitions\n")
        print(markdown_table(["span", "sizes", "experiments", *known, "worst"], rows), flush=True)


def form():
    """The same without noise, for truths that are not of the form that is fitted."""
    from flops_fit.basics.formatting import markdown_table

    known = laws()
    rows = []
    for power in (0.7, 1.4):
        for span in (3, 4, 5, 6, 7):
            errors = [error_at_100x(law, span, 7, 0.0, 1, power)[0] for law in known.values()]
            rows.append([power, span, *(f"{error:.1%}" for error in errors)])
    print(markdown_table(["z", "span", *known], rows))


def seconds(directory):
    """Calibrate on the cheapest budget of finished runs and predict the rest."""
    from flops_fit import Hardware
    from flops_fit.cost.calibration import calibrate
    from flops_fit.results.results import ExperimentResult

    runs = [ExperimentResult.load(path) for path in sorted(Path(directory).glob("*/result.json"))]
    cheapest = min(run.compute_budget for run in runs)
    known, rest = ([r for r in runs if (r.compute_budget == cheapest) is side] for side in (True, False))
    fitted = calibrate(known, Hardware().peak)
    errors = [abs(fitted.seconds(run.num_tokens, run.flops) / run.seconds - 1) for run in rest]
    actual, predicted = sum(r.seconds for r in rest), sum(fitted.seconds(r.num_tokens, r.flops) for r in rest)
    print(f"calibrated on {len(known)} runs of {cheapest:.3g} FLOPs; {len(rest)} others:")
    print(f"median error {np.median(errors):.1%} (<= 20 %), largest {max(errors):.0%}")
    print(f"device time predicted {predicted:.1f} s, actual {actual:.1f} s")


if __name__ == "__main__":
    parts = {"probe": measure_probe, "construction": measure_construction, "map": measure_map}
    mode, *arguments = sys.argv[1:] or ["speed"]
    warnings.simplefilter("ignore")
    if mode == "--part":
        print(json.dumps(parts[arguments[0]]()))
    elif mode == "grid":
        grid(int(arguments[0]) if arguments else 24)
    elif mode == "form":
        form()
    elif mode == "seconds":
        seconds(arguments[0])
    else:
        speed()
