"""Token files: the examples that are in them, every format, identity by content, and what is refused."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.datasets import TokenFile
from flops_fit.datasets.content import content_of
from flops_fit.errors import DataError, FlopsFitWarning


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))


def write(path, ids, dtype="uint16"):
    np.asarray(ids, dtype).tofile(path)
    return path


def megatron(path, documents, code=8, dtype="uint16"):
    """As Megatron-LM's IndexedDatasetBuilder writes them: version, type, counts, lengths, pointers, documents."""
    write(path, np.concatenate(documents), dtype)
    lengths = np.array([len(document) for document in documents], np.int32)
    pointers = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)]) * np.dtype(dtype).itemsize
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1)
    body = lengths.tobytes() + pointers.astype(np.int64).tobytes() + np.arange(len(lengths) + 1).tobytes()
    path.with_suffix(".idx").write_bytes(head + body)
    return path


def llm_c(path, ids, magic=20240520, dtype="uint16"):
    header = np.zeros(256, np.int32)
    header[:3] = magic, 1, len(ids)
    path.write_bytes(header.tobytes() + np.asarray(ids, dtype).tobytes())
    return path


def test_an_example_is_a_context_and_the_tokens_one_later_and_none_overlap(tmp_path):
    dataset = TokenFile(write(tmp_path / "train.bin", range(100, 111)), context=3)
    assert len(dataset) == 3  # of 11 tokens the last but one is left over
    inputs, targets = zip(*[dataset[index] for index in range(3)], strict=True)
    assert torch.stack(inputs).tolist() == [[100, 101, 102], [103, 104, 105], [106, 107, 108]]
    assert torch.stack(targets).tolist() == [[101, 102, 103], [104, 105, 106], [107, 108, 109]]
    assert {part.dtype for part in inputs + targets} == {torch.int64}
    assert dataset[-1][0].tolist() == [106, 107, 108]
    with pytest.raises(IndexError, match="example 3 of 3"):
        dataset[3]


def test_shards_follow_one_another_and_no_example_reaches_across(tmp_path):
    write(tmp_path / "b.bin", range(50, 55))
    write(tmp_path / "a.bin", range(7))
    dataset = TokenFile(tmp_path / "*.bin", context=2)
    assert [example[1].tolist() for example in dataset] == [[1, 2], [3, 4], [5, 6], [51, 52], [53, 54]]
    turned = TokenFile([tmp_path / "b.bin", tmp_path / "a.bin"], context=2)
    assert turned[0][0].tolist() == [50, 51]
    assert turned.fingerprint != dataset.fingerprint


def test_batches_are_those_of_the_examples_one_by_one_and_can_be_viewed_flat(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 50257, 4000)
    write(tmp_path / "0.bin", numbers[:1500])
    write(tmp_path / "1.bin", numbers[1500:])
    dataset = TokenFile(tmp_path / "?.bin", context=16, separator=int(numbers[20]))
    at_once = open_examples(dataset).reader(seed=5).read(100)
    one_by_one = open_examples(DataLoader(dataset, collate_fn=lambda items: items)).reader(seed=5).read(100)
    assert at_once[0].tolist() == [inputs.tolist() for inputs, _ in one_by_one]
    assert at_once[1].tolist() == [targets.tolist() for _, targets in one_by_one]
    assert all(part.view(-1).shape == (1600,) for part in at_once)


@pytest.mark.parametrize("form", ["pairs", "labels"])
def test_nothing_is_predicted_over_the_end_of_a_document(tmp_path, form):
    path = write(tmp_path / "train.bin", [1, 2, 9, 3, 4, 5, 9, 6, 7])  # 9 ends a document
    first, second = TokenFile(path, context=4, separator=9, form=form)
    if form == "pairs":
        assert first[1].tolist() == [2, 9, -100, 4]  # the end itself is predicted, what follows it is not
        assert second[1].tolist() == [5, 9, -100, 7]
        return
    assert first["input_ids"].tolist() == [1, 2, 9, 3]
    assert first["labels"].tolist() == [1, 2, 9, -100]  # the model predicts each label from those before it
    assert second["labels"].tolist() == [4, 5, 9, -100]


