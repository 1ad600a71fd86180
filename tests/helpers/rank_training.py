"""What each of several processes does in the tests, as a task of a worker process."""

import contextlib
import dataclasses
import io
import os
import signal
from datetime import timedelta
from pathlib import Path

import torch
from own_optimizers import muon_and_adamw
from safetensors.torch import save_file
from tiny_study import TinyMLP, examples, experiment, held_out, tiny_study
from torch.utils.data import Dataset

import flops_fit.training.loop as training_loop
from flops_fit import DataSpec, ModelSpec, Recipe, distributed, run_experiment
from flops_fit.metrics import accuracy

RANK = int(os.environ.get("RANK", "0"))


class FailsOnRankOne(TinyMLP):
    """An error of one process, in the middle of the training."""

    calls = 0

    def forward(self, inputs):
        FailsOnRankOne.calls += 1
        if RANK == 1 and self.calls > 3:
            raise RuntimeError("bad memory in this machine")
        return super().forward(inputs)


class DiesOnRankOne(TinyMLP):
    """Its process is killed in the middle of the training; its FLOPs can be counted before."""

    calls = 0

    def forward(self, inputs):
        DiesOnRankOne.calls += self.training and not inputs.is_meta
        if os.environ.get("RANK") == "1" and self.calls > 6:  # no constant of this module: the ids would be others
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)


class DiesOnce(TinyMLP):
    """Its second process is killed in the middle of the training, unless a file in `folder` says that it was before."""

    calls = 0

    def __init__(self, width, folder):
        super().__init__(width)
        self.note = Path(folder) / "died"

    def forward(self, inputs):
        DiesOnce.calls += self.training and not inputs.is_meta
        ranks = torch.distributed.is_initialized() and torch.distributed.get_rank()
        if ranks == 1 and self.calls > 6 and not self.note.exists():
            if self.note.parent.exists():
                self.note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(inputs)


class AskedOnRankOne(TinyMLP):
    """Its process is asked to stop in the middle of the training."""

    calls = 0

    def forward(self, inputs):
        AskedOnRankOne.calls += self.training
        if RANK == 1 and self.training and self.calls == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(inputs)


class Parted(TinyMLP):
    """Process 1 has room for 3 examples at a time; the last layer's bias is used by nobody."""

    def __init__(self, width):
        super().__init__(width)
        self.unused = torch.nn.Parameter(torch.ones(3, 3))

    def forward(self, inputs):
        if RANK == 1 and self.training and len(inputs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


class AgainstTheRest(torch.nn.Module):
    """Each example is to be found again among those of its batch."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = TinyMLP(width), TinyMLP(width)

    def forward(self, inputs):
        return self.first(inputs) @ self.second(inputs + 1).T


def own_place(outputs, labels):
    """The loss of `AgainstTheRest`."""
    return torch.nn.functional.cross_entropy(outputs, torch.arange(len(outputs)))


class MaskedAtRandom(Dataset):
    """Three of four targets are left out, others at each look: many batches of four examples have none."""

    def __len__(self):
        return 3000

    def __getitem__(self, at):
        inputs, label = examples()[at]
        return inputs, label if torch.rand(()) < 0.25 else torch.tensor(-100)


def train_data():
    return examples(3000)


def second():
    return examples(500, seed=2)


RECIPE = Recipe(learning_rate=0.02, batch_tokens=25, checkpoint_seconds=0.0)  # odd: slices of 12 and 13
SHARED = dataclasses.replace(RECIPE, schedule="wsd", share_trunk=True)
TOKENS = {"single": 40, "short": 500}  # else 1,000
SCENARIOS = {
    "plain": tiny_study(training=RECIPE),
    "stop": tiny_study(training=dataclasses.replace(RECIPE, timeout_seconds=1e-9)),
    "fails": tiny_study(training=RECIPE, model=ModelSpec(factory=FailsOnRankOne, size_param="width")),
    "parted": tiny_study(training=RECIPE, model=ModelSpec(factory=Parted, size_param="width")),
    "single": tiny_study(training=dataclasses.replace(RECIPE, batch_tokens=1)),  # one of two slices is empty
    "own": tiny_study(training=dataclasses.replace(RECIPE, optimizer=muon_and_adamw)),
    "sets": tiny_study(
        training=RECIPE,
        data=DataSpec(train=train_data, eval={"first": held_out, "second": second}, metrics={"accuracy": accuracy}),
    ),
    "short": tiny_study(training=SHARED),
    "long": tiny_study(training=SHARED),
    "asked": tiny_study(
        training=dataclasses.replace(RECIPE, checkpoint_seconds=1e9),
        model=ModelSpec(factory=AskedOnRankOne, size_param="width"),
    ),
    "diverges": tiny_study(training=Recipe(learning_rate=1e30, gradient_clip=None)),
}


def train(folder, scenario):
    """The result; with the final weights in `<folder>/weights-<rank>.safetensors`."""
    evaluate = training_loop.held_out_loss

    def remember(model, *rest):
        save_file(dict(model.state_dict()), Path(folder) / f"weights-{RANK}.safetensors")
        return evaluate(model, *rest)

    training_loop.held_out_loss = remember
    try:
        item = experiment(num_tokens=TOKENS.get(scenario, 1000))
        if scenario in ("short", "long"):
            item = dataclasses.replace(item, experiment_id=scenario, recipe_tokens=100)
        return run_experiment(SCENARIOS[scenario], item, output_dir=folder)
    finally:
        training_loop.held_out_loss = evaluate


def command(arguments, emit):
    """The command that `torchrun` starts in each process: its exit code, and what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        return distributed.main(arguments), said.getvalue()


def train_together(steps, emit):
    """The scenarios of `steps`, one after the other."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    for folder, scenario in steps:
        result = train(folder, scenario)
        result.save(Path(folder) / f"returned-{RANK}.json")
    torch.distributed.destroy_process_group()
