"""Held-out examples that stand in the training data: found exactly where all is read, estimated where it is not."""

import numpy as np
import pytest
import torch
from streams import Stream
from tiny_study import examples, tiny_study
from torch.utils.data import DataLoader, Dataset, TensorDataset

from flops_fit.data.hashes import example_hashes, window_hashes
from flops_fit.data.leaks import find_leaks
from flops_fit.data.study_data import prepare_data


def draws(seed):
    return torch.Generator().manual_seed(seed)


def pairs(inputs):
    return TensorDataset(inputs, torch.zeros(len(inputs), dtype=torch.int64))


def looked_for(train, held_out):
    (leak,) = find_leaks(prepare_data(train, held_out))
    return leak


# -- hashes ----------------------------------------------------------------------------------------------------------


def test_windows_have_the_hash_of_their_tokens_wherever_they_stand():
    tokens = np.random.default_rng(0).integers(0, 50, (3, 40)).astype(np.uint64)
    tokens[2, 7:27] = tokens[0, 15:35]
    hashes = window_hashes(tokens, 20)
    assert hashes.shape == (3, 21)
    assert hashes[2, 7] == hashes[0, 15]
    assert len(np.unique(hashes)) == 3 * 21 - 1


def test_examples_have_the_hash_of_all_their_inputs():
    images = torch.zeros(4, 3, 5, 5)
    images[1, 2, 4, 4] = 2.0**40  # a float whose lower bits are all 0
    images[2, 2, 4, 4] = 2.0**41
    hashes = example_hashes((images, torch.zeros(4)), 4)
    assert hashes[0] == hashes[3]
    assert len(set(hashes.tolist())) == 3
    assert example_hashes(((images, images), torch.zeros(4)), 4)[0] != hashes[0], "two inputs are another example"


# -- found -----------------------------------------------------------------------------------------------------------


def test_whole_examples_are_found_whatever_their_targets():
    held_out = torch.randn(200, 6, generator=draws(1))
    train = torch.randn(5000, 6, generator=draws(2))
    train[torch.randperm(5000, generator=draws(3))[:50]] = held_out[:50]
    leak = looked_for(TensorDataset(train, torch.ones(5000, dtype=torch.int64)), pairs(held_out))
    assert (leak.found, leak.examples, leak.training, leak.share) == (50, 200, 5000, 0.25)
    assert leak.is_finding
    assert "25 % of the held-out examples stand in the training data" in leak.text()
    assert "take them out of the training data" in leak.text()


def text(count, seed, length=64):
    return torch.randint(0, 1000, (count, length), generator=draws(seed))


class Texts(Dataset):
    """Read by Python one by one."""

    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return self.tokens[index], self.tokens[index]


@pytest.mark.parametrize("kind", [lambda tokens: TensorDataset(tokens, tokens), Texts])
def test_passages_are_found_at_another_place_of_an_example(kind):
    """A passage of 40 tokens of 30 held-out examples, at another offset in a training example."""
    train, held_out = text(1000, 1), text(100, 2)
    train[torch.arange(30) * 7, 3:43] = held_out[:30, 12:52]
    leak = looked_for(kind(train), kind(held_out))
    assert (leak.found, leak.examples, leak.window) == (30, 100, 32)
    assert leak.is_finding


def test_padding_that_all_share_is_no_leak():
    train, held_out = text(500, 1), text(100, 2)
    train[:, 20:], held_out[:, 20:] = 0, 0
    train[:, 16:20] = held_out[:1, 16:20] = held_out[1:, 16:20] = 7  # as all sentences end
    leak = looked_for(pairs(train), pairs(held_out))
    assert (leak.found, leak.examples) == (0, 100)
    everything = torch.zeros(100, 64, dtype=torch.int64)
    assert "of another kind" in looked_for(pairs(train), pairs(everything)).text()


def test_where_not_all_is_read_the_share_is_an_estimate():
    """A fifth of 16,384 in 800,000, of which 200,000 are read: a quarter of 3,277 are found, within 4 sd of 25."""
    held_out, train = torch.randn(16_384, 2, generator=draws(1)), torch.randn(800_000, 2, generator=draws(2))
    train[torch.randperm(800_000, generator=draws(3))[:3277]] = held_out[:3277]
    leak = looked_for(pairs(train), pairs(held_out))
    assert leak.training == 200_000
    assert leak.found == pytest.approx(3277 / 4, abs=100)
    assert leak.share == pytest.approx(0.2, abs=0.025)
    assert leak.text().startswith("about ")


