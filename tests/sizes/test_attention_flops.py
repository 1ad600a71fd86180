"""FLOPs of attention by convention, and a model's own estimate beside what is counted."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from flops_fit import build_size_map
from flops_fit.errors import FlopsFitWarning, ModelContractError, PlanError
from flops_fit.examples.tiny_gpt import TinyGPT
from flops_fit.loss import cross_entropy

CONTEXT, LAYERS, VOCABULARY = 48, 3, 128
TOKENS = torch.zeros(2, CONTEXT, dtype=torch.long)
MEASURED = {
    "sample_batch": (TOKENS, TOKENS), "loss_fn": cross_entropy, "tokens_per_example": CONTEXT, "size_values": [32, 48],
}  # fmt: skip


class WrittenOut(nn.Module):
    """Attention in plain products, with a mask; bytes (B, S) → logits (B, S, 128)."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(LAYERS))
        self.logits = nn.Linear(width, VOCABULARY, bias=False)

    def attend(self, query, key, value):
        hidden = torch.ones(query.shape[1], key.shape[1], device=query.device).triu(1).bool()
        scores = (query @ key.transpose(1, 2)).masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ value

    def forward(self, tokens):
        stream = self.embed(tokens)
        for layer in self.qkv:
            stream = stream + self.attend(*layer(stream).chunk(3, dim=-1))
        return self.logits(stream)


class Fused(WrittenOut):
    def attend(self, query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True)


class Checkpointed(WrittenOut):
    def attend(self, query, key, value):
        return torch.utils.checkpoint.checkpoint(super().attend, query, key, value, use_reentrant=True)


class AsksItsData(WrittenOut):
    """Its step is taken with real weights, as one that depends on them cannot be taken on the meta device."""

    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits * (2.0 if logits.abs().max().item() > 1e9 else 1.0)


def by_hand(width, seen):
    """6 for each weight that is multiplied by, and 12·layers·width of attention for each token that is looked at."""
    return 6 * (3 * width * width * LAYERS + width * VOCABULARY) + 12 * LAYERS * width * seen


@pytest.mark.parametrize("model", [WrittenOut, Fused, Checkpointed, AsksItsData])
def test_causal_attention_is_that_with_the_tokens_before_and_itself(model):
    full, causal = (build_size_map(model, "width", attention_flops=how, flops="measured", **MEASURED)
                    for how in ("full", "causal"))  # fmt: skip
    for width, whole, half in zip((32, 48), full.entries, causal.entries, strict=True):  # 48 is the context too
        assert whole.flops_per_token == by_hand(width, CONTEXT)
        assert half.flops_per_token == by_hand(width, (CONTEXT + 1) / 2)
    assert (full.flops_method, causal.flops_method) == ("measured", "measured, causal attention")


def test_where_the_keys_take_no_gradient_the_backward_pass_has_one_product_less():
    class WithoutGradients(WrittenOut):
        def attend(self, query, key, value):
            return super().attend(query, key.detach(), value)

    full, causal = (build_size_map(WithoutGradients, "width", attention_flops=how, flops="measured", **MEASURED)
                    for how in ("full", "causal"))  # fmt: skip
    products = 2 + 1 + 2  # forward; of the scores for queries alone; of the mixing for weights and values
    ahead = (CONTEXT - 1) / (2 * CONTEXT) * products * 2 * LAYERS * 32 * CONTEXT
    assert full.entries[0].flops_per_token - causal.entries[0].flops_per_token == pytest.approx(ahead, rel=1e-12)