def test_what_is_not_predicted_is_no_token(tmp_path):
    path = write(tmp_path / "train.bin", [1, 2, 3, 9] * 25 + [1])
    assert prepare_data(TokenFile(path, context=4)).tokens_per_example == 4
    data = prepare_data(TokenFile(path, context=4, separator=9))
    assert data.tokens_per_example == 3
    assert data.num_tokens == 24 * 3  # one example of 25 is held out


@pytest.mark.parametrize(
    "made",
    [
        lambda path, ids: write(path / "raw.bin", ids),
        lambda path, ids: llm_c(path / "fineweb_train_000001.bin", ids),
        lambda path, ids: megatron(path / "text_document.bin", np.array_split(ids, 7)),
        lambda path, ids: np.save(path / "ids.npy", ids.astype(np.uint16)) or path / "ids.npy",
    ],
    ids=["nanoGPT", "llm.c", "Megatron-LM", "npy"],
)
def test_the_same_tokens_are_the_same_data_in_every_format(tmp_path, made):
    ids = np.random.default_rng(1).integers(0, 50257, 1001)
    dataset = TokenFile(made(tmp_path, ids), context=100)
    assert len(dataset) == 10
    assert torch.cat([inputs for inputs, _ in dataset]).tolist() == ids[:1000].tolist()
    assert dataset.fingerprint == TokenFile(write(tmp_path / "other.bin", ids), context=100).fingerprint
    assert dataset.greatest_token == ids.max()


@pytest.mark.parametrize("vocabulary", [200, 65_000, 100_277, 200_019])
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_the_type_of_numbers_is_told_by_them(tmp_path, dtype, vocabulary):
    ids = np.random.default_rng(2).integers(0, min(vocabulary, np.iinfo(dtype).max), 4096)
    path = write(tmp_path / "train.bin", ids, dtype)
    assert TokenFile(path, context=8).greatest_token == ids.max()
    other = {"uint16": "uint32", "uint32": "uint16"}[dtype]
    with pytest.raises(DataError, match=rf'looks like {dtype} read as {other}; set dtype = "{dtype}"'):
        TokenFile(path, context=8, dtype=other)


@pytest.mark.parametrize("vocabulary", [200, 65_000, 200_019])
def test_ids_as_numpy_makes_them_of_a_list_are_not_every_second_one_a_zero(tmp_path, vocabulary):
    ids = np.random.default_rng(2).integers(0, vocabulary, 4097)
    path = write(tmp_path / "train.bin", ids, "int64")
    assert torch.cat([inputs for inputs, _ in TokenFile(path, context=8)]).tolist() == ids[:4096].tolist()
    with pytest.raises(DataError, match=r'looks like int64 read as uint32; set dtype = "int64"'):
        TokenFile(path, context=8, dtype="uint32")
    with pytest.raises(DataError, match=r'looks like uint32 read as int64; set dtype = "uint32"'):
        TokenFile(write(tmp_path / "narrow.bin", ids + 300, "uint32"), context=8, dtype="int64")


def test_types_that_a_file_states_are_not_to_be_told_otherwise(tmp_path):
    wide = megatron(tmp_path / "wide.bin", [np.array([70_000, 1, 2])] * 9, code=4, dtype="int32")
    assert TokenFile(wide, context=2)[0][0].tolist() == [70_000, 1]
    with pytest.raises(DataError, match="says that it holds int32, not uint16; leave dtype out"):
        TokenFile(wide, context=2, dtype="uint16")
    assert TokenFile(llm_c(tmp_path / "llama.bin", [128_000, 5, 6], 20240801, "uint32"), context=2)[0][0][0] == 128_000


def test_identity_is_content_context_and_boundaries_and_not_where_the_file_is(tmp_path):
    ids = np.arange(1000)
    first = TokenFile(write(tmp_path / "first.bin", ids), context=10)
    (tmp_path / "elsewhere").mkdir()
    again = TokenFile(write(tmp_path / "elsewhere" / "again.bin", ids), context=10)
    base = prepare_data(first).fingerprint
    assert prepare_data(again).fingerprint == base
    ids[617] += 1  # between the 64 examples that other datasets are known by
    changed = TokenFile(write(tmp_path / "changed.bin", ids), context=10)
    others = [
        changed,
        TokenFile(tmp_path / "first.bin", context=20),
        TokenFile(tmp_path / "first.bin", context=10, separator=5),
        TokenFile(tmp_path / "first.bin", context=10, form="labels"),
    ]
    found = {prepare_data(other).fingerprint for other in others}
    assert len(found) == 4
    assert base not in found


