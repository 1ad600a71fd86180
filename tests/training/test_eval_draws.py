"""Held-out evaluation of what draws at random: several draws per example, the same ones for every experiment."""

import math

import pytest
import torch
from tiny_study import TinyMLP, experiment, held_out, tiny_study, train
from torch.utils.data import Dataset, TensorDataset

from flops_fit import DataSpec, find_optimal, run_experiment
from flops_fit.basics.random_state import isolated_random_state, seed_everything
from flops_fit.data.study_data import open_examples
from flops_fit.errors import StudyError
from flops_fit.loss import cross_entropy
from flops_fit.preflight.first_steps import try_experiment
from flops_fit.training.evaluation import held_out_loss, held_out_metrics

CPU, PLAIN = torch.device("cpu"), torch.inference_mode(False)


class OnlyNoise(torch.nn.Module):
    """Says nothing but noise of standard deviation 1, so that its squared error to 0 is 1 on average."""

    def forward(self, inputs):
        return torch.randn(len(inputs))


class RandomMasks(Dataset):
    """Rows of 6 classes, of which each reading hides other targets."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        row = torch.randint(0, 5, (6,), generator=torch.Generator().manual_seed(index))
        return row, torch.where(torch.rand(6) < 0.3, row, -100)


def zeros(count):
    return TensorDataset(torch.zeros(count, 1), torch.zeros(count))


def squared(outputs, targets):
    return ((outputs - targets) ** 2).mean()


@pytest.mark.parametrize("draws", [1, 4, 64])
def test_the_mean_of_many_draws_comes_near_its_expectation_as_the_root_of_their_number(draws):
    found = held_out_loss(OnlyNoise(), open_examples(zeros(100)), squared, 32, CPU, PLAIN, draws)
    deviation = math.sqrt(2 / (100 * draws))  # of the mean of as many squares of standard normal numbers
    assert 0 < abs(found - 1) < 4 * deviation


def test_the_first_draw_is_the_one_of_a_single_one_and_the_mean_is_that_of_all_by_hand():
    evaluate = lambda draws: held_out_loss(OnlyNoise(), open_examples(zeros(10)), squared, 4, CPU, PLAIN, draws)  # noqa: E731
    by_hand = []
    with isolated_random_state():
        for draw in ((), (1,), (2,)):
            for batch, size in enumerate((4, 4, 2)):
                seed_everything(20220329, batch, *draw)
                by_hand.append(torch.randn(size) ** 2)
    assert evaluate(1) == pytest.approx(float(torch.cat(by_hand[:3]).mean()), rel=1e-6)
    assert evaluate(3) == pytest.approx(float(torch.cat(by_hand).mean()), rel=1e-6)
    assert evaluate(3) == evaluate(3)


def test_targets_of_all_draws_weigh_alike_where_each_draw_masks_others():
    model, draws = torch.nn.Embedding(5, 5, _weight=torch.eye(5) * torch.arange(1, 6)), 8
    with torch.no_grad():
        found = held_out_loss(model, open_examples(RandomMasks()), cross_entropy, 16, CPU, PLAIN, draws)
        total, count = 0.0, 0
        with isolated_random_state():
            for draw in range(draws):
                for batch in range(4):
                    seed_everything(20220329, batch, *([draw] if draw else []))
                    rows = [RandomMasks()[index] for index in range(16 * batch, min(50, 16 * batch + 16))]
                    for inputs, targets in rows:
                        logs = torch.log_softmax(model(inputs), -1)
                        counted = (targets != -100).nonzero().reshape(-1).tolist()
                        total -= sum(float(logs[place, targets[place]]) for place in counted)
                        count += len(counted)
    assert 0.25 < count / (50 * 6 * draws) < 0.35, "other masks in each draw"
    assert found == pytest.approx(total / count, rel=1e-5)


def test_metrics_are_means_over_the_draws_too():
    metrics = {"of_batch": lambda model, batch: squared(model(batch[0]), batch[1]), "of_set": spread}
    found = held_out_metrics(OnlyNoise(), open_examples(zeros(100)), metrics, squared, 32, CPU, PLAIN, 64)
    loss = held_out_loss(OnlyNoise(), open_examples(zeros(100)), squared, 32, CPU, PLAIN, 64)
    assert found["of_batch"] == pytest.approx(loss, rel=1e-6)
    assert abs(found["of_set"] - 1) < 4 * math.sqrt(2 / 6400)
    once = held_out_metrics(OnlyNoise(), open_examples(zeros(100)), metrics, squared, 32, CPU, PLAIN)
    assert found["of_set"] != once["of_set"]


def spread(model, dataset):
    return float((model(torch.zeros(len(dataset))) ** 2).mean())


def test_ids_follow_from_the_draws_only_where_there_are_several():
    data = DataSpec(train=train, eval=held_out)
    plain = tiny_study().outcome_fingerprint()
    assert tiny_study(data=data).outcome_fingerprint() == plain
    assert tiny_study(data=DataSpec(train=train, eval=held_out, eval_draws=1)).outcome_fingerprint() == plain
    several = [tiny_study(data=DataSpec(train=train, eval=held_out, eval_draws=count)) for count in (2, 3)]
    assert len({plain, *(study.outcome_fingerprint() for study in several)}) == 3
    named = DataSpec(train=train, eval=held_out, eval_draws=2, version="1")
    alone = DataSpec(train=train, eval=held_out, version="1")
    assert tiny_study(data=named).outcome_fingerprint() != tiny_study(data=alone).outcome_fingerprint()


def test_a_training_measures_by_as_many_draws_as_its_study_says(tmp_path):
    results, noise = {}, {}
    for count in (1, 3):
        study = tiny_study(data=DataSpec(train=train, eval=Doubtful(), eval_draws=count))
        assert study.prepared_data.eval_draws == count
        for width in (4, 8):
            READINGS.clear()  # of opening the data, and of others
            found = run_experiment(study, experiment(600, width=width), output_dir=tmp_path / f"{count} {width}")
            results[count, width], noise[count, width] = found, tuple(READINGS)
    assert {result.status for result in results.values()} == {"completed"}
    assert results[1, 4].weights_sha256 == results[3, 4].weights_sha256
    assert results[1, 4].loss != results[3, 4].loss
    assert noise[3, 4] == noise[3, 8]
    assert len(set(noise[3, 4])) == 3
    assert noise[1, 4] == noise[1, 8] == noise[3, 4][:1]


READINGS = []


class Doubtful(Dataset):
    """The held-out examples with noise on their inputs, other at each reading."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        inputs, target = held_out()[index]
        noise = torch.randn(())
        if index == 0:
            READINGS.append(float(noise))
        return inputs + noise, target


