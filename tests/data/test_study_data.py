"""Datasets: what is refused, how data is held out, and an order without repeats."""

import pytest
import torch
from streams import Stream
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from flops_fit import validate_dataset
from flops_fit.data.batches import epoch_order
from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.data.targets import count_tokens
from flops_fit.errors import DataError, FlopsFitWarning


class Squares(Dataset):
    """x → x², one example at a time."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.tensor([float(index)]), torch.tensor(float(index) ** 2)


def numbers(count):
    values = torch.arange(count)
    return TensorDataset(values, values)


def hugging_face_like(format_type):
    kind = type("Dataset", (), {"__module__": "datasets.arrow_dataset", "__len__": lambda self: 3,
                                "__getitem__": lambda self, i: i, "with_format": lambda self, f: self,
                                "format": {"type": format_type}})  # fmt: skip
    return kind()


def hugging_face_stream(format_type):
    """As `datasets.IterableDataset`: what it yields follows its format, which no public attribute tells."""

    def examples(self):
        for number in range(3):
            values = [number, number + 1]
            yield {"input_ids": torch.tensor(values) if format_type else values}

    kind = type("IterableDataset", (IterableDataset,), {"__iter__": examples, "with_format": lambda self, f: self})
    kind.__module__ = "datasets.iterable_dataset"
    return kind()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (None, "is None"),
        (42, "is a int"),
        ("path.txt", "is a str"),
        ({"train": 1}, "is a dict"),
        (Squares, r"class Squares.*Squares\(\.\.\.\)"),
        (hugging_face_like(None), r"with_format\(\"torch\"\)"),
        (hugging_face_stream(None), r"with_format\(\"torch\"\)"),
    ],
)
def test_what_is_no_dataset_is_a_type_error_with_a_remedy(dataset, message):
    with pytest.raises(TypeError, match=message):
        validate_dataset(dataset)


def test_streams_of_hugging_face_datasets_are_taken_in_torch_format_and_refused_in_another():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    stream = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3]] * 9, "labels": [[1, 2, -100]] * 9})
    stream = stream.to_iterable_dataset()
    with pytest.raises(TypeError, match="with_format"):
        validate_dataset(stream)
    data = prepare_data(stream.with_format("torch"), stream.with_format("torch"), version="stream")
    assert data.tokens_per_example == 2
    assert data.train.reader(seed=0).read(4)["input_ids"].tolist() == [[1, 2, 3]] * 4


def test_empty_datasets_are_refused():
    with pytest.raises(DataError, match="0 examples"):
        validate_dataset(Squares(0))


@pytest.mark.parametrize(
    "dataset",
    [Squares(3), Stream(3), DataLoader(Squares(3)), [(1, 2)], hugging_face_like("torch"), hugging_face_stream("torch")],
)
def test_datasets_of_every_kind_are_accepted(dataset):
    assert validate_dataset(dataset) is dataset


@pytest.mark.parametrize("dataset", [numbers(100), Squares(100), DataLoader(Squares(100), batch_size=7)])
def test_one_epoch_reads_every_example_once(dataset):
    reader = open_examples(dataset).reader(seed=1)
    seen = torch.cat([reader.read(count)[0].reshape(-1) for count in (33, 33, 34)])
    assert seen.tolist() != sorted(seen.tolist())
    assert sorted(seen.tolist()) == list(range(100))


def test_reading_on_from_a_position_gives_the_same_examples():
    examples = open_examples(numbers(50))
    whole = examples.reader(seed=3).read(120)[0]
    later = examples.reader(seed=3, start=70).read(50)[0]
    assert whole[70:].tolist() == later.tolist()
    assert sorted(whole[50:100].tolist()) == list(range(50))  # the second epoch, again each once
    assert whole[:50].tolist() != whole[50:100].tolist()


def test_order_depends_on_seed_alone():
    state = torch.get_rng_state()
    first = epoch_order(1000, 5, 0)
    assert torch.equal(first, epoch_order(1000, 5, 0))
    assert not torch.equal(first, epoch_order(1000, 6, 0))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stream_resumes_by_position_and_says_when_it_ends():
    assert open_examples(Stream(10)).reader(seed=0, start=4).read(3)[1].tolist() == [4.0, 5.0, 6.0]
    with pytest.raises(DataError, match="ended after 10 examples"):
        open_examples(Stream(10)).reader(seed=0).read(11)


def test_held_out_data_is_the_same_every_time_and_not_trained_on():
    first, second = prepare_data(numbers(1000)), prepare_data(numbers(1000))
    held_out = torch.cat([batch[0] for batch in first.held_out.in_order(8)])
    again = torch.cat([batch[0] for batch in second.held_out.in_order(512)])
    trained = first.train.reader(seed=0).read(980)[0]
    assert torch.equal(held_out, again)
    assert len(held_out) == 20
    assert set(held_out.tolist()).isdisjoint(trained.tolist())
    assert first.num_tokens == 980


def test_subsets_are_read_through_their_indices():
    subset = Subset(Subset(numbers(100), range(50, 100)), [0, 10, 20])
    assert sorted(open_examples(subset).reader(seed=0).read(3)[0].tolist()) == [50, 60, 70]


def test_tokens_per_example():
    sequences = TensorDataset(torch.zeros(4, 16, dtype=torch.int64), torch.zeros(4, 16, dtype=torch.int64))
    vectors = TensorDataset(torch.zeros(4, 3), torch.zeros(4, 2))
    assert count_tokens(open_examples(sequences)).per_example == 16
    assert count_tokens(open_examples(numbers(4))).per_example == 1
    assert count_tokens(open_examples(vectors)).per_example == 1  # a regression's example is one unit of data


def test_examples_spread_over_a_hundred_million_reach_the_last_and_no_further():
    count = 100_000_003
    whole = open_examples(TensorDataset(torch.zeros(1, dtype=torch.int64).expand(count)))
    assert len(whole.spread(64)) == 64


def test_fingerprint_follows_content():
    base = prepare_data(numbers(100)).fingerprint
    changed = torch.arange(100)
    changed[17] = -1
    assert prepare_data(numbers(100)).fingerprint == base
    assert prepare_data(TensorDataset(changed, changed)).fingerprint != base
    assert prepare_data(Squares(100)).fingerprint != prepare_data(Squares(101)).fingerprint
    assert prepare_data(numbers(100), version="v1").fingerprint == prepare_data(numbers(7), version="v1").fingerprint


def test_a_stream_needs_held_out_data_of_its_own_and_training_data_is_no_held_out_data():
    with pytest.raises(DataError, match="eval"):
        prepare_data(Stream(100))
    dataset = numbers(10)
    with pytest.warns(FlopsFitWarning, match="not held-out"):
        prepare_data(dataset, dataset)
