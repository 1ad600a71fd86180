"""Hugging Face models by their configurations: counted and measured as formulas worked out by hand say."""

import pytest
import torch

from flops_fit import build_size_map
from flops_fit.loss import model_loss

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = [pytest.mark.hf, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]

LAYERS, VOCABULARY, CONTEXT = 2, 1000, 128
TOKENS = torch.arange(2 * CONTEXT).reshape(2, CONTEXT) % VOCABULARY


def shape(width, **more):
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": LAYERS}
    return {"hidden_size": width, "intermediate_size": 3 * width, "vocab_size": VOCABULARY, **heads, **more}


def gpt2(width):
    sizes = {"n_embd": width, "n_layer": LAYERS, "n_head": 4, "n_positions": CONTEXT}
    config = transformers.GPT2Config(vocab_size=VOCABULARY, **sizes)
    return transformers.GPT2LMHeadModel(config)


def llama(width):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape(width)))


def mistral(width):
    return transformers.MistralForCausalLM(transformers.MistralConfig(**shape(width), sliding_window=32))


def mixtral(width, experts=8, top=2):
    config = transformers.MixtralConfig(**shape(width), num_local_experts=experts, num_experts_per_tok=top)
    return transformers.MixtralForCausalLM(config)


def qwen3_moe(width):
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 3 * width}
    config = transformers.Qwen3MoeConfig(**shape(width), head_dim=width // 4, **experts)
    return transformers.Qwen3MoeForCausalLM(config)


def vit(width):
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": 4}
    config = transformers.ViTConfig(num_hidden_layers=LAYERS, image_size=32, patch_size=8, **sizes)
    return transformers.ViTForImageClassification(config)


def llama_flops(width, feed_forward=None):
    """6 per weight that a token meets, and 12·layers·width·context for attention; two of four heads have keys."""
    layer = 3 * width**2 + (9 * width**2 if feed_forward is None else feed_forward)
    return 6 * (LAYERS * layer + VOCABULARY * width) + 12 * LAYERS * width * CONTEXT


def measured(factory, **options):
    return build_size_map(
        factory, "width", flops="measured", sample_batch={"input_ids": TOKENS, "labels": TOKENS}, loss_fn=model_loss,
        tokens_per_example=CONTEXT, **options,
    )  # fmt: skip


@pytest.mark.parametrize("factory", [gpt2, llama, vit])
def test_models_are_counted_as_they_count_themselves(factory):
    size_map = build_size_map(factory, "width", max_params=1e10, num_sizes=16)
    assert size_map.entries[-1].num_params > 0.5e10
    for entry in size_map.entries[:3]:
        assert entry.total_params == factory(entry.size).num_parameters()
        assert entry.source == "meta"
        assert entry.size % 4 == 0


@pytest.mark.parametrize("factory", [llama, mistral])
def test_a_causal_model_is_measured_up_to_100_billion_parameters(factory):
    size_map = measured(factory, num_sizes=12)
    assert size_map.entries[-1].num_params > 0.8e11
    assert {entry.source for entry in size_map.entries} == {"meta"}
    for entry in size_map.entries:
        if entry.size % 8 == 0:  # an even number of channels a head
            assert entry.flops_per_token == pytest.approx(llama_flops(entry.size), rel=1e-3)


@pytest.mark.parametrize(("experts", "top"), [(8, 1), (8, 2), (16, 1), (16, 2)])
def test_experts_count_as_often_as_a_token_meets_them(experts, top):
    size_map = measured(lambda width: mixtral(width, experts, top), size_values=[64, 256, 4096])
    for entry in size_map.entries:
        width = entry.size
        by_hand = llama_flops(width, feed_forward=top * 9 * width**2 + experts * width)
        assert entry.flops_per_token == pytest.approx(by_hand, rel=1e-2)
    assert not size_map.uncounted


def test_another_mixture_of_experts():
    (entry,) = measured(qwen3_moe, size_values=[128]).entries
    by_hand = llama_flops(128, feed_forward=2 * 9 * 128**2 + 8 * 128)
    assert entry.flops_per_token == pytest.approx(by_hand, rel=1e-2)


def step_of(config):
    """Parameters in all, and those that a token meets."""
    from flops_fit.sizes.flops import count_params, measure_flops
    from flops_fit.sizes.known_values import KnownValues

    known = KnownValues()
    with torch.device("meta"), known:
        model = transformers.AutoModelForCausalLM.from_config(config)
    batch = {"input_ids": known.meta(TOKENS), "labels": known.meta(TOKENS)}
    total = count_params(model).total
    return total, total - measure_flops(model, batch, model_loss, known=known).idle


def test_mixtral_8x7b_meets_12_9_billion_of_46_7():
    """Jiang et al. 2024, Mixtral of Experts."""
    config = transformers.MixtralConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, num_local_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    assert step_of(config) == (pytest.approx(46.7e9, rel=0.01), pytest.approx(12.9e9, rel=0.01))


def test_gpt_oss_20b_meets_3_61_billion_of_20_91():
    """OpenAI 2025, gpt-oss-120b & gpt-oss-20b Model Card, table 1: the embedding's weights are not among the active."""
    config = transformers.GptOssConfig(num_hidden_layers=24, num_local_experts=32, use_cache=False)
    total, active = step_of(config)
    assert total == pytest.approx(20.91e9, rel=0.001)
    assert active - config.vocab_size * config.hidden_size == pytest.approx(3.61e9, rel=0.002)


def test_qwen3_30b_a3b_meets_3_3_billion_of_30_5():
    """The Qwen3 technical report says 30B and 3B, the model's page 30.5B and 3.3B; by hand from its shape 3.353B."""
    config = transformers.Qwen3MoeConfig(
        vocab_size=151936, hidden_size=2048, num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4,
        head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, tie_word_embeddings=False,
    )  # fmt: skip
    layer = 2 * 2048 * 4096 + 2 * 2048 * 512 + 8 * 3 * 2048 * 768 + 128 * 2048
    total, active = step_of(config)
    assert total == pytest.approx(30.5e9, rel=0.01)
    assert active == pytest.approx(48 * layer + 2 * 151936 * 2048, rel=1e-3)
    assert 3.3e9 <= active < 3.4e9


LLAMA_2 = [  # Touvron et al. 2023, and their published configs
    {
        "label": "7B",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
    },
    {
        "label": "13B",
        "hidden_size": 5120,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "intermediate_size": 13824,
    },
]


def test_a_table_of_published_configurations_has_the_published_parameters():
    size_map = build_size_map(
        transformers.LlamaForCausalLM, None, {"vocab_size": 32000}, sizes=LLAMA_2, config=transformers.LlamaConfig,
        param_count="total",
    )  # fmt: skip
    assert {entry.label: entry.num_params for entry in size_map.entries} == {"7B": 6_738_415_616, "13B": 13_015_864_320}


def test_expressions_set_the_keys_of_a_config():
    """Llama by hand: embeddings, head, norm; per layer four matrices of attention, three of feed-forward, two norms."""
    sizes = {
        "hidden_size": "64*num_hidden_layers",
        "num_attention_heads": "num_hidden_layers",
        "num_key_value_heads": "num_hidden_layers",
        "intermediate_size": "8*hidden_size/3 rounded to 128",
    }
    size_map = build_size_map(
        transformers.LlamaForCausalLM, "num_hidden_layers", {"vocab_size": VOCABULARY}, sizes=sizes,
        config=transformers.LlamaConfig, param_count="total", max_size=12,
    )  # fmt: skip
    assert [entry.size for entry in size_map.entries] == list(range(1, 13))
    for entry in size_map.entries:
        width = 64 * entry.size
        inner = 128 * round(8 * width / 3 / 128)
        layer = 4 * width**2 + 3 * width * inner + 2 * width
        assert entry.num_params == 2 * VOCABULARY * width + entry.size * layer + width


def test_a_key_that_a_config_knows_by_another_name_is_one_of_it():
    sizes = {"num_attention_heads": "hidden_size/16"}
    size_map = build_size_map(
        transformers.GPT2LMHeadModel, "hidden_size", {"n_layer": 2, "vocab_size": VOCABULARY}, sizes=sizes,
        config=transformers.GPT2Config, size_multiple=16, max_size=256,
    )  # fmt: skip
    assert all(entry.size % 16 == 0 for entry in size_map.entries)
    for entry in size_map.entries[:3]:
        config = transformers.GPT2Config(n_embd=entry.size, n_layer=2, n_head=entry.size // 16, vocab_size=VOCABULARY)
        assert entry.total_params == transformers.GPT2LMHeadModel(config).num_parameters()