@pytest.mark.parametrize("bad", [0, -1, 1.5, "4", True])
def test_what_is_no_number_of_draws_is_refused(bad):
    with pytest.raises(StudyError, match=r"data.eval_draws = .* must be a whole number of at least 1"):
        DataSpec(train=train, eval=held_out, eval_draws=bad)


def test_a_share_to_hold_out_beside_held_out_data_is_refused():
    with pytest.raises(StudyError, match=r"data.eval_fraction = 0.1 .* leave one of them out"):
        DataSpec(train=train, eval=held_out, eval_fraction=0.1)
    assert DataSpec(train=train).held_out_share == 0.02
    assert DataSpec(train=train, eval_fraction=0.1).held_out_share == 0.1


def test_find_optimal_hands_arguments_to_the_data():
    options = {"size_values": (2, 4, 8), "flops": "6nd", "param_count": "total", "train": False}
    made = {}

    def few(count):
        made["count"] = count
        return TensorDataset(torch.randn(count, 6), torch.randint(0, 4, (count,)))

    loss = torch.nn.functional.cross_entropy
    plan = find_optimal(TinyMLP, "width", None, few, loss, [1e6], data_kwargs={"count": 50_000}, **options)
    assert made == {"count": 50_000}
    assert plan.num_experiments
    with pytest.raises(StudyError, match="data_kwargs given without dataset"):
        find_optimal(TinyMLP, "width", None, None, loss, [1e6], data_kwargs={"count": 5000}, train=False)


def test_draws_of_what_draws_nothing_are_doubted_before_anything_is_trained():
    def trial(**data):
        study = tiny_study(data=DataSpec(train=train, **data))
        return try_experiment(study, experiment(), torch.device("cpu"))

    (doubt,) = trial(eval=held_out, eval_draws=4).doubts
    assert doubt.startswith("eval_draws = 4 measures every held-out example 4 times, and neither the model")
    assert trial(eval=held_out).doubts == ()
    assert trial(eval=Doubtful(), eval_draws=4).doubts == ()
