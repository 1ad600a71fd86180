"""A Hugging Face causal language model, made from its configuration, on the standard library's bytes.

Needs `pip install "flops-fit[hf]"`. The model computes its own loss and shifts the labels itself, so examples are
mappings with `labels` equal to `input_ids`, and the loss of the study is `flops_fit.loss:model_loss`:

```toml
name = "huggingface"
[model]
factory = "flops_fit.examples.huggingface:llama"      # or gpt2
size_param = "width"
kwargs = { num_layers = 4 }
flops = "measured"
[data]
train = "flops_fit.examples.huggingface:train_dataset"
eval = "flops_fit.examples.huggingface:held_out_dataset"
[loss]
fn = "flops_fit.loss:model_loss"
[sweep]
compute_budgets = [1e13, 3e13, 1e14]
```
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from flops_fit.examples.stdlib_corpus import HELD_OUT_BYTES, corpus_hash, read_corpus

CONTEXT = 2048
VOCABULARY = 128
HEAD_WIDTH = 16


def llama(width: int, num_layers: int = 4, context: int = CONTEXT, head_width: int = HEAD_WIDTH) -> Any:
    """A Llama with `width` channels, a multiple of `head_width`, without a key-value cache."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=num_layers,
        num_attention_heads=width // head_width,
        max_position_embeddings=context,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def gpt2(width: int, num_layers: int = 4) -> Any:
    """A GPT-2 with `width` channels, a multiple of 16, without dropout (one pass over the data does not overfit)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=width,
        n_layer=num_layers,
        n_head=width // HEAD_WIDTH,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


class Sequences(Dataset[dict[str, torch.Tensor]]):
    """Text in sequences of `context` bytes without overlap: `{"input_ids": (context,), "labels": (context,)}`.

    The labels are the inputs themselves: the model predicts each byte but the first from those before it.
    """

    def __init__(self, text: bytes, part: str, context: int) -> None:
        count = len(text) // context
        stream = np.frombuffer(text[: count * context], dtype=np.uint8).astype(np.int64)
        self.sequences = torch.from_numpy(stream).view(count, context)
        self.fingerprint = f"stdlib causal {part} {context} {corpus_hash()}"

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sequence = self.sequences[index]
        return {"input_ids": sequence, "labels": sequence}


def train_dataset(context: int = CONTEXT) -> Sequences:
    """All of the corpus but its end."""
    return Sequences(read_corpus()[:-HELD_OUT_BYTES], "train", context)


def held_out_dataset(context: int = CONTEXT) -> Sequences:
    """The last 131,072 bytes."""
    return Sequences(read_corpus()[-HELD_OUT_BYTES:], "held-out", context)
