"""Sixteen small trainings at once against one after the other: `python benchmarks/packing.py [kind ...] [--write]`.

One process, one thread. Sixteen seeds, and for the demo also sixteen rates of one seed, each trained at once
(`trainings_per_device = "auto"`), then alone, both from nothing; steps per second of all sixteen together, by the
processor's time of this process, since the machine may do other work beside it. Building the models, the trial, the
held-out losses and the results are in it; what a process loads once is not. Of the training data the first 100,000
examples are used, as an order of all of them, which each seed has, takes longer than such short trainings. The greatest
relative difference of the sixteen held-out losses, and of the mean training losses over the last tenth, says what "to
rounding" comes to. Of the CNN, whose leaky ReLU has a kink at which rounding may decide, they are the greatest: with a
GELU in its place the held-out losses were off by at most 2.3e-06, in float64 by 5.6e-16; and trained alone from weights
that are off by 1.2e-7, one of six seeds ended 6e-4 off.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from defaults import CharGRU
from torch.utils.data import TensorDataset
from written import write_page

from flops_fit import DataSpec, Experiment, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions
from flops_fit.basics.formatting import format_count, markdown_table
from flops_fit.examples import stdlib_corpus, tiny_gpt, vision
from flops_fit.examples.byte_mlp import ByteMLP
from flops_fit.loss import cross_entropy
from flops_fit.training.stacked.advance import advance
from flops_fit.training.stacked.decision import Decision
from flops_fit.training.training_run import run_experiment

COUNT, EXAMPLES = 16, 100_000


@dataclass(frozen=True)
class Kind:
    """A model with its data: `width`, `kwargs`, tokens of a training, and whether rates differ instead of seeds."""

    factory: object
    data: object
    width: int
    tokens: int
    kwargs: dict[str, int] = dataclasses.field(default_factory=dict)
    rates: bool = False


GPT = {"num_layers": 2, "head_width": 4}
KINDS = {
    "byte MLP": Kind(ByteMLP, stdlib_corpus, 16, 20_000),
    "byte MLP, 16 rates": Kind(ByteMLP, stdlib_corpus, 16, 20_000, rates=True),
    "byte MLP, wider": Kind(ByteMLP, stdlib_corpus, 96, 20_000),
    "GPT": Kind(tiny_gpt.TinyGPT, tiny_gpt, 16, 10_000, GPT),
    "CNN": Kind(vision.build, vision, 8, 5_000),
    "GRU": Kind(CharGRU, tiny_gpt, 16, 10_000),
}


def some_of(dataset: TensorDataset) -> TensorDataset:
    """Its first examples."""
    return TensorDataset(*(tensor[:EXAMPLES] for tensor in dataset.tensors))


def study_of(kind: Kind, at_once: int | str) -> Study:
    """The study, whose rate is the default rule's, or each experiment's own."""
    return Study(
        name="packing",
        model=ModelSpec(factory=kind.factory, size_param="width", kwargs=kind.kwargs, max_size=512),
        data=DataSpec(train=some_of(kind.data.train_dataset()), eval=kind.data.held_out_dataset),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=(1e9,)),
        training=Recipe(learning_rate="tune") if kind.rates else Recipe(),
        hardware=Hardware(device="cpu", workers=1, trainings_per_device=at_once),
    )


def experiments_of(kind: Kind) -> list[Experiment]:
    """Sixteen of one shape."""
    params = sum(item.numel() for item in kind.factory(width=kind.width, **kind.kwargs).parameters())
    first = Experiment("seed0", 6.0 * params * kind.tokens, kind.width, params, kind.tokens, size_param="width")
    if kind.rates:
        rates = [0.001 * 30 ** (at / (COUNT - 1)) for at in range(COUNT)]
        own = [(("learning_rate", rate),) for rate in rates]
        return [dataclasses.replace(first, experiment_id=f"rate{at}", tuned=own[at]) for at in range(COUNT)]
    return [dataclasses.replace(first, experiment_id=f"seed{at}", seed=at) for at in range(COUNT)]


def measured(kind: Kind, name: str) -> list[str]:
    """The row of one kind."""
    experiments, seconds, results = experiments_of(kind), {}, {}
    for at_once in ("auto", 1):
        study = study_of(kind, at_once)
        _ = study.prepared_data, study.loss_function
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            if at_once == "auto":
                decided = advance(study, experiments, output_dir=folder)
                if decided.at_once == 1:
                    return [name, format_count(experiments[0].num_params), *["–"] * 8, f"alone: {decided.why}"]
            results[at_once] = [run_experiment(study, item, output_dir=folder) for item in experiments]
            seconds[at_once] = time.process_time() - begin
    assert all(item.status == "completed" for item in itertools.chain(*results.values()))
    steps = sum(item.steps for item in results[1])
    rates = {at_once: steps / took for at_once, took in seconds.items()}
    row = [name, format_count(experiments[0].num_params), f"{results[1][0].batch_examples:.0f}", f"{steps:,}"]
    gain = f"{rates['auto'] / rates[1]:.2f}"
    return [*row, f"{rates[1]:,.0f}", f"{rates['auto']:,.0f}", gain, *said(decided, results)]


def loaded() -> None:
    """Have this process load what it loads once."""
    kind = dataclasses.replace(KINDS["byte MLP"], tokens=200)
    with tempfile.TemporaryDirectory() as folder:
        advance(study_of(kind, COUNT), experiments_of(kind)[:2], output_dir=folder)


def said(decided: Decision, results: dict[object, Sequence[object]]) -> list[str]:
    """By what a step was found to be faster, and how far losses differ."""
    pairs = [*zip(results[1], results["auto"], strict=True)]
    off = [
        f"{max(abs(getattr(at_once, name) / getattr(alone, name) - 1) for alone, at_once in pairs):.1e}"
        for name in ("loss", "train_loss")
    ]
    return [f"{decided.gain:.2f}", *off, f"{decided.at_once} at once"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all if none")
    parser.add_argument("--write", action="store_true", help="write packing.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    loaded()
    rows = []
    for name in asked.kinds or KINDS:
        rows.append(measured(KINDS[name], name))
        print(*rows[-1], sep=" | ", flush=True)
    headers = [
        "model", "parameters", "examples per step", "steps of all", "steps/s alone", "steps/s at once", "gain",
        "gain of a step in the trial", "greatest difference of held-out loss", "of training loss", "decided",
    ]  # fmt: skip
    text = " ".join((__doc__ or "").split("\n\n", 1)[1].split()) + "\n\n" + markdown_table(headers, rows)
    if asked.write:
        write_page(__file__, "Sixteen small trainings at once", text)


if __name__ == "__main__":
    main()
