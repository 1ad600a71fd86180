"""A killed training on files, on text, on a stream and on padded examples goes on to the same bits."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from flops_fit import DataSpec, Experiment, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions, run_experiment
from flops_fit.datasets import PackedStream
from flops_fit.loss import cross_entropy
from flops_fit.training import loop

TEXTS = [f"{number} times {number} is {number * number}. " * (1 + number % 3) for number in range(400)]


class Logits(nn.Module):
    """Logits of the next byte from this one, some of them dropped."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(256, width), nn.Dropout(0.1), nn.Linear(width, 256))

    def forward(self, tokens):
        return self.layers(tokens)


def token_file(folder):
    ids = np.frombuffer("\0".join(TEXTS).encode(), np.uint8).astype(np.uint16)
    for name, part in (("0", ids[:5000]), ("1", ids[5000:])):
        part.tofile(folder / f"{name}.bin")
    return DataSpec(train=str(folder / "*.bin"), context=16, kwargs={"separator": 0})


def text(folder):
    (folder / "docs.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    return DataSpec(train=str(folder / "docs.jsonl"), context=16, tokenizer="bytes")


def stream(folder):
    def packed():
        return PackedStream(TEXTS, context=16, tokenizer="bytes")

    return DataSpec(train=packed, eval=PackedStream(TEXTS[:20], context=16, tokenizer="bytes"))


def padded(folder):
    rows = [torch.tensor(list(text.encode())) for text in TEXTS]
    return DataSpec(train=[(row[:-1], row[1:]) for row in rows], pad=0)


class Killed(BaseException):
    """Stands in for a kill: nothing catches it, so nothing is tidied up."""


@pytest.mark.parametrize("data", [token_file, text, stream, padded])
def test_it_goes_on_to_the_same_bits(tmp_path, monkeypatch, data):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))
    study = Study(
        name="resumed",
        model=ModelSpec(factory=Logits, size_param="width"),
        data=data(tmp_path),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=(1e8,)),
        training=Recipe(learning_rate=0.01, batch_tokens=250, checkpoint_seconds=0.0),
        hardware=Hardware(device="cpu"),
    )
    experiment = Experiment(
        experiment_id="one", compute_budget=1e8, size_param="width", size_param_value=4, num_params=2300,
        num_tokens=8000, flops_per_token=12_000.0,
    )  # fmt: skip
    whole = run_experiment(study, experiment, output_dir=tmp_path / "whole")
    assert whole.status == "completed", whole.reason
    step = loop.TrainingLoop._step

    def until(last):
        def killed(self, batch, factor):
            if self.progress.step == last:
                raise Killed
            return step(self, batch, factor)

        return killed

    for last in (3, 17):
        monkeypatch.setattr(loop.TrainingLoop, "_step", until(last))
        with pytest.raises(Killed):
            run_experiment(study, experiment, output_dir=tmp_path / "killed")
    monkeypatch.setattr(loop.TrainingLoop, "_step", step)
    resumed = run_experiment(study, experiment, output_dir=tmp_path / "killed")
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)
