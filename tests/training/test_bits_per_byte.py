"""Bits per byte: against sums by hand, in tokens of one and of several bytes, and what is refused."""

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_study import tiny_study
from torch.utils.data import Subset, TensorDataset

from flops_fit import DataSpec
from flops_fit.datasets import PackedStream, TokenFile, tokenize
from flops_fit.datasets.token_bytes import token_bytes_of
from flops_fit.datasets.tokenizer_json import bytes_of_tokenizer_json
from flops_fit.errors import DataError, MetricError
from flops_fit.metrics import accuracy, bits_per_byte

TEXTS = ["the cat sat on the mat", "a dog", "the cat again: the end"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    return path


def bigrams(size, seed=0):
    """A model that has a table of logits: those of the next token by the last one."""
    return torch.nn.Embedding(
        size, size, _weight=torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    )


class Shifts(torch.nn.Module):
    """The same as a model of Hugging Face's has it: logits, and labels that it shifts itself."""

    loss_type = "ForCausalLM"

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, input_ids, labels=None):
        return SimpleNamespace(logits=self.table(input_ids), loss=None)


def test_a_model_that_knows_nothing_needs_eight_bits_for_a_byte(text):
    model = torch.nn.Embedding(256, 256, _weight=torch.zeros(256, 256))
    assert bits_per_byte(model, tokenize(text, context=5, tokenizer="bytes")) == pytest.approx(8, rel=1e-6)


@pytest.mark.parametrize("across", [False, True])
def test_it_is_the_bits_of_the_text_over_its_bytes_and_ends_of_documents_are_none(text, across):
    model, held_out = bigrams(256), tokenize(text, context=9, tokenizer="bytes", across_documents=across)
    tokens = "\0".join(TEXTS).encode()
    bits, count = 0.0, 0
    log_p = torch.log_softmax(model.weight.detach().double(), -1)
    for place in range(1, len(held_out) * 9 + 1):
        last, this = tokens[place - 1], tokens[place]
        if this == 0 or (last == 0 and not across):
            continue
        bits -= float(log_p[last, this]) / math.log(2)
        count += 1
    assert count in (len(held_out) * 9 - 4, len(held_out) * 9 - 2)
    assert bits_per_byte(model, held_out) == pytest.approx(bits / count, rel=1e-6)
    half = Subset(held_out, range(len(held_out)))  # as held-out data that was split off
    assert bits_per_byte(model, half) == pytest.approx(bits / count, rel=1e-6)


def test_tokens_of_several_bytes_count_as_many(tmp_path):
    ids = np.random.default_rng(0).integers(0, 5, 41)
    ids.astype("uint16").tofile(tmp_path / "a.bin")
    model, held_out = bigrams(5), TokenFile(tmp_path / "a.bin", context=8, separator=4)
    data = Known(held_out, [1, 3, 2, 7, 0])
    log_p = torch.log_softmax(model.weight.detach().double(), -1)
    pairs = [(last, this) for last, this in itertools.pairwise(ids.tolist()) if last != 4 and this != 4]
    by_hand = -sum(float(log_p[last, this]) for last, this in pairs) / math.log(2)
    by_hand /= sum([1, 3, 2, 7][this] for _, this in pairs)
    assert bits_per_byte(model, data) == pytest.approx(by_hand, rel=1e-6)


class Known(torch.utils.data.Dataset):
    """A dataset of one's own that says the bytes of its tokens."""

    def __init__(self, dataset, token_bytes):
        self.dataset, self.token_bytes = dataset, token_bytes

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


def test_a_mean_that_is_stated_makes_it_the_loss_in_bits_over_that_mean(tmp_path):
    np.random.default_rng(0).integers(0, 5, 41).astype("uint16").tofile(tmp_path / "a.bin")
    model, held_out = bigrams(5), TokenFile(tmp_path / "a.bin", context=8, bytes_per_token=4.5)
    inputs, targets = (torch.stack(part) for part in zip(*held_out, strict=True))
    loss = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    assert bits_per_byte(model, held_out) == pytest.approx(loss.item() / math.log(2) / 4.5, rel=1e-6)


