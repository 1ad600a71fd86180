"""What each of several processes does in the tests: a program of `torchrun` (`FOLDER SCENARIO` ...), or a task."""

import dataclasses
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from safetensors.torch import save_file
from tiny_study import TinyMLP, experiment, tiny_study

import flops_fit.training.loop as training_loop
from flops_fit import ModelSpec, Recipe, run_experiment

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
    """Its process is killed in the middle of the training."""

    calls = 0

    def forward(self, inputs):
        DiesOnRankOne.calls += 1
        if RANK == 1 and self.calls > 6:
            os.kill(os.getpid(), signal.SIGKILL)
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


RECIPE = Recipe(learning_rate=0.02, batch_tokens=25, checkpoint_seconds=0.0)  # odd: slices of 12 and 13
SCENARIOS = {
    "plain": tiny_study(training=RECIPE),
    "stop": tiny_study(training=dataclasses.replace(RECIPE, timeout_seconds=1e-9)),
    "fails": tiny_study(training=RECIPE, model=ModelSpec(factory=FailsOnRankOne, size_param="width")),
    "dies": tiny_study(training=RECIPE, model=ModelSpec(factory=DiesOnRankOne, size_param="width")),
    "parted": tiny_study(training=RECIPE, model=ModelSpec(factory=Parted, size_param="width")),
    "single": tiny_study(training=dataclasses.replace(RECIPE, batch_tokens=1)),  # one of two slices is empty
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
        tokens = 40 if scenario == "single" else 1000
        return run_experiment(SCENARIOS[scenario], experiment(num_tokens=tokens), output_dir=folder)
    finally:
        training_loop.held_out_loss = evaluate


def train_together(steps, emit=None):
    """The scenarios of `steps`, one after the other, in this process of several; the task of a worker process too."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    for folder, scenario in steps:
        result = train(folder, scenario)
        result.save(Path(folder) / f"returned-{RANK}.json")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    train_together(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
