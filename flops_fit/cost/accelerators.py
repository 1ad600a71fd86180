"""Peak FLOP/s and memory of common accelerators, as their makers state them, without sparsity."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from flops_fit.errors import StudyError

_NVIDIA = "https://www.nvidia.com"
_A100 = f"{_NVIDIA}/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
_H100 = "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
_V100 = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
_T4 = f"{_NVIDIA}/content/dam/en-zz/Solutions/Data-Center/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_GA102 = "NVIDIA Ampere GA102 GPU architecture whitepaper, appendix A (float32 accumulation)"
_ADA = "NVIDIA Ada GPU architecture whitepaper, appendix A (float32 accumulation)"


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device.

    Attributes:
        peak_flops: FLOP/s by precision: "bf16" (float16 where there is no bfloat16), "tf32", "fp32".
        memory_bytes: of the device.
        source: where the figures are stated.
    """

    peak_flops: Mapping[str, float]
    memory_bytes: float
    source: str


def _device(gigabytes: float, source: str, **teraflops: float) -> Accelerator:
    return Accelerator(
        peak_flops={precision: value * 1e12 for precision, value in teraflops.items()},
        memory_bytes=gigabytes * 1e9,
        source=source,
    )


ACCELERATORS: dict[str, Accelerator] = {
    "A100-40GB": _device(40, _A100, bf16=312, tf32=156, fp32=19.5),
    "A100-80GB": _device(80, _A100, bf16=312, tf32=156, fp32=19.5),
    "H100-SXM": _device(80, _H100, bf16=989.4, tf32=494.7, fp32=67),
    "H100-PCIe": _device(80, _H100, bf16=756, tf32=378, fp32=51),
    "H200-SXM": _device(141, f"{_NVIDIA}/en-us/data-center/h200/", bf16=989.4, tf32=494.7, fp32=67),
    "B200": _device(180, "https://nvdam.widen.net/s/wwnsxrhm2w/blackwell-datasheet-3384703", bf16=2250),
    "L4": _device(24, f"{_NVIDIA}/en-us/data-center/l4/", bf16=121, fp32=30.3),
    "L40S": _device(48, f"{_NVIDIA}/en-us/data-center/l40s/", bf16=362, fp32=91.6),
    "A10": _device(24, f"{_NVIDIA}/content/dam/en-zz/Solutions/Data-Center/a10/pdf/a10-datasheet.pdf",
                   bf16=125, tf32=62.5, fp32=31.2),
    "V100-SXM": _device(32, _V100, bf16=125, fp32=15.7),
    "T4": _device(16, _T4, bf16=65, fp32=8.1),
    "RTX-4090": _device(24, _ADA, bf16=165.2, fp32=82.6),
    "RTX-3090": _device(24, _GA102, bf16=71, fp32=35.6),
    "MI250X": _device(128, "https://www.amd.com/en/products/accelerators/instinct/mi200/mi250x.html",
                      bf16=383, fp32=47.9),
    "MI300X": _device(192, "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html",
                      bf16=1307.4, fp32=163.4),
    "TPU-v4": _device(32, "https://cloud.google.com/tpu/docs/v4", bf16=275),
    "TPU-v5e": _device(16, "https://cloud.google.com/tpu/docs/v5e", bf16=197),
    "TPU-v5p": _device(95, "https://cloud.google.com/tpu/docs/v5p", bf16=459),
}  # fmt: skip


def find_accelerator(name: str, precision: str) -> tuple[Accelerator, float]:
    """A device of the table and its FLOP/s; case and separators of the name do not matter.

    Raises `StudyError` for an unknown device, or a precision that has no figure.
    """
    plain = {_plain(known): known for known in ACCELERATORS}
    known = plain.get(_plain(str(name)))
    if known is None:
        near = difflib.get_close_matches(_plain(str(name)), plain, n=1)
        hint = f"did you mean {plain[near[0]]!r}?" if near else f"known are {', '.join(ACCELERATORS)}"
        raise StudyError(f"hardware.accelerator = {name!r} is not in the table; {hint}; or give peak_flops")
    accelerator = ACCELERATORS[known]
    if precision not in accelerator.peak_flops:
        raise StudyError(
            f"hardware.peak_precision = {precision!r} has no figure for {known}; it must be one of "
            f"{', '.join(accelerator.peak_flops)}"
        )
    return accelerator, accelerator.peak_flops[precision]


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
