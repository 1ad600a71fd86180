"""Shards of samples as WebDataset packs them: what is in them, order, resuming, identity, and what is refused."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
import torch

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions, run_experiment
from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.datasets import TarShards, tokenize
from flops_fit.datasets.paths import open_path
from flops_fit.errors import DataError, FlopsFitWarning, StudyError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))


def npy(array):
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def png(array):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(np.asarray(array, np.uint8)).save(file, "png")
    return file.getvalue()


def pack(path, members, mode="w", time=0):
    with tarfile.open(path, mode) as shard:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), time
            shard.addfile(info, io.BytesIO(content))
    return path


def rows(first, count):
    """Samples of 6 numbers and whether their sum is above 0."""
    members = []
    for number in range(first, first + count):
        row = np.random.default_rng(number).normal(size=6).astype(np.float32)
        members += [(f"{number:06d}.npy", npy(row)), (f"{number:06d}.cls", str(int(row.sum() > 0)).encode())]
    return members


def test_an_example_is_a_sample_and_shards_follow_one_another(tmp_path):
    pack(tmp_path / "b.tar", rows(7, 3))
    pack(tmp_path / "a.tar", rows(0, 7))
    dataset = TarShards(tmp_path / "*.tar", inputs="npy", targets="cls")
    assert len(dataset) == 10
    for number, (inputs, target) in enumerate(dataset):
        row = np.random.default_rng(number).normal(size=6).astype(np.float32)
        assert inputs.tolist() == row.tolist()
        assert (target.item(), target.dtype) == (int(row.sum() > 0), torch.int64)
    assert dataset[-1][0].tolist() == dataset[9][0].tolist()
    with pytest.raises(IndexError, match="example 10 of 10"):
        dataset[10]
    assert pickle.loads(pickle.dumps(dataset))[8][0].tolist() == dataset[8][0].tolist()


def test_keys_end_at_the_first_dot_of_the_name_and_what_is_no_sample_is_passed_over(tmp_path):
    members = [("README", b"about"), ("v1.0/a.seg.npy", npy([1, 2])), ("v1.0/a.cls", b"3"), ("v1.0/.hidden", b"")]
    members += [("v1.0/b.SEG.NPY", npy([4, 5])), ("v1.0/b.cls", b"6\n")]
    dataset = TarShards(pack(tmp_path / "a.tar", members), inputs="seg.npy", targets="cls")
    assert [(inputs.tolist(), int(target)) for inputs, target in dataset] == [([1, 2], 3), ([4, 5], 6)]


def test_images_are_their_pixels(tmp_path):
    colours = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    members = [("a.png", png(colours)), ("a.cls", b"1")]
    members += [("b.png", png(np.full((2, 3), 7))), ("b.json", b"[0.5, 1.5]")]
    path = pack(tmp_path / "a.tar", members[:2])
    inputs, _ = TarShards(path, inputs="png", targets="cls")[0]
    assert inputs.dtype == torch.uint8
    assert inputs.tolist() == colours.transpose(2, 0, 1).tolist()
    grey, numbers = TarShards(pack(tmp_path / "b.tar", members[2:]), inputs="png", targets="json")[0]
    assert grey.tolist() == [[[7] * 3] * 2]
    assert numbers.tolist() == [0.5, 1.5]


def test_one_ending_is_enough_where_samples_have_but_one_other(tmp_path):
    path = pack(tmp_path / "a.tar", rows(0, 2))
    assert TarShards(path, targets="cls")[1][0].tolist() == TarShards(path, inputs=".npy")[1][0].tolist()


def test_batches_resume_anywhere_and_are_the_same_in_every_process(tmp_path):
    examples = open_examples(TarShards(pack(tmp_path / "a.tar", rows(0, 50)), targets="cls"))
    whole = examples.reader(seed=3).read(120)
    parts = [examples.reader(seed=3, start=start).read(40) for start in (0, 40, 80)]
    for number in range(2):
        assert torch.equal(whole[number], torch.cat([part[number] for part in parts]))


def test_identity_is_every_byte_of_the_shards_and_which_members_are_read(tmp_path):
    path = pack(tmp_path / "a.tar", rows(0, 20))
    known = TarShards(path, targets="cls").fingerprint
    (tmp_path / "elsewhere").mkdir()
    assert TarShards(pack(tmp_path / "elsewhere" / "b.tar", rows(0, 20)), targets="cls").fingerprint == known
    changed = rows(0, 20)
    changed[31] = (changed[31][0], b"%d" % (1 - int(changed[31][1])))
    assert TarShards(pack(tmp_path / "c.tar", changed), targets="cls").fingerprint != known
    assert TarShards(path, inputs="cls", targets="npy").fingerprint != known
    data = [prepare_data(TarShards(item, targets="cls")).fingerprint for item in (path, tmp_path / "c.tar")]
    assert len(set(data)) == 2


def test_a_shard_that_is_written_while_it_is_used_is_refused(tmp_path):
    path = pack(tmp_path / "a.tar", rows(0, 5))
    dataset = TarShards(path, targets="cls")
    pack(path, rows(5, 9))
    with pytest.raises(DataError, match=r"a\.tar was written since it was opened"):
        dataset[0]


def test_text_in_samples_is_tokenized(tmp_path):
    members = [("a.txt", b"abc"), ("a.json", b'{"lang": "en"}'), ("b.txt", "dé".encode()), ("b.json", b"{}")]
    dataset = tokenize(pack(tmp_path / "a.tar", members), context=2, tokenizer="bytes")
    assert torch.cat([inputs for inputs, _ in dataset]).tolist() == list("abc\0dé".encode())[:6]
    fields = [(f"{number}.json", json.dumps({"body": text}).encode()) for number, text in enumerate(("abc", "de"))]
    other = open_path(pack(tmp_path / "b.tar", fields), context=2, tokenizer="bytes", column="body")
    assert torch.cat([inputs for inputs, _ in other]).tolist() == list(b"abc\0")
    ids = [("a.npy", npy([5, 6, 7])), ("b.npy", npy([8, 9, 10]))]
    packed = open_path(pack(tmp_path / "c.tar", ids), context=2, tokenizer="ids")
    assert torch.cat([inputs for inputs, _ in packed]).tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_text_in_samples_that_is_no_utf_8_is_refused_with_what_to_do(tmp_path, ending):
    path = pack(tmp_path / "a.tar", [(f"a.{ending}", '{"text": "dé"}'.encode("latin1"))])
    with pytest.raises(DataError, match=r"a\.tar is not UTF-8 text .*iconv"):
        tokenize(path, context=2, tokenizer="bytes")


class Student(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Tanh(), torch.nn.Linear(width, 2))

    def forward(self, inputs):
        return self.layers(inputs)


def test_a_study_names_its_shards_by_path_and_trains_on_them(tmp_path):
    from tiny_study import experiment

    for number in range(4):
        pack(tmp_path / f"train_{number}.tar", rows(250 * number, 250))
    pack(tmp_path / "held_out.tar", rows(1000, 200))
    study = Study(
        name="shards",
        model=ModelSpec(factory=Student, size_param="width", max_size=64),
        data=DataSpec(
            train=str(tmp_path / "train_*.tar"),
            eval=str(tmp_path / "held_out.tar"),
            kwargs={"inputs": "npy", "targets": "cls"},
        ),
        loss=LossSpec(fn=torch.nn.functional.cross_entropy),
        sweep=SweepOptions(compute_budgets=(2e6,), max_epochs=4),
        training=Recipe(learning_rate=0.05, batch_tokens=32, weight_decay=0.0),
        hardware=Hardware(device="cpu", workers=1),
    )
    assert study.prepared_data.num_tokens == 1000
    assert [file.name for file in study.data.files] == [*(f"train_{number}.tar" for number in range(4)), "held_out.tar"]
    result = run_experiment(study, experiment(3000), output_dir=tmp_path)
    assert result.status == "completed"
    assert result.loss < 0.2  # from log(2) down: the sum's sign is nearly linear


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        (rows(0, 2), {}, r"has samples of \.npy, \.cls; say which are inputs.*kwargs = \{ inputs = "),
        (rows(0, 2), {"inputs": "jpg"}, r"inputs = 'jpg' is no ending of the first sample of .*npy, cls"),
        ([("a.txt", b"x"), ("a.cls", b"1")], {"inputs": "txt", "targets": "cls"}, "of text give tokenizer and context"),
        ([("a.pth", b"x"), ("a.cls", b"1")], {"inputs": "pth"}, "'pth' cannot be made a tensor.*Dataset of your own"),
        (rows(0, 2)[:3], {"targets": "cls", "inputs": "npy"}, r"sample 000001 has \.npy and no \.cls; add it"),
        ([("a.npy", npy([1]))] * 2, {"inputs": "npy"}, "a.npy twice in one sample"),
        ([], {"inputs": "npy"}, "inputs = 'npy' is no ending"),
        (
            [*rows(0, 1), ("z.npy", b"torn"), ("z.cls", b"1")],
            {"targets": "cls"},
            r"sample 1, the \.npy in .* cannot be",
        ),
        (
            [*rows(0, 1), ("z.npy", npy([1])), ("z.cls", b"dog")],
            {"targets": "cls"},
            r"the \.cls in .* cannot be read as",
        ),
        (
            [("a.npy", npy(np.array([{}], dtype=object))), ("a.cls", b"1")],
            {"targets": "cls"},
            "cannot be read as npy .*allow_pickle",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_value_limit_and_remedy(tmp_path, members, options, message):
    with pytest.raises(DataError, match=message):
        list(TarShards(pack(tmp_path / "a.tar", members), **options))


def test_shards_that_are_packed_torn_or_beside_others_are_refused(tmp_path):
    pack(tmp_path / "packed.tar", rows(0, 3), mode="w:gz")
    with pytest.raises(DataError, match="it is packed: gunzip it"):
        TarShards(tmp_path / "packed.tar", targets="cls")
    whole = pack(tmp_path / "whole.tar", rows(0, 3)).read_bytes()
    (tmp_path / "torn.tar").write_bytes(whole[:2600])
    with pytest.raises(DataError, match=r"torn\.tar cannot be read as a tar \(.*write it again"):
        TarShards(tmp_path / "torn.tar", targets="cls")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds samples and .* does not; give files of one kind"):
        open_path([tmp_path / "whole.tar", tmp_path / "a.txt"], targets="cls")
    with pytest.raises(DataError, match="context = 8 says nothing; leave it out"):
        open_path(tmp_path / "whole.tar", context=8, targets="cls")
    with pytest.raises(DataError, match=r"data.kwargs has 'dtype', which these files do not take"):
        open_path(tmp_path / "whole.tar", targets="cls", dtype="uint16")
    with pytest.raises(StudyError, match=r"is a path; set context"):
        DataSpec(train=str(tmp_path / "*.tar"), tokenizer="bytes")


def test_one_that_was_cut_between_two_samples_is_warned_of(tmp_path):
    shard = pack(tmp_path / "a.tar", rows(0, 7))
    shard.write_bytes(shard.read_bytes()[: 3 * 4 * 512])  # a header and a block of content for each of two members
    with pytest.warns(FlopsFitWarning, match=r"a\.tar does not end as a tar does, .*it has 3 samples"):
        assert len(TarShards(shard, inputs="npy", targets="cls")) == 3