class Experts(nn.Module):
    """Stacked matrices, square and as wide as the context is long, by which batches are multiplied: no attention."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.logits = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY, bias=False)
        self.stack = nn.Parameter(torch.zeros(2, width, width))

    def forward(self, tokens):
        return self.logits(torch.bmm(self.embed(tokens), self.stack))


def test_a_batch_of_weights_is_no_attention_whatever_its_shape():
    full = build_size_map(Experts, "width", flops="measured", **MEASURED)
    with pytest.warns(FlopsFitWarning, match="changes nothing here"):
        causal = build_size_map(Experts, "width", attention_flops="causal", flops="measured", **MEASURED)
    assert [entry.flops_per_token for entry in full.entries] == [entry.flops_per_token for entry in causal.entries]


def test_the_packaged_gpt_without_what_a_mask_hides():
    full, causal = (build_size_map(TinyGPT, "width", attention_flops=how, **MEASURED) for how in ("full", "causal"))
    hidden = 12 * 4 * 32 * (CONTEXT - (CONTEXT + 1) / 2)
    assert full.entries[0].flops_per_token - causal.entries[0].flops_per_token == hidden


def test_it_is_asked_of_measured_flops_of_sequences_alone():
    with pytest.raises(PlanError, match=r'attention_flops = "causal" is about measured FLOPs, and flops = \'6nd\''):
        build_size_map(WrittenOut, "width", flops="6nd", attention_flops="causal", **MEASURED)
    numbers = MEASURED | {"sample_batch": (torch.zeros(2, 8), torch.zeros(2, dtype=torch.long))}
    with pytest.raises(ModelContractError, match="needs sequences of token ids"):
        build_size_map(WrittenOut, "width", attention_flops="causal", **numbers)


class Estimates(WrittenOut):
    """With nanochat's method: FLOPs per token forward and backward, here of a window of 16."""

    def estimate_flops(self):
        return by_hand(self.embed.embedding_dim, 16)


def test_a_models_own_estimate_is_shown_and_can_be_taken():
    measured = build_size_map(Estimates, "width", flops="measured", **MEASURED)
    own = build_size_map(Estimates, "width", flops="model", **MEASURED)
    alone = build_size_map(Estimates, "width", flops="model", size_values=[32])
    assert own.entries[0].flops_per_token == alone.entries[0].flops_per_token == by_hand(32, 16)
    assert measured.entries[0].own_flops_per_token == by_hand(32, 16)
    ratio = f"{by_hand(48, 16) / by_hand(48, CONTEXT):.3g} times"
    assert any(ratio in note and 'flops = "model" takes its own' in note for note in measured.notes)
    assert any(ratio in note and "takes its own" not in note for note in own.notes)
    assert type(own).from_dict(own.to_dict()) == own


def test_without_an_estimate_of_its_own_it_says_what_to_write():
    with pytest.raises(ModelContractError, match=r"WrittenOut has none of estimate_flops.*add a method"):
        build_size_map(WrittenOut, "width", flops="model", size_values=[32])


@pytest.mark.parametrize(
    ("estimate", "error"),
    [
        (lambda self: "many", r"estimate_flops\(\) gave 'many'; it must give FLOPs per token"),
        (lambda self: 0, r"gave 0; it must give"),
        (lambda self, context: 1.0, r"estimate_flops\(\) raised TypeError"),
    ],
)
def test_an_estimate_that_is_none_is_refused_only_where_it_is_asked_for(estimate, error):
    model = type("Own", (WrittenOut,), {"estimate_flops": estimate})
    with pytest.raises(ModelContractError, match=error):
        build_size_map(model, "width", flops="model", size_values=[32])
    assert build_size_map(model, "width", size_values=[32]).entries[0].own_flops_per_token is None


class Recurrent(nn.Module):
    """No attention at all."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.scan = nn.Embedding(VOCABULARY, width), nn.GRU(width, width, batch_first=True)
        self.logits = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens):
        return self.logits(self.scan(self.embed(tokens))[0])


def test_a_convention_that_changes_nothing_is_said():
    plain = build_size_map(Recurrent, "width", flops="measured", **MEASURED)
    with pytest.warns(FlopsFitWarning, match='attention_flops = "causal" changes nothing here.*leave it out'):
        causal = build_size_map(Recurrent, "width", flops="measured", attention_flops="causal", **MEASURED)
    assert [entry.flops_per_token for entry in causal.entries] == [entry.flops_per_token for entry in plain.entries]
    assert any("changes nothing" in note for note in causal.notes)
