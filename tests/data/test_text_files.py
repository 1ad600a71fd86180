"""Text with a tokenizer: what is written once into a token file, by which tokenizers, from which files."""

import gzip
import json

import numpy as np
import pytest
import torch

from flops_fit.data.study_data import open_examples, prepare_data
from flops_fit.datasets import PackedStream, TokenFile, open_path, tokenize, tokenizer_of
from flops_fit.errors import DataError, FlopsFitWarning


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ids_of(dataset):
    """All tokens of a dataset with a context of 1, the last target included."""
    return [int(inputs) for inputs, _ in dataset] + [int(dataset.examples_at(torch.tensor([len(dataset) - 1]))[1])]


def test_a_text_is_its_bytes_from_end_to_end(tmp_path):
    text = "Ein Maß\r\nfür alles.\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    dataset = tokenize(tmp_path / "a.txt", context=1, tokenizer="bytes")
    assert ids_of(dataset) == list(text.encode())
    assert dataset.vocab_size == 256


def test_documents_stand_one_after_the_other_with_an_end_that_is_predicted_and_not_predicted_over(tmp_path):
    (tmp_path / "b.txt").write_text("cd")
    (tmp_path / "a.txt").write_text("ab")
    (example,) = tokenize(tmp_path / "*.txt", context=4, tokenizer="bytes")
    assert example[0].tolist() == [97, 98, 0, 99]
    assert example[1].tolist() == [98, 0, -100, 100]
    (across,) = tokenize(tmp_path / "*.txt", context=4, tokenizer="bytes", across_documents=True)
    assert across[1].tolist() == [98, 0, 99, 100]
    (chosen,) = tokenize(tmp_path / "*.txt", context=4, tokenizer="bytes", separator="\n")
    assert chosen[0].tolist() == [97, 98, 10, 99]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_each_line_of_json_is_a_document(tmp_path, packed):
    lines = "".join(json.dumps({"id": number, "body": text}) + "\n" for number, text in enumerate(["ab", "c"]))
    path = tmp_path / ("docs.jsonl.gz" if packed else "docs.jsonl")
    path.write_bytes(gzip.compress(lines.encode()) if packed else lines.encode())
    dataset = tokenize(path, context=1, tokenizer="bytes", column="body", across_documents=True)
    assert ids_of(dataset) == [97, 98, 0, 99]
    with pytest.raises(DataError, match=r"line 1 has no text .* in 'text'; it has id, body: set column to"):
        tokenize(path, context=1, tokenizer="bytes")


@pytest.mark.parametrize("limit", ["_TOGETHER", "_LENGTH"])
def test_a_long_text_is_one_document_and_the_same_tokens_however_it_is_cut(tmp_path, monkeypatch, limit):
    from flops_fit.datasets import documents, tokenized

    text = "".join(f"line {number}\n" for number in range(2000))
    (tmp_path / "a.txt").write_text(text)
    monkeypatch.setattr(documents, "_PIECE", 1000)
    monkeypatch.setattr(tokenized, limit, 3)
    assert ids_of(tokenize(tmp_path / "a.txt", context=1, tokenizer="bytes")) == list(text.encode())


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.json.gz"])
def test_rows_that_would_be_taken_for_one_text_are_said(tmp_path, name):
    content = b'{"text": "abc"}\n' * 9
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.warns(FlopsFitWarning, match=rf"{name} is taken for one text as it stands, .*; .* \.jsonl"):
        dataset = tokenize(tmp_path / name, context=1, tokenizer="bytes")
    assert bytes(ids_of(dataset)) == content


def test_it_is_tokenized_once_and_again_when_text_or_options_are_others(tmp_path, cache, monkeypatch):
    from flops_fit.datasets import tokenized

    made = []
    monkeypatch.setattr(tokenized, "_make", lambda *given, real=tokenized._make: made.append(1) or real(*given))
    path = tmp_path / "a.txt"
    path.write_text("one text")
    first = tokenize(path, context=2, tokenizer="bytes")
    same = tokenize(path, context=3, tokenizer="bytes")  # of another context, from the same file
    assert made == [1]
    assert first.shards[0].path == same.shards[0].path
    assert first.shards[0].path.parent == cache / "tokens"
    assert [item.name for item in (cache / "tokens").glob(".*.tmp")] == []
    (tmp_path / "moved.txt").write_text("one text")
    assert prepare_data(tokenize(tmp_path / "moved.txt", context=2, tokenizer="bytes")).fingerprint == (
        prepare_data(first).fingerprint
    )
    assert made == [1]
    path.write_text("two text")
    assert prepare_data(tokenize(path, context=2, tokenizer="bytes")).fingerprint != prepare_data(first).fingerprint
    assert made == [1, 1]


