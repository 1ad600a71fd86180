"""Public families outside of Hugging Face, as the benchmark has them: published N, and FLOPs by formulas, exactly."""

import sys

import pytest
import torch
from paths import ROOT

from flops_fit import build_size_map
from flops_fit.loss import cross_entropy

sys.path.insert(0, str(ROOT / "benchmarks"))
import hand_written as made

CONTEXT = 24
TOKENS = torch.zeros(1, CONTEXT, dtype=torch.long)


def params_of(factory, **size):
    with torch.device("meta"):
        return sum({id(part): part.numel() for part in factory(**size).parameters()}.values())


@pytest.mark.parametrize(
    ("factory", "size", "published"),
    [
        (made.NanoGPT, {}, 124_439_808),  # GPT-2, as Hugging Face and OpenAI's checkpoint have it
        (made.NanoGPT, {"width": 1600, "depth": 48, "heads": 25}, 1_557_611_200),  # GPT-2 XL
        (made.Mamba, {}, 129_135_360),  # state-spaces/mamba-130m
        (made.Rwkv, {}, 169_342_464),  # RWKV-4-Pile-169M
        (made.VisionTransformer, {}, 86_567_656),  # torchvision's vit_b_16
        (made.ResNet, {}, 25_557_032),  # torchvision's resnet50
    ],
)
def test_parameters_are_the_published_ones(factory, size, published):
    assert params_of(factory, **size) == published


@pytest.mark.parametrize(
    ("factory", "dial", "size", "kwargs", "N", "flops"),
    [
        (made.NanoGPT, "width", 48, {"depth": 2}, made.nano_gpt_params(48, 2), made.nano_gpt_flops(48, 2, CONTEXT)),
        (made.NanoGPT, "depth", 3, {"width": 24}, made.nano_gpt_params(24, 3), made.nano_gpt_flops(24, 3, CONTEXT)),
        (made.Mamba, "width", 32, {"depth": 2}, made.mamba_params(32, 2), made.mamba_flops(32, 2, CONTEXT)),
        (made.Rwkv, "width", 32, {"depth": 2}, made.rwkv_params(32, 2), made.rwkv_flops(32, 2, CONTEXT)),
        (
            made.LinearAttention, "width", 64, {},
            made.linear_attention_params(64), made.linear_attention_flops(64, CONTEXT),
        ),
    ],
    ids=["nanoGPT by width", "nanoGPT by depth", "Mamba", "RWKV", "linear attention"],
)  # fmt: skip
def test_flops_per_token_are_those_of_the_formula(factory, dial, size, kwargs, N, flops):
    options = {"sample_batch": (TOKENS, TOKENS), "loss_fn": cross_entropy, "tokens_per_example": CONTEXT}
    (entry,) = build_size_map(
        factory, dial, kwargs, size_values=[size], flops="measured", param_count="total", **options
    ).entries
    assert (entry.num_params, entry.flops_per_token) == (N, flops)


@pytest.mark.parametrize(
    ("factory", "size", "N", "flops", "published"),
    [
        (made.VisionTransformer, 768, 86_567_656, made.vision_transformer_flops(768), 17.56e9),
        (made.ResNet, 64, 25_557_032, made.resnet_flops(64), 4.09e9),
    ],
    ids=["ViT-B/16", "ResNet-50"],
)
def test_flops_of_an_image_are_those_of_the_formula_and_of_torchvision(factory, size, N, flops, published):
    """torchvision tells multiply-adds of the forward pass; ours are three times twice these, but for the pixels."""
    batch = (torch.zeros(1, 3, 224, 224), torch.zeros(1, dtype=torch.long))
    options = {"sample_batch": batch, "loss_fn": cross_entropy, "tokens_per_example": 1, "param_count": "total"}
    (entry,) = build_size_map(factory, "width", size_values=[size], flops="measured", **options).entries
    assert (entry.num_params, entry.flops_per_token) == (N, flops)
    assert entry.flops_per_token == pytest.approx(6 * published, rel=0.015)
