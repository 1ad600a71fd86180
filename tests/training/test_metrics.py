"""Metrics: a function of model and data, whose mean over all targets is kept with every result."""

import contextlib
import dataclasses
import functools
import json

import pytest
import torch
from tiny_study import experiment, held_out, tiny_study, train
from torch.nn import functional
from torch.utils.data import DataLoader, Subset, TensorDataset

from flops_fit import DataSpec, ExperimentResult, Study, run_experiment
from flops_fit.data.study_data import open_examples
from flops_fit.errors import MetricError, StudyError
from flops_fit.loss import cross_entropy
from flops_fit.metrics import accuracy
from flops_fit.results.results import results_frame
from flops_fit.training.evaluation import held_out_metrics

CPU = torch.device("cpu")


class PerToken(torch.nn.Module):
    """(batch, length) ids → (batch, length, 8) logits, each position by itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(8, 8)

    def forward(self, ids):
        return self.table(ids)


def padded():
    """Examples of lengths 1 to 30 whose target is their own token for each even one, padded with -100."""
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(0, 8, (length,), generator=generator) for length in range(1, 31)]

    def collate(items):
        ids = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
        return ids, torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=-100)

    return texts, DataLoader(texts, batch_size=2, collate_fn=collate)


def measure(metric, data, batch_examples, model=None):
    found = held_out_metrics(
        model or PerToken(), open_examples(data), {"it": metric}, cross_entropy, batch_examples, CPU,
        contextlib.nullcontext(),
    )  # fmt: skip
    return found["it"]


@pytest.mark.parametrize("batch_examples", [1, 7, 64])
def test_it_is_the_mean_over_all_targets_whatever_the_batches(batch_examples):
    texts, data = padded()
    guesses = PerToken().table.weight.argmax(1)
    every = torch.cat(texts)
    by_hand = (guesses[every] == every).double().mean().item()
    assert 0 < by_hand < 1
    assert measure(accuracy, data, batch_examples) == pytest.approx(by_hand, abs=1e-12)


def test_one_of_the_whole_dataset_gets_what_is_held_out_and_is_taken_as_it_is():
    def examples_seen(model, dataset):
        assert not model.training
        return sum(1 for _ in dataset)

    assert measure(examples_seen, padded()[1], 4) == 30
    assert measure(examples_seen, Subset(held_out(), range(7)), 4) == 7


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_it_is_measured_in_evaluation_mode_without_gradients_and_with_the_same_draws(dropout):
    model = torch.nn.Sequential(PerToken(), torch.nn.Dropout(dropout)).train()

    def drawn(model, batch):
        assert not model.training
        assert not torch.is_grad_enabled()
        return torch.rand(())

    before = torch.random.get_rng_state()
    first, second = (measure(drawn, padded()[1], 4, model) for _ in range(2))
    assert first == second
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), before)


class Causal(torch.nn.Module):
    """As Hugging Face's causal models: logits and loss in a mapping, labels shifted by itself."""

    loss_type = "ForCausalLM"

    def __init__(self):
        super().__init__()
        self.inner = PerToken()

    def forward(self, input_ids, labels):
        logits = self.inner(input_ids)
        return {
            "logits": logits,
            "loss": functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()),
        }


class Tuple(torch.nn.Module):
    """As nanoGPT: all logits only with targets, and (logits, loss)."""

    def __init__(self):
        super().__init__()
        self.inner = PerToken()

    def forward(self, ids, targets=None):
        logits = self.inner(ids)
        return (logits, logits.sum()) if targets is not None else (logits[:, -1:], None)


def test_accuracy_takes_the_logits_of_models_that_compute_their_loss():
    ids = torch.randint(0, 8, (5, 9), generator=torch.Generator().manual_seed(2))
    guesses = PerToken().table.weight.argmax(1)
    shifted = (guesses[ids[:, :-1]] == ids[:, 1:]).float().mean()
    assert accuracy(Causal(), {"input_ids": ids, "labels": ids}) == pytest.approx(shifted.item())
    assert accuracy(Tuple(), (ids, ids)) == pytest.approx((guesses[ids] == ids).float().mean().item())


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda model, batch: torch.zeros(3), r"tensor of shape \(3,\) where one number is needed"),
        (lambda model, batch: float("nan"), "metric it is nan; return a finite number"),
        (lambda model, batch: "good", "returned a str where one number is needed"),
        (lambda model, batch: accuracy(model, (batch[0], batch[1][:, :1])), "accuracy needs outputs of shape"),
    ],
)
def test_what_is_no_number_is_refused(metric, said):
    with pytest.raises(MetricError, match=said):
        measure(metric, padded()[1], 8)