def test_ids_stay_what_they_are_while_the_same_tokens_give_the_same_examples(tmp_path):
    """SHA-256 of the bytes, by hashlib; an edit of the reader's source is no other data."""
    import hashlib

    path = write(tmp_path / "train.bin", range(100))
    digest = hashlib.sha256(np.arange(100, dtype="<u2").tobytes()).hexdigest()
    dataset = TokenFile(path, context=10)
    assert dataset.fingerprint == f"tokens context=10 separator=None form=pairs; uint16 100 {digest}"
    assert prepare_data(dataset, TokenFile(path, context=10)).fingerprint == "105d9ac9c7f3d762"


def test_a_file_is_read_whole_once_and_again_when_it_was_written(tmp_path, monkeypatch):
    import os

    from flops_fit.datasets import content

    read = []
    monkeypatch.setattr(content, "_read", lambda *given, real=content._read: read.append(given[0]) or real(*given))
    path = write(tmp_path / "train.bin", range(100))
    monkeypatch.setattr(content, "_SETTLED_SECONDS", -1.0)
    first = content_of(path, np.dtype("uint16"))
    assert content_of(path, np.dtype("uint16")) == first
    assert len(read) == 1
    monkeypatch.setattr(content, "_known", {})  # another process finds it in the cache folder
    assert content_of(path, np.dtype("uint16")) == first
    assert len(read) == 1
    write(path, [7] * 100)  # of the same size
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    assert content_of(path, np.dtype("uint16")).most == 7
    assert len(read) == 2


def test_what_was_written_a_moment_ago_is_not_remembered(tmp_path, monkeypatch):
    from flops_fit.datasets import content

    monkeypatch.setattr(content, "_SETTLED_SECONDS", 3600.0)  # a moment, on a machine that is busy
    path = write(tmp_path / "train.bin", range(100))
    content_of(path)
    assert not (tmp_path / "cache").exists()


def test_a_file_that_changes_while_it_is_in_use_is_refused(tmp_path):
    path = write(tmp_path / "train.bin", range(100))
    dataset = pickle.loads(pickle.dumps(TokenFile(path, context=10)))
    write(path, range(200))
    with pytest.raises(DataError, match=r"train\.bin was written since it was opened"):
        dataset[0]


def test_it_travels_without_its_tokens_and_reads_the_same_in_loader_processes(tmp_path):
    dataset = TokenFile(write(tmp_path / "train.bin", np.arange(50_000) % 50_000), context=100)
    _ = dataset[0]
    assert len(pickle.dumps(dataset)) < 3000
    copied = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copied[123][0], dataset[123][0])
    loaded = torch.cat([inputs for inputs, _ in DataLoader(dataset, batch_size=64, num_workers=1)])
    assert loaded.reshape(-1).tolist() == list(range(49_900))


def torn_npy(folder):
    path = folder / "ids.npy"
    np.save(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:300])
    return path


def torn_megatron(folder):
    path = megatron(folder / "text.bin", [np.arange(50), np.arange(50)])
    path.write_bytes(path.read_bytes()[:-10])
    return path


