"""Public model families by their Hugging Face configurations: counts, FLOPs, size maps against independent formulas.

`python benchmarks/real_models.py [family ...]` (with the extra `hf`) writes `real_models.md`. For each family, at one
width: N against the library's own `num_parameters()`; measured FLOPs per token against 6 per weight of every
`nn.Linear` (of stacked experts the share that a token meets) and 12·layers·width·context of attention (T5: 4
layers of the encoder, 4 of the decoder, 4 across). Then a map with measured FLOPs up to 1e11 parameters: seconds,
seconds of processor time, peak memory, all with what it imports.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

CONTEXT, VOCABULARY, WIDTH, LAYERS, HEADS = 2048, 32000, 512, 8, 8
EXPERTS, TOP = 8, 2


@dataclass(frozen=True)
class Family:
    """`config` and `model` are names in `transformers`; `more` are arguments of the configuration, of a width."""

    config: str
    model: str
    more: str = "{}"
    layers: int = LAYERS  # with attention
    formula: bool = True


LLAMA = "dict(hidden_size=w, intermediate_size=3 * w, num_hidden_layers=8, num_attention_heads=8, "
DENSE = LLAMA + "num_key_value_heads=4)"
MOE = LLAMA + "num_key_value_heads=4, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=w)"
FAMILIES = {
    "GPT-2": Family("GPT2Config", "GPT2LMHeadModel", "dict(n_embd=w, n_layer=8, n_head=8, n_positions=2048)"),
    "Llama": Family("LlamaConfig", "LlamaForCausalLM", DENSE),
    "Mixtral": Family("MixtralConfig", "MixtralForCausalLM", DENSE),
    "Qwen3-MoE": Family("Qwen3MoeConfig", "Qwen3MoeForCausalLM", MOE[:-1] + ", head_dim=w // 8)"),
    "Mistral": Family("MistralConfig", "MistralForCausalLM", DENSE[:-1] + ", sliding_window=512)"),
    "Qwen3": Family("Qwen3Config", "Qwen3ForCausalLM", DENSE[:-1] + ", head_dim=w // 8)"),
    "Gemma 2": Family("Gemma2Config", "Gemma2ForCausalLM", DENSE[:-1] + ", head_dim=w // 8)"),
    "OLMo 2": Family("Olmo2Config", "Olmo2ForCausalLM", DENSE),
    "OLMoE": Family("OlmoeConfig", "OlmoeForCausalLM", DENSE[:-1] + ", num_experts=8, num_experts_per_tok=2)"),
    "GPT-NeoX": Family("GPTNeoXConfig", "GPTNeoXForCausalLM", LLAMA + ")"),
    "OPT": Family(
        "OPTConfig", "OPTForCausalLM", LLAMA.replace("intermediate_size", "ffn_dim") + "word_embed_proj_dim=w)"
    ),
    "Phi": Family("PhiConfig", "PhiForCausalLM", LLAMA + ")"),
    "StableLM": Family("StableLmConfig", "StableLmForCausalLM", DENSE),
    "Granite": Family("GraniteConfig", "GraniteForCausalLM", DENSE),
    "Cohere": Family("CohereConfig", "CohereForCausalLM", DENSE),
    "Starcoder 2": Family("Starcoder2Config", "Starcoder2ForCausalLM", DENSE),
    "SmolLM 3": Family("SmolLM3Config", "SmolLM3ForCausalLM", DENSE[:-1] + ", pad_token_id=0)"),
    "gpt-oss": Family(
        "GptOssConfig", "GptOssForCausalLM",
        DENSE[:-1] + ", head_dim=w // 8, num_local_experts=8, num_experts_per_tok=2)",
    ),
    "BERT": Family("BertConfig", "BertForMaskedLM", LLAMA + "max_position_embeddings=2048)"),
    "RoBERTa": Family("RobertaConfig", "RobertaForMaskedLM", LLAMA + "max_position_embeddings=2050)"),
    "Mamba 2": Family(
        "Mamba2Config", "Mamba2ForCausalLM",
        "dict(hidden_size=w, num_hidden_layers=8, num_heads=8, head_dim=w // 4, state_size=16)", formula=False,
    ),
    "T5": Family(
        "T5Config", "T5ForConditionalGeneration",
        "dict(d_model=w, d_ff=3 * w, num_layers=4, num_heads=8, d_kv=w // 8, decoder_start_token_id=0)", layers=12,
    ),
}  # fmt: skip


def factory(family: Family):
    """What builds a model of a width; the glue that a study needs, two lines besides the configuration."""
    import transformers

    def build(width):
        given = {"vocab_size": VOCABULARY, "use_cache": False, **eval(family.more, {"w": width})}
        return getattr(transformers, family.model)(getattr(transformers, family.config)(**given))

    build.__name__ = family.model
    return build


def by_hand(model, attention_layers: int) -> float:
    """FLOPs per token: 6 for every weight that it is multiplied by, and attention over the whole context."""
    from torch import nn

    linear = {id(module.weight): module.weight.numel() for module in model.modules() if type(module) is nn.Linear}
    linear |= {id(part.weight): part.weight.numel() for part in model.modules() if type(part).__name__ == "Conv1D"}
    stacked = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 3)
    routers = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and ("router" in name or name.endswith("gate.weight")) and id(parameter) not in linear
    )
    return 6 * (sum(linear.values()) + routers + stacked * TOP / EXPERTS) + 12 * attention_layers * WIDTH * CONTEXT


def measure(name: str) -> dict[str, object]:
    """One family, in this process."""
    import torch

    from flops_fit import build_size_map
    from flops_fit.loss import model_loss

    family = FAMILIES[name]
    build = factory(family)
    tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
    options = {
        "flops": "measured", "sample_batch": {"input_ids": tokens, "labels": tokens}, "loss_fn": model_loss,
        "tokens_per_example": CONTEXT, "param_count": "total",
    }  # fmt: skip
    (one,) = build_size_map(build, "width", size_values=[WIDTH], **options).entries
    with torch.device("meta"):
        model = build(WIDTH)
    began, processor = time.monotonic(), time.process_time()
    whole = build_size_map(build, "width", **options)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "family": name,
        "N": one.num_params,
        "own N": model.num_parameters(),
        "FLOPs": one.flops_per_token,
        "by hand": by_hand(model, family.layers) if family.formula else None,
        "active": one.active_params,
        "sizes": len(whole.entries),
        "largest": whole.entries[-1].num_params,
        "worked out": sum("worked out" in note for note in whole.notes),
        "seconds": time.monotonic() - began,
        "processor": time.process_time() - processor + children.ru_utime + children.ru_stime,
        "memory": 1024 * max(own.ru_maxrss, children.ru_maxrss),
    }


def row(found: dict) -> str:
    if "error" in found:
        return f"| {found['family']} | {found['error']} |" + " |" * 7
    right = "same" if found["N"] == found["own N"] else f"{found['own N']:,}"
    hand = "" if found["by hand"] is None else f"{found['FLOPs'] / found['by hand'] - 1:+.2%}"
    active = "" if found["active"] is None else f"{found['active'] / 1e6:.1f}M"
    return (
        f"| {found['family']} | {found['N'] / 1e6:.1f}M | {right} | {active} | {found['FLOPs']:.4g} | {hand} | "
        f"{found['sizes']} to {found['largest']:.2g} | {found['processor']:.0f} ({found['seconds']:.0f}) | "
        f"{found['memory'] / 1e9:.2f} GB |"
    )


def main(names: list[str]) -> None:
    from written import write_page

    rows = []
    for name in names or FAMILIES:
        done = subprocess.run([sys.executable, __file__, "one", name], capture_output=True, text=True, check=False)
        last = (done.stdout.splitlines() or [""])[-1]
        failed = {"family": name, "error": (done.stderr.splitlines() or ["ended"])[-1][:120]}
        rows.append(row(json.loads(last) if done.returncode == 0 else failed))
        print(rows[-1], flush=True)
        write_page(__file__, "Public model families", TEXT + "\n".join(rows))


TEXT = f"""Hugging Face configurations with {LAYERS} layers (T5: 4 and 4), {HEADS} heads, a vocabulary of
{VOCABULARY:,} and a context of {CONTEXT:,}; N, FLOPs per token and active parameters at width {WIDTH}; maps with
measured FLOPs up to 1e11 parameters. "By hand" is 6 FLOPs for the weights of every `nn.Linear`, of experts for the
share that a token meets, and 12·layers·width·context of attention in full. Seconds are of processor time, in brackets
by the clock, on shared cores.

| family | N | the library's own | active | FLOPs per token | against by hand | sizes | seconds | peak memory |
|---|---|---|---|---|---|---|---|---|
"""

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