def test_rows_of_ids_are_joined_as_they_are(tmp_path):
    rows = [[70_000, 5, 2], [6, 2], [7, 8, 2]]
    lines = [json.dumps({"text": "as it was", "input_ids": row}) for row in rows]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    dataset = open_path(tmp_path / "docs.jsonl", context=1, tokenizer="ids")
    assert ids_of(dataset) == [70_000, 5, 2, 6, 2, 7, 8, 2]
    masked = open_path(tmp_path / "docs.jsonl", context=1, tokenizer="ids", separator=2)
    assert [int(targets) for _, targets in masked] == [5, 2, -100, 2, -100, 8, 2]
    packed = PackedStream(rows, context=3, tokenizer="ids", separator=2)
    assert [targets.tolist() for _, targets in packed] == [[5, 2, -100], [2, -100, 8]]
    with pytest.raises(DataError, match=r"a document is text \('as it was'\), and tokenizer = \"ids\" takes ids"):
        open_path(tmp_path / "docs.jsonl", context=1, tokenizer="ids", column="text")
    (tmp_path / "docs.jsonl").write_text('{"text": "some text"}\n')
    with pytest.raises(DataError, match="no text or list of ids in 'input_ids'; it has text: set column"):
        open_path(tmp_path / "docs.jsonl", context=1, tokenizer="ids")


def test_order_and_resume_are_those_of_a_token_file(tmp_path):
    text = "".join(chr(32 + number % 90) for number in range(5000))
    (tmp_path / "a.txt").write_text(text)
    np.frombuffer(text.encode(), np.uint8).astype(np.uint16).tofile(tmp_path / "a.bin")
    tokenized = open_examples(tokenize(tmp_path / "a.txt", context=10, tokenizer="bytes"))
    written = open_examples(TokenFile(tmp_path / "a.bin", context=10))
    whole = tokenized.reader(seed=1).read(400)
    assert torch.equal(whole[0], written.reader(seed=1).read(400)[0])
    assert torch.equal(whole[1][250:], tokenized.reader(seed=1, start=250).read(150)[1])


def test_a_cache_folder_that_cannot_be_written_to_is_named_with_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "a.txt").write_text("some text")
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"tokens cannot be kept in .*; set FLOPS_FIT_CACHE to a folder with room"):
        tokenize(tmp_path / "a.txt", context=1, tokenizer="bytes")
    np.arange(9, dtype=np.uint16).tofile(tmp_path / "a.bin")
    assert TokenFile(tmp_path / "a.bin", context=1).greatest_token == 8  # which needs no folder


def test_nothing_is_left_behind_where_tokenizing_fails(tmp_path, cache):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": 3}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2 has no text or list of ids in 'text'"):
        tokenize(tmp_path / "a.jsonl", context=1, tokenizer="bytes")
    assert [item.suffix for item in (cache / "tokens").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", b"abc", {}, r'a\.txt is text; set tokenizer to "bytes"'),
        ("a.bin", b"abcd", {"tokenizer": "bytes"}, "holds tokens already, so tokenizer = 'bytes' is not needed"),
        ("a.txt", b"caf\xe9", {"tokenizer": "bytes"}, r"a\.txt is not UTF-8 text .* iconv"),
        ("a.txt.gz", b"no gzip", {"tokenizer": "bytes"}, r"a\.txt\.gz is not UTF-8 text \(Not a gzipped file"),
        (
            "a.txt.gz",
            gzip.compress(b"cut" * 99)[:-9],
            {"tokenizer": "bytes"},
            r"a\.txt\.gz is not UTF-8 text \(Compressed",
        ),
        ("a.txt", b"", {"tokenizer": "bytes"}, r"there is no text in .*a\.txt; give files that have some"),
        ("a.txt", b"abc", {"tokenizer": "byts"}, "byts"),
        ("a.txt", b"abc", {"tokenizer": "bytes", "seperator": 3}, "'seperator'.*; did you mean 'separator'"),
        ("a.txt", b"abc", {"tokenizer": "bytes", "separator": 256}, "separator = 256 is no token .* has 0 to 255"),
        ("a.txt", b"abc", {"tokenizer": "none.json"}, "none.json does not exist"),
        ("a.jsonl", b"[1]\n", {"tokenizer": "bytes"}, "line 1 is a list, not an object; write lines such as"),
        ("a.jsonl", b"{oops\n", {"tokenizer": "bytes"}, "line 1 is not JSON"),
        (
            "a.jsonl",
            b'{"text": null, "body": "b"}\n',
            {"tokenizer": "bytes"},
            r"in 'text' but nothing \(null\); take the row out, .* to one of body \(in a study file",
        ),
        (
            "a.jsonl",
            b'{"text": [["a"]]}\n',
            {"tokenizer": "bytes"},
            "in 'text' but list .*take the row out, or mend it$",
        ),
        ("a.txt", b"abc", {"tokenizer": "bytes", "column": "body"}, "column = 'body' is for files with rows .* a.txt"),
        ("a.jsonl", b'{"text": [1, 256]}\n', {"tokenizer": "bytes"}, "the token 256, and the tokenizer has 0 to 255"),
    ],
)
def test_what_cannot_be_tokenized_is_refused_with_value_limit_and_remedy(tmp_path, name, content, options, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_path(tmp_path / name, **{"context": 1} | options)


def test_a_package_that_is_missing_is_named_with_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "t.json").write_text("{}")
    for package in ("tokenizers", "tiktoken"):
        monkeypatch.setitem(__import__("sys").modules, package, None)  # what Python does for one that is not there
    with pytest.raises(DataError, match="needs the package tokenizers: pip install tokenizers"):
        tokenizer_of(str(tmp_path / "t.json"))
    with pytest.raises(DataError, match="needs the package tiktoken: pip install tiktoken"):
        tokenizer_of("gpt2")