def saved(folder, array):
    np.save(folder / "ids.npy", array)
    return folder / "ids.npy"


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (lambda d: d / "trian.bin", {}, r"trian\.bin does not exist; did you mean 'train\.bin'"),
        (lambda d: d / "nowhere" / "train.bin", {}, "does not exist; nor does the folder .*nowhere"),
        (lambda d: d / "*.tok", {}, r"\*\.tok does not exist; .* holds train\.bin"),
        (lambda d: d, {}, r'is a folder; give a file of tokens, or a glob such as ".*/\*\.bin"'),
        (lambda d: write(d / "x.bin", []), {}, "is empty"),
        (lambda d: write(d / "x.bin", range(101), "uint8"), {}, "has 101 bytes, no multiple of 2"),
        (lambda d: d / "train.bin", {"context": 100}, "needs 101 tokens, and .* has 100; set context to at most 99"),
        (lambda d: d / "train.bin", {"context": 0}, "context = 0 must be a whole number"),
        (lambda d: d / "train.bin", {"dtype": "int8"}, "dtype = 'int8' must be one of auto, uint8"),
        (lambda d: d / "train.bin", {"separator": -1}, "separator = -1 must be the id of a token"),
        (lambda d: d / "train.bin", {"form": "pair"}, "form = 'pair' must be one of pairs, labels"),
        (lambda d: d / "train.bin", {"vocab_size": 99}, "token 99, and vocab_size = 99 has 0 to 98; raise it"),
        (lambda d: saved(d, np.array([1, -5, 2])), {"context": 1, "vocab_size": 99}, "the token -5, and vocab_size"),
        (lambda d: saved(d, np.ones((3, 40), np.int64)), {}, r"has shape \(3, 40\); save token ids in one row"),
        (lambda d: saved(d, np.ones(40)), {}, "holds float64; save token ids as one of uint8"),
        (torn_npy, {}, "is torn or not an array"),
        (torn_megatron, {}, "should hold 100 tokens of uint16, so 200 bytes, and has 190; it is torn"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_value_limit_and_remedy(tmp_path, made, options, message):
    write(tmp_path / "train.bin", range(100))
    with pytest.raises(DataError, match=message):
        TokenFile(made(tmp_path), **{"context": 8} | options)


def test_files_too_short_for_an_example_are_named(tmp_path):
    write(tmp_path / "0.bin", range(100))
    write(tmp_path / "1.bin", range(5))
    with pytest.warns(FlopsFitWarning, match=r"1 of 2 files are shorter than context \+ 1 = 9 tokens .* 1\.bin"):
        assert len(TokenFile(tmp_path / "*.bin", context=8)) == 12


# -- documents by Megatron's index, and files of single bytes -------------------------------------------------------


def test_documents_begin_where_the_index_says_whatever_ends_them(tmp_path):
    path = megatron(tmp_path / "a.bin", [np.array(document) for document in ([1, 2, 3], [4, 5], [6, 7, 8, 9])])
    plain, apart = TokenFile(path, context=4), TokenFile(path, context=4, separator="index")
    assert [example[1].tolist() for example in plain] == [[2, 3, 4, 5], [6, 7, 8, 9]]
    assert [example[1].tolist() for example in apart] == [[2, 3, -100, 5], [-100, 7, 8, 9]]
    assert [example[0].tolist() for example in apart] == [example[0].tolist() for example in plain]
    labels = TokenFile(path, context=4, separator="index", form="labels")
    assert labels[0]["labels"].tolist() == [1, 2, 3, -100]
    assert labels[1]["labels"].tolist() == [5, -100, 7, 8]
    assert open_examples(apart).fetch(torch.tensor([1, 0]))[1].tolist() == [[-100, 7, 8, 9], [2, 3, -100, 5]]


def test_other_boundaries_are_other_data_and_without_them_ids_stay(tmp_path):
    first = megatron(tmp_path / "a.bin", [np.arange(3), np.arange(7)])
    second = megatron(tmp_path / "b.bin", [np.array([0, 1, 2, 0]), np.arange(1, 7)])
    assert TokenFile(first, context=2).fingerprint == TokenFile(second, context=2).fingerprint
    apart = [TokenFile(path, context=2, separator="index").fingerprint for path in (first, second)]
    assert len({TokenFile(first, context=2).fingerprint, *apart}) == 3


def test_several_sequences_may_be_one_document(tmp_path):
    """As Megatron's sentence-split data: documents are ranges of sequences."""
    path = megatron(tmp_path / "a.bin", [np.arange(10, 13), np.arange(13, 15), np.arange(15, 19)])
    index = path.with_suffix(".idx")
    head = index.read_bytes()[: 9 + 8 + 1]
    body = struct.pack("<QQ", 3, 3) + np.array([3, 2, 4], "<i4").tobytes() + np.array([0, 6, 10], "<i8").tobytes()
    index.write_bytes(head + body + np.array([0, 2, 3], "<i8").tobytes())  # the first two sequences are one document
    assert [row[1].tolist() for row in TokenFile(path, context=4, separator="index")] == [
        [11, 12, 13, 14],
        [-100, 16, 17, 18],
    ]


def test_an_index_that_does_not_fit_is_refused(tmp_path):
    path = megatron(tmp_path / "a.bin", [np.arange(3), np.arange(7)])
    whole = path.with_suffix(".idx").read_bytes()
    at = 34 + 4 * 2  # the pointers
    path.with_suffix(".idx").write_bytes(whole[: at + 8] + struct.pack("<q", 2) + whole[at + 16 :])
    with pytest.raises(DataError, match="has sequences that do not follow one another"):
        TokenFile(path, context=2)
    path.with_suffix(".idx").write_bytes(whole[:-8] + struct.pack("<q", 9))
    with pytest.raises(DataError, match="names a sequence that it does not have"):
        TokenFile(path, context=2)
    many = whole[: 9 + 8 + 1] + struct.pack("<QQ", 2**60, 3) + whole[34:]
    for torn in (whole[:-8], whole[:-3], whole[: at + 3], whole[:35], many):
        path.with_suffix(".idx").write_bytes(torn)
        with pytest.raises(DataError, match="is torn or of another kind"):
            TokenFile(path, context=2)
    with pytest.raises(DataError, match=r'separator = "index" and no .*b\.idx that says where documents begin'):
        TokenFile(write(tmp_path / "b.bin", range(9)), context=2, separator="index")


def test_single_bytes_are_never_read_as_numbers_of_sixteen_bits_in_silence(tmp_path):
    text = "".join(f"The quick brown fox number {number} jumps over the lazy dog.\n" for number in range(200))
    path = tmp_path / "bytes.bin"
    path.write_bytes(text.encode()[:10_000])
    with pytest.raises(DataError, match=r'looks like single bytes, .*set dtype = "uint8"'):
        TokenFile(path, context=8)
    assert TokenFile(path, context=8, dtype="uint8")[0][0].tolist() == list(b"The quic")
    assert TokenFile(path, context=8, dtype="uint16")[0][0].tolist()[0] == ord("T") + 256 * ord("h")
    with pytest.raises(DataError, match=r"looks like uint8 read as uint32"):
        TokenFile(path, context=8, dtype="uint32")


@pytest.mark.parametrize("length", [600, 2000, 100_000])
def test_short_files_of_single_bytes_are_told_too(tmp_path, length):
    text = Path(pytest.__file__).read_bytes() * 100
    (tmp_path / "bytes.bin").write_bytes(text[:length])
    with pytest.raises(DataError, match="looks like single bytes"):
        TokenFile(tmp_path / "bytes.bin", context=8)
    symbols = {byte: number for number, byte in enumerate(sorted(set(text)))}  # as nanoGPT's characters
    write(tmp_path / "characters.bin", [symbols[byte] for byte in text[:length]], "uint8")
    with pytest.raises(DataError, match="looks like single bytes"):
        TokenFile(tmp_path / "characters.bin", context=8)
    wide = write(tmp_path / "wide.bin", [symbols[byte] for byte in text[:length]])
    assert TokenFile(wide, context=8).greatest_token < len(symbols)


@pytest.mark.parametrize("vocabulary", [300, 5000, 50_257, 65_000])
@pytest.mark.parametrize("count", [200, 3000, 60_000])
def test_ids_of_sixteen_bits_are_not_taken_for_single_bytes(tmp_path, vocabulary, count):
    ranks = np.random.default_rng(vocabulary + count).zipf(1.2, 20 * count)  # as words are
    ids = (ranks[ranks <= vocabulary] - 1)[:count]
    assert TokenFile(write(tmp_path / "a.bin", ids), context=8).greatest_token == ids.max()
    padded = np.concatenate([ids, np.zeros(5 * count, int)])
    assert TokenFile(write(tmp_path / "padded.bin", padded), context=8).greatest_token == ids.max()
