"""What does not fit between a batch and its model is said with its remedy, or refused where nothing would fail."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from flops_fit import DataSpec, Experiment, Hardware, LossSpec, ModelSpec, Study, SweepOptions, run_experiment
from flops_fit.loss import cross_entropy, model_loss

VOCABULARY = 16


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))


class Logits(nn.Module):
    """Logits of 16 classes."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.logits = nn.Linear(width, VOCABULARY)

    def forward(self, tokens):
        return self.logits(self.embed(tokens))


class OwnLoss(Logits):
    """Returns (logits, loss), as nanoGPT does, and leaves out -1."""

    def forward(self, tokens, targets=None):
        logits = super().forward(tokens)
        return logits, functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


class Shifting(Logits):
    """Shifts its labels by one, as Hugging Face's causal models do."""

    loss_type = "ForCausalLM"

    def forward(self, input_ids, labels=None):
        logits = super().forward(input_ids)
        return {"loss": functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}


def trained(folder, model, loss, ids, data=None, **options):
    path = folder / "train.bin"
    np.asarray(ids, np.uint16).tofile(path)
    study = Study(
        name="faults",
        model=ModelSpec(factory=model, size_param="width", size_values=(4, 8)),
        data=data or DataSpec(train=str(path), context=8, **options),
        loss=LossSpec(fn=loss),
        sweep=SweepOptions(compute_budgets=(1e6,)),
        hardware=Hardware(device="cpu"),
    )
    experiment = Experiment(
        experiment_id="one", compute_budget=1e6, size_param="width", size_param_value=4, num_params=148, num_tokens=800,
        flops_per_token=1250.0,
    )  # fmt: skip
    return run_experiment(study, experiment, output_dir=folder / "runs")


FITTING = np.arange(4000) % VOCABULARY


def test_an_id_that_no_embedding_has_is_said_with_the_vocabulary_that_it_needs(tmp_path):
    result = trained(tmp_path, Logits, cross_entropy, np.arange(4000) % 21)
    assert result.status == "failed"
    assert "the data holds the token 20, and the model's embeddings have 16 rows" in result.reason
    assert "give it a vocabulary of 21" in result.reason


def test_so_is_one_of_a_dataset_that_is_no_file(tmp_path):
    ids = torch.arange(4000).reshape(500, 8) % 18
    result = trained(tmp_path, Logits, cross_entropy, FITTING, DataSpec(train=TensorDataset(ids, ids)))
    assert "the data holds the token 17, and the model's embeddings have" in result.reason


def test_a_loss_that_takes_minus_100_for_a_class_is_told_of_it(tmp_path):
    result = trained(tmp_path, OwnLoss, model_loss, FITTING, kwargs={"separator": 3})
    assert result.status == "failed"
    assert "give it ignore_index = -100, which is torch's default" in result.reason
    assert trained(tmp_path, OwnLoss, model_loss, FITTING).status == "completed"


def test_targets_are_not_shifted_twice(tmp_path):
    result = trained(tmp_path, Shifting, model_loss, FITTING)
    assert result.status == "failed"
    assert "Shifting shifts its labels itself, so that it would predict two ahead" in result.reason
    assert '[data] kwargs = { form = "labels" }' in result.reason
    assert trained(tmp_path, Shifting, model_loss, FITTING, kwargs={"form": "labels"}).status == "completed"


def test_labels_that_are_not_the_tokens_one_later_are_left_to_the_model(tmp_path):
    inputs = torch.arange(4000).reshape(500, 8) % VOCABULARY
    for labels in (inputs, inputs.flip(1), torch.full_like(inputs, 3)):
        result = trained(tmp_path, Shifting, model_loss, FITTING, DataSpec(train=TensorDataset(inputs, labels)))
        assert result.status == "completed", result.reason