def test_models_that_shift_their_labels_and_streams_are_measured_alike(text):
    table = bigrams(256)
    pairs = tokenize(text, context=9, tokenizer="bytes")
    stream = PackedStream(TEXTS, context=9, tokenizer="bytes")
    assert bits_per_byte(table, stream) == pytest.approx(bits_per_byte(table, pairs), rel=1e-6)
    labels = tokenize(text, context=9, tokenizer="bytes", form="labels")
    tokens, log_p = "\0".join(TEXTS).encode(), torch.log_softmax(table.weight.detach().double(), -1)
    there = [place for place in range(len(labels) * 9) if place % 9 and 0 not in tokens[place - 1 : place + 1]]
    by_hand = -sum(float(log_p[tokens[place - 1], tokens[place]]) for place in there) / math.log(2) / len(there)
    assert bits_per_byte(Shifts(table), labels) == pytest.approx(by_hand, rel=1e-6)
    assert 0 <= accuracy(Shifts(table), {name: labels[0][name][None] for name in labels[0]}) <= 1


BYTE_LEVEL = {
    "model": {"type": "BPE", "vocab": {"a": 0, "Ġcat": 1, "Ã©": 2, "é": 3}},
    "decoder": {"type": "ByteLevel"},
    "added_tokens": [
        {"id": 4, "content": "<|endoftext|>", "special": True},
        {"id": 5, "content": "né", "special": False},
    ],
}
SENTENCE_PIECE = {
    "model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["▁the", -2.0], ["é", -3.0], ["<0xC3>", -9.0]]},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]},
    "added_tokens": [{"id": 0, "content": "<unk>", "special": True}],
}


def test_bytes_of_published_kinds_of_tokenizers():
    assert bytes_of_tokenizer_json(json.dumps(BYTE_LEVEL)).tolist() == [1, 4, 2, 1, 0, 3]  # "Ã©" is the two bytes of é
    assert bytes_of_tokenizer_json(json.dumps(SENTENCE_PIECE)).tolist() == [0, 4, 2, 1]
    assert bytes_of_tokenizer_json(json.dumps({**BYTE_LEVEL, "decoder": {"type": "WordPiece"}})) is None


def test_a_tokenizer_of_hugging_face_says_bytes_that_add_up_to_the_text(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    made = tokenizers.ByteLevelBPETokenizer()
    corpus = [*TEXTS, "naïve café: ünïcödé und Straße 日本語"]
    made.train_from_iterator(corpus, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    made.save(str(tmp_path / "tokenizer.json"))
    table = token_bytes_of(str(tmp_path / "tokenizer.json"))
    for text in corpus:
        assert sum(int(table[number]) for number in made.encode(text).ids) == len(text.encode())


def test_a_change_of_what_is_said_of_bytes_is_another_measure_and_the_same_study():
    def study(**kwargs):
        metrics = {"bits_per_byte": bits_per_byte}
        rows = [TensorDataset(torch.randn(50, 6), torch.randint(0, 4, (50,))) for _ in range(2)]
        return tiny_study(data=DataSpec(train=rows[0], eval=rows[1], kwargs=kwargs, metrics=metrics, version="1"))

    plain, stated, other = study(), study(bytes_per_token=4.0), study(bytes_per_token=4.5)
    assert len({each.outcome_fingerprint() for each in (plain, stated, other)}) == 1
    assert len({each.metric_code["bits_per_byte"] for each in (plain, stated, other)}) == 3


@pytest.mark.parametrize("bad", [0, -1.0, True, math.nan, ["gpt2"]])
def test_what_is_no_number_of_bytes_is_refused(tmp_path, bad):
    np.arange(40).astype("uint16").tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"bytes_per_token = .* must be a number above 0"):
        TokenFile(tmp_path / "a.bin", context=8, bytes_per_token=bad)


def test_bytes_that_are_not_known_or_do_not_fit_are_told_what_to_write(tmp_path):
    np.arange(40).astype("uint16").tofile(tmp_path / "a.bin")
    held_out = TokenFile(tmp_path / "a.bin", context=8)
    with pytest.raises(MetricError, match=r'does not know the bytes.*TokenFile.*bytes_per_token = "gpt2"'):
        bits_per_byte(bigrams(40), held_out)
    with pytest.raises(MetricError, match="holds the token 32, and the tokenizer has 3"):
        bits_per_byte(bigrams(40), Known(held_out, [1, 1, 1]))
    with pytest.raises(MetricError, match="has no byte to count"):
        bits_per_byte(bigrams(40), Known(held_out, [0] * 40))
    last = torch.nn.Sequential(bigrams(40), torch.nn.Flatten())
    with pytest.raises(MetricError, match="bits_per_byte needs outputs of shape"):
        bits_per_byte(last, TokenFile(tmp_path / "a.bin", context=8, bytes_per_token="bytes"))