def test_none_is_said_with_what_that_excludes():
    leak = looked_for(pairs(torch.randn(2000, 6)), pairs(torch.randn(300, 6)))
    assert not leak.is_finding
    assert "none of the held-out examples stands in the training data (300 compared by inputs with 2,000" in leak.text()
    assert "fewer than 1 % at 95 %" in leak.text(), "3 / 300"


def test_short_examples_recur_by_chance():
    """Contexts of 3 letters of 10: a thousand there are, so that nearly all of 500 stand in 20,000, as others do."""
    train = torch.randint(0, 10, (20_000, 3), generator=draws(1))
    held_out = torch.randint(0, 10, (500, 3), generator=draws(2))
    leak = looked_for(pairs(train), pairs(held_out))
    assert leak.share > 0.99
    assert leak.repeated > 0.99
    assert not leak.is_finding
    assert leak.text().endswith("so these recur no more than others do")


def test_examples_of_different_lengths_are_compared_without_padding():
    generator = draws(1)
    texts = [torch.randint(0, 1000, (int(length),), generator=generator) for length in torch.arange(33, 433)]

    def collate(items):
        ids = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
        return ids, torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=-100)

    train = DataLoader(texts[:300], collate_fn=collate)
    leak = looked_for(train, DataLoader([*texts[300:], *texts[40:60]], collate_fn=collate))
    assert (leak.found, leak.examples) == (20, 120)


def test_every_named_set_is_looked_at():
    train = torch.randn(1000, 6, generator=draws(1))
    clean, seen = pairs(torch.randn(100, 6, generator=draws(2))), pairs(train[:100])
    first, second = find_leaks(prepare_data(pairs(train), {"clean": clean, "seen": seen}))
    assert (first.name, first.share) == ("clean", 0)
    assert (second.name, second.share) == ("seen", 1)
    assert "held-out examples of seen stand" in second.text()


# -- not looked at ---------------------------------------------------------------------------------------------------


class Words(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return "word", 0


class Broken(Texts):
    def __getitem__(self, index):
        if index == 3:
            raise OSError("a bad disk")
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("train", "held_out", "said"),
    [
        (Stream(100), Stream(10), "a stream cannot be read at random"),
        (Words(), Words(), "inputs are no tensors"),
        (Broken(text(20, 1)), Texts(text(20, 2)), "reading them raised OSError: a bad disk"),
    ],
)
def test_what_cannot_be_compared_is_said(train, held_out, said):
    leak = looked_for_all(train, held_out)
    assert said in leak.text()
    assert not leak.is_finding


def looked_for_all(train, held_out):
    (leak,) = find_leaks(prepare_data(train, held_out, tokens_per_example=1, version="1"))
    return leak


def test_random_state_is_left_alone_and_the_answer_is_the_same():
    train, held_out = examples(3000), examples(300)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert looked_for(train, held_out) == looked_for(train, held_out)
    assert torch.equal(torch.random.get_rng_state(), before)


# -- said before anything is spent -------------------------------------------------------------------------------------


def test_the_checks_of_a_study_say_it():
    from tiny_study import tiny_size_map, train

    from flops_fit import DataSpec
    from flops_fit.preflight.preflight import preflight
    from flops_fit.stages import study_plan

    inputs, targets = train().tensors
    leaked = TensorDataset(inputs[:500].clone(), targets[:500].clone())
    study = tiny_study(data=DataSpec(train=train, eval=leaked))
    found = preflight(study, study_plan(study, tiny_size_map()))
    assert not found.problems
    assert len(found.doubts) == 1
    assert "warning: 100 % of the held-out examples stand in the training data" in found.summary()


def test_passages_that_all_texts_share_are_no_finding_until_the_held_out_ones_have_more():
    """A header in one of five texts, of the training data as of the held-out: it recurs; copied texts come on top."""
    train, held_out = text(2000, 1), text(500, 2)
    train[::5, 10:60] = held_out[::5, 10:60] = torch.arange(50)
    leak = looked_for(pairs(train), pairs(held_out))
    assert leak.share == pytest.approx(0.2)
    assert leak.repeated == pytest.approx(0.2)
    assert not leak.is_finding
    held_out[1::5] = train[1:500:5]
    leak = looked_for(pairs(train), pairs(held_out))
    assert leak.share == pytest.approx(0.4)
    assert leak.is_finding