# -- of a study ------------------------------------------------------------------------------------------------------


def half(model, batch):
    return 0.5


def study_with(metrics, held=held_out):
    return tiny_study(data=DataSpec(train=train, eval=held, metrics=metrics))


def test_it_is_kept_with_every_result_and_changes_no_id(tmp_path):
    study = study_with({"accuracy": accuracy, "half": half})
    assert study.outcome_fingerprint() == tiny_study().outcome_fingerprint()
    assert study.sweep_fingerprint() != tiny_study().sweep_fingerprint()
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result == ExperimentResult.load(tmp_path / result.experiment_id / "result.json")
    assert result.metrics.keys() == result.measured_by.keys() == {"accuracy", "half"}
    assert result.losses == {}
    assert result.metrics["half"] == 0.5
    assert 0.3 < result.metrics["accuracy"] < 1
    row = results_frame([result]).iloc[0]
    assert (row["accuracy"], row["half"]) == (result.metrics["accuracy"], 0.5)
    assert json.dumps(result.to_dict()["metrics"])
    plain = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "plain")
    assert (plain.loss, plain.weights_sha256) == (result.loss, result.weights_sha256)


def test_of_several_sets_it_is_measured_on_each(tmp_path):
    flipped = TensorDataset(held_out().tensors[0], 3 - held_out().tensors[1])
    result = run_experiment(
        study_with({"accuracy": accuracy}, {"web": held_out, "odd": flipped}), experiment(), output_dir=tmp_path
    )
    assert result.metrics.keys() == {"accuracy_web", "accuracy_odd"}
    assert result.metrics["accuracy_odd"] < result.metrics["accuracy_web"]
    assert result.measured_by.keys() == {"web", "odd", "accuracy"}


def test_one_that_raises_fails_with_its_own_line_and_the_checks_find_it_first(tmp_path):
    from flops_fit.preflight.first_steps import try_experiment

    def broken(model, batch):
        raise KeyError("answers")

    study = study_with({"broken": broken})
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "failed"
    assert 'raise KeyError("answers")' in result.reason
    (problem,) = try_experiment(study, experiment(), CPU).problems
    assert problem.startswith("held-out step")


def test_its_code_is_known_by_its_hash():
    def other(model, batch):
        return 0.25

    prints = [
        study_with({"m": metric}).measured_by["m"] for metric in (half, other, functools.partial(accuracy, ignored=0))
    ]
    assert len(set(prints)) == 3
    assert study_with({"m": half}).measured_by["m"] == prints[0]


@pytest.mark.parametrize(
    ("metrics", "sets", "said"),
    [
        ({"loss": half}, held_out, "has the name of a column"),
        ({"web": half}, {"web": held_out}, "or of a held-out set"),
        ({"a": 3}, held_out, "cannot be called"),
        ({"a": lambda model: 0}, held_out, "cannot be called with two arguments"),
        ({"a b": half}, held_out, "a name in data.metrics"),
        ([half], held_out, "must be functions by name"),
        ({"a": half, "a_b": half}, {"b_c": held_out, "c": held_out}, "give the column a_b_c twice"),
    ],
)
def test_what_cannot_be_a_metric_is_refused(metrics, sets, said):
    with pytest.raises(StudyError, match=said):
        study_with(metrics, sets)


def test_a_study_file_names_them(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        '[model]\nfactory = "tiny_study:TinyMLP"\nsize_param = "width"\n[data]\ntrain = "tiny_study:train"\n'
        'eval = "tiny_study:held_out"\n[data.metrics]\naccuracy = "flops_fit.metrics:accuracy"\n'
        '[loss]\nfn = "flops_fit.loss:cross_entropy"\n[sweep]\ncompute_budgets = [1e6]\n'
    )
    assert Study.from_toml(path).data.metrics == {"accuracy": accuracy}
    path.write_text(path.read_text().replace("metrics:accuracy", "metrics:acuracy"))
    with pytest.raises(StudyError, match=r"\[data.metrics\] accuracy = .*did you mean 'accuracy'"):
        Study.from_toml(path)


def test_the_report_has_them_in_a_table():
    from flops_fit.report.measured_table import measured_table

    table = measured_table({"one": {"accuracy": 0.5}, "two": {"accuracy": 0.25, "loss_web": 2.0}})
    assert table.count("<tr>") == 3
    assert "–" in table


def test_event_of_the_end_has_them(tmp_path):
    events = []
    study = dataclasses.replace(study_with({"half": half}))
    run_experiment(study, experiment(), output_dir=tmp_path, on_log=events.append)
    assert events[-1]["metrics"] == {"half": 0.5}