@pytest.mark.hf
def test_a_tokenizer_of_hugging_face(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "<eos>": 2, "?": 3}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    lines = [json.dumps({"text": text}) for text in ("a b", "b b a", "c")]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    dataset = open_path(tmp_path / "docs.jsonl", context=1, tokenizer=str(tmp_path / "tokenizer.json"))
    assert [int(inputs) for inputs, _ in dataset] == [0, 1, 2, 1, 1, 0, 2]
    assert [int(targets) for _, targets in dataset] == [1, 2, -100, 1, 0, 2, -100]
    made.add_special_tokens(["<pad>"])  # another tokenizer, though it has the same name
    made.save(str(tmp_path / "tokenizer.json"))
    again = open_path(tmp_path / "docs.jsonl", context=1, tokenizer=str(tmp_path / "tokenizer.json"))
    assert again.shards[0].path != dataset.shards[0].path


def test_a_tokenizer_of_tiktoken(monkeypatch):
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    ranks = {bytes([number]): number for number in range(256)} | {b"ab": 256}
    small = tiktoken.Encoding("small", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 257})
    monkeypatch.setattr(tiktoken, "list_encoding_names", lambda: ["small"])
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: small)  # the published ones are fetched
    found = tokenizer_of("small")
    assert (found.vocab_size, found.separator) == (258, 257)
    assert [ids.tolist() for ids in found.encode(["abc", "<|endoftext|>"])] == [[256, 99], list(b"<|endoftext|>")]
    with pytest.raises(DataError, match="'smal' is none of tiktoken's; did you mean 'small'"):
        tokenizer_of("smal")


def test_a_folder_that_hugging_faces_datasets_saved(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = {"text": ["ab", "c"], "input_ids": [[1, 2], [3]]}
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)})
    splits.save_to_disk(str(tmp_path / "saved"))
    options = {"context": 1, "tokenizer": "bytes", "across_documents": True}
    assert ids_of(open_path(tmp_path / "saved" / "train", **options)) == [97, 98, 0, 99]
    assert ids_of(open_path(tmp_path / "saved" / "train", column="input_ids", **options)) == [1, 2, 0, 3]
    with pytest.raises(DataError, match=r'is a folder; give one of its splits, such as ".*/saved/train"'):
        open_path(tmp_path / "saved", **options)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["ab", "c"]}), tmp_path / "a.parquet")
    dataset = open_path(tmp_path / "a.parquet", context=1, tokenizer="bytes", across_documents=True)
    assert ids_of(dataset) == [97, 98, 0, 99]
    with pytest.raises(DataError, match="has no column 'body'; set column to one of"):
        open_path(tmp_path / "a.parquet", context=1, tokenizer="bytes", column="body")


def test_a_stream_of_hugging_faces_is_packed():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    stream = datasets.Dataset.from_dict({"text": ["abc", "de", "f"]}).to_iterable_dataset()
    packed = PackedStream(stream, context=3, tokenizer="bytes")
    assert [targets.tolist() for _, targets in packed] == [[98, 99, 0], [100 - 200, 101, 0]]


def test_a_stream_is_packed_as_a_file_is_tokenized(tmp_path):
    texts = [f"document {number} " * (number % 5) for number in range(40)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    wanted = list(tokenize(tmp_path / "docs.jsonl", context=16, tokenizer="bytes"))
    for documents in (texts, lambda: iter(texts), [{"text": text} for text in texts]):
        found = list(PackedStream(documents, context=16, tokenizer="bytes"))
        assert len(found) == len(wanted)
        for pair, other in zip(found, wanted, strict=True):
            assert torch.equal(pair[0], other[0])
            assert torch.equal(pair[1], other[1])


def test_a_stream_resumes_where_it_was_and_needs_a_beginning(tmp_path):
    texts = ["some text"] * 50
    stream = open_examples(PackedStream(texts, context=7, tokenizer="bytes"))
    whole = stream.reader(seed=0).read(40)
    assert torch.equal(stream.reader(seed=0, start=25).read(15)[0], whole[0][25:])
    with pytest.raises(DataError, match="an iterator, which can be gone through once; give a function that returns"):
        PackedStream(iter(texts), context=7, tokenizer="bytes")
