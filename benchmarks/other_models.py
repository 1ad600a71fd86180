"""Public model families outside of Hugging Face: counts against published ones, FLOPs against formulas, size maps.

`python benchmarks/other_models.py [family ...]` writes `other_models.md`. The first ones are written anew in plain
torch (`hand_written.py`); x-transformers, vit-pytorch and torchvision are taken where they are installed. For each
family at its published size: N against the published number, FLOPs (of a token, of an image) against the formula; then
a map with measured FLOPs up to 1e11 parameters: seconds, seconds of processor time, peak memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

CONTEXT = 1024


@dataclass(frozen=True)
class Family:
    """`make` gives the factory; `published` is N at `size`; `flops` the formula, of a size; images or tokens."""

    make: Callable[[], Any]
    dial: str
    size: int
    published: int | None
    flops: Callable[[int], float]
    images: bool = False


def of_text(name: str, dial: str, size: int, published: int | None, flops: Callable[[Any, int], float]) -> Family:
    """One of `hand_written`, on tokens; `flops` takes that module and a size."""
    import hand_written

    return Family(lambda: getattr(hand_written, name), dial, size, published, partial(flops, hand_written))


def of_images(name: str, size: int, published: int, flops: str) -> Family:
    import hand_written

    make = lambda: getattr(hand_written, name)  # noqa: E731
    return Family(make, "width", size, published, getattr(hand_written, flops), images=True)


def x_transformers() -> Any:
    from x_transformers import Decoder, TransformerWrapper

    def decoder(width: int) -> Any:
        layers = Decoder(dim=width, depth=8, heads=width // 64)
        return TransformerWrapper(num_tokens=32000, max_seq_len=CONTEXT, attn_layers=layers)

    return decoder


def x_transformers_flops(width: int) -> float:
    """Eight layers of 4·w² and 8·w², and the head; heads of 64."""
    return 6 * (8 * 12 * width**2 + 32000 * width) + 12 * 8 * width * CONTEXT


def vit_pytorch() -> Any:
    with suppress(ImportError, RuntimeError):
        import torchvision  # noqa: F401
    if "torchvision" not in sys.modules:  # its package imports it for what is not used here
        sys.modules["torchvision"] = stand_in = ModuleType("torchvision")
        stand_in.transforms = None  # type: ignore[attr-defined]
    from vit_pytorch import ViT

    def vit(width: int) -> Any:
        return ViT(
            image_size=224, patch_size=16, num_classes=1000, dim=width, depth=12, heads=width // 64, mlp_dim=4 * width
        )

    return vit


def vit_pytorch_flops(width: int) -> float:
    """Its patches are normalised before they are embedded, so that their gradient is needed there."""
    encoder = 197 * (6 * 12 * 12 * width**2 + 12 * 12 * width * 197)
    return encoder + 6 * 196 * 768 * width + 6 * width * 1000


def torchvision() -> Any:
    from torchvision.models.resnet import Bottleneck, ResNet

    return lambda width: ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=width)


def torchvision_flops(width: int) -> float:
    """Only the 3×3 convolutions and what is beside them widen (`width_per_group`)."""
    total, given = 4 * 147 * 64 * 112**2, 64
    for stage, count in enumerate((3, 4, 6, 3)):
        inner, made, side = width * 2**stage, 256 * 2**stage, 56 // 2**stage
        for block in range(count):
            before = side * 2 if stage and not block else side
            total += 6 * (given * inner * before**2 + (9 * inner**2 + inner * made) * side**2)
            total += 6 * given * made * side**2 * (not block)
            given = made
    return total + 6 * 2048 * 1000


def families() -> dict[str, Family]:
    return {
        "nanoGPT, by width": of_text(
            "NanoGPT", "width", 768, 124_439_808, lambda made, w: made.nano_gpt_flops(w, 12, CONTEXT)
        ),
        "nanoGPT, by depth": of_text(
            "NanoGPT", "depth", 12, 124_439_808, lambda made, depth: made.nano_gpt_flops(768, depth, CONTEXT)
        ),
        "Mamba": of_text("Mamba", "width", 768, 129_135_360, lambda made, w: made.mamba_flops(w, 24, CONTEXT)),
        "RWKV-4": of_text("Rwkv", "width", 768, 169_342_464, lambda made, w: made.rwkv_flops(w, 12, CONTEXT)),
        "linear attention": of_text(
            "LinearAttention", "width", 512, None, lambda made, w: made.linear_attention_flops(w, CONTEXT)
        ),
        "ViT-B/16": of_images("VisionTransformer", 768, 86_567_656, "vision_transformer_flops"),
        "ResNet-50": of_images("ResNet", 64, 25_557_032, "resnet_flops"),
        "x-transformers": Family(x_transformers, "width", 512, None, x_transformers_flops),
        "vit-pytorch": Family(vit_pytorch, "width", 768, None, vit_pytorch_flops, images=True),
        "torchvision ResNet-50": Family(torchvision, "width", 64, 25_557_032, torchvision_flops, images=True),
    }


def measure(name: str) -> dict[str, object]:
    """One family, in this process."""
    import torch

    from flops_fit import build_size_map
    from flops_fit.loss import cross_entropy

    family = families()[name]
    make = family.make()
    batch = (
        (torch.zeros(1, 3, 224, 224), torch.zeros(1, dtype=torch.long))
        if family.images
        else (torch.zeros(1, CONTEXT, dtype=torch.long),) * 2
    )
    options = {
        "flops": "measured", "sample_batch": batch, "loss_fn": cross_entropy, "param_count": "total",
        "tokens_per_example": 1 if family.images else CONTEXT,
    }  # fmt: skip
    (one,) = build_size_map(make, family.dial, size_values=[family.size], **options).entries
    with torch.device("meta"):
        parts = {id(part): part.numel() for part in make(**{family.dial: family.size}).parameters()}
    began, processor = time.monotonic(), time.process_time()
    whole = build_size_map(make, family.dial, **options)
    children, own = (resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
    return {
        "family": name,
        "N": one.num_params,
        "right": one.num_params == (family.published or sum(parts.values())),
        "published": family.published is not None,
        "FLOPs": one.flops_per_token,
        "by hand": family.flops(family.size),
        "sizes": len(whole.entries),
        "largest": whole.entries[-1].num_params,
        "worked out": sum("worked out" in note for note in whole.notes),
        "seconds": time.monotonic() - began,
        "processor": time.process_time() - processor + children.ru_utime + children.ru_stime,
        "memory": 1024 * max(own.ru_maxrss, children.ru_maxrss),
    }


def row(found: dict) -> str:
    if "error" in found:
        return f"| {found['family']} | {found['error']} |" + " |" * 5
    right = ("as published" if found["published"] else "as its parameters") if found["right"] else "OTHER"
    return (
        f"| {found['family']} | {found['N']:,} | {right} | {found['FLOPs']:.4g} | "
        f"{found['FLOPs'] / found['by hand'] - 1:+.3%} | {found['sizes']} to {found['largest']:.2g} | "
        f"{found['processor']:.0f} ({found['seconds']:.0f}) | {found['memory'] / 1e9:.2f} GB |"
    )


def main(names: list[str]) -> None:
    from written import write_page

    rows = []
    for name in names or families():
        done = subprocess.run([sys.executable, __file__, "one", name], capture_output=True, text=True, check=False)
        last = (done.stdout.splitlines() or [""])[-1]
        said = (done.stderr.splitlines() or ["ended"])[-1][:120]
        failed = {"family": name, "error": "not installed here" if said.startswith("ModuleNotFound") else said}
        rows.append(row(json.loads(last) if done.returncode == 0 else failed))
        print(rows[-1], flush=True)
        write_page(__file__, "Public model families outside of Hugging Face", TEXT + "\n".join(rows))


TEXT = f"""Those without a package's name are written anew in plain torch with the published shapes
(`hand_written.py`); scans are sums of exponentials, which multiply no matrices. N and FLOPs (of a token at a context
of {CONTEXT:,}; of an image of 224 × 224) at the published size, FLOPs against a formula worked out from the shapes;
maps with measured FLOPs up to 1e11 parameters. Seconds are of processor time, in brackets by the clock, on cores that
others used too.

| family | N | which is | FLOPs | against the formula | sizes | seconds | peak memory |
|---|---|---|---|---|---|---|---|
"""

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
