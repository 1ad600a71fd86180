"""A batch may be nested in whatever people use: planning, training and training in parts take all of it alike."""

import dataclasses
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Mapping

import pytest
import torch
from tiny_study import TinyMLP, experiment, held_out, tiny_study, train
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from flops_fit import DataSpec, ModelSpec, run_experiment
from flops_fit.data.nested import batch_size, slice_batch, to_device
from flops_fit.errors import DataError, ModelContractError
from flops_fit.stages import study_plan, study_size_map


class Encoding(UserDict):
    """As Hugging Face's BatchEncoding: a mapping that is no dict, with its keys as attributes."""

    def __getattr__(self, name):
        if name == "data" or name not in self.data:
            raise AttributeError(name)
        return self.data[name]


class Frozen(Mapping):
    """A mapping that cannot be written to, nor made from a dict."""

    def __init__(self, *, x):
        self._x = x

    def __getitem__(self, key):
        return {"x": self._x}[key]

    def __iter__(self):
        return iter(["x"])

    def __len__(self):
        return 1


class Output(OrderedDict):
    """As Hugging Face's ModelOutput: a dict whose keys are attributes too."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


@dataclasses.dataclass(frozen=True)
class Sample:
    x: torch.Tensor
    note: str = "as it was"


Pair = namedtuple("Pair", ["inputs", "targets"])
Inputs = namedtuple("Inputs", ["x"])

KINDS = {
    "mapping that is no dict": lambda x, y: Encoding(x=x, labels=y),
    "named pair": Pair,
    "named inputs": lambda x, y: (Inputs(x), y),
    "list": lambda x, y: [x, y],
    "ordered dict": lambda x, y: Output(x=x, labels=y),
    "frozen mapping": lambda x, y: (Frozen(x=x), y),
    "dataclass in a list in a dict": lambda x, y: {"deep": [(Sample(x), 3)], "labels": y},
}


class Model(TinyMLP):
    """Takes its inputs out of whatever they came in; has room for `room` examples at a time in training."""

    def __init__(self, width, room=10**9):
        super().__init__(width)
        self.room, self.fed = room, set()

    def forward(self, x=None, labels=None, deep=None):
        if deep is not None:
            ((sample, three),) = deep
            assert (type(sample), sample.note, three) == (Sample, "as it was", 3)
            x = sample.x
        if self.training and len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        return super().forward(x)


class Nested(Dataset):
    """The tiny study's examples; the container is made by the collate function."""

    def __init__(self, source):
        self.inputs, self.targets = source.tensors

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.inputs[index], self.targets[index]


def study_of(kind, room=10**9):
    def collate(examples):
        return KINDS[kind](*default_collate(examples))

    loaders = [DataLoader(Nested(source), collate_fn=collate) for source in (train(), held_out())]
    return tiny_study(
        model=ModelSpec(
            factory=Model, size_param="width", kwargs={"room": room}, size_values=(4, 8, 16, 32, 64), flops="measured"
        ),
        data=DataSpec(train=loaders[0], eval=loaders[1], tokens_per_example=1, version="nested"),
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same training of plain pairs."""
    return run_experiment(tiny_study(), experiment(1000), output_dir=tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_nesting_is_planned_and_trained_like_a_plain_pair(kind, plain, tmp_path):
    study = study_of(kind)
    plan = study_plan(study, study_size_map(study))
    narrow = plan.experiments[0]
    assert narrow.flops_per_token == 2 * (2 * 6 + 3 * 4) * narrow.size_param_value  # no gradient for the inputs
    result = run_experiment(study, experiment(1000), output_dir=tmp_path)
    assert result.status == "completed", result.reason
    assert (result.loss, result.weights_sha256) == (plain.loss, plain.weights_sha256)


@pytest.mark.parametrize("kind", KINDS)
def test_every_nesting_is_cut_where_a_batch_does_not_fit(kind, plain, tmp_path):
    result = run_experiment(study_of(kind, room=3), experiment(1000), output_dir=tmp_path)
    assert result.status == "completed", result.reason
    assert plain.batch_examples > 6
    assert result.loss == pytest.approx(plain.loss, abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_containers_keep_their_types_and_leave_the_original_alone(kind):
    batch = KINDS[kind](torch.arange(8.0).reshape(4, 2), torch.arange(4))
    part = slice_batch(to_device(batch, torch.device("cpu")), 1, 3)
    assert (batch_size(batch), batch_size(part)) == (4, 2)
    assert type(part) is type(batch)
    if kind in ("mapping that is no dict", "ordered dict"):
        assert part.x.tolist() == part["x"].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    if kind == "named pair":
        assert part.targets.tolist() == [1, 2]


def test_a_tensor_without_dimensions_is_shared_by_the_parts():
    batch = {"scale": torch.tensor(2.0), "x": torch.zeros(4, 1)}
    assert batch_size(batch) == 4
    assert slice_batch(batch, 0, 2)["scale"].item() == 2.0


def test_what_cannot_be_cut_is_refused_rather_than_guessed():
    with pytest.raises(DataError, match=r"batch of 4 examples holds a tensor of shape \(1, 7\)"):
        slice_batch({"x": torch.zeros(4, 1), "positions": torch.zeros(1, 7)}, 0, 2)


@pytest.mark.parametrize("batch", ["text", ["a", "b"], {}, {"x": torch.zeros(0, 3)}, None])
def test_a_batch_without_examples_is_an_error_with_a_remedy(batch):
    with pytest.raises(ModelContractError, match="give what the data loader yields"):
        batch_size(batch)


def test_a_collate_function_is_called_whatever_the_dataset_is():
    rows = TensorDataset(torch.arange(12.0).view(6, 2), torch.arange(6))
    loader = DataLoader(rows, collate_fn=lambda items: (torch.stack([item[0] for item in items]), torch.zeros(9)))
    study = tiny_study(data=DataSpec(train=loader, eval=held_out))
    assert study.prepared_data.train.reader(0).read(4)[1].shape == (9,)
