"""Denoising, as diffusion models are trained: the noise in an image is told from their sum; `width` is the size.

Images are the digits of the vision example. The model draws noise and how much of it itself, and returns its own loss
(`flops_fit.loss:model_loss`); held-out losses of all experiments are of the same draws. One unit of data is an image.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from flops_fit.examples import vision


class Denoiser(nn.Module):
    """A small UNet: down, a layer in the middle, up, with the level of noise as a second channel.

    Shapes: images (B, 16, 16) uint8 → loss ().
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, width, kernel_size=3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1)  # (B, 2 width, 8, 8)
        self.middle = nn.Conv2d(2 * width, 2 * width, kernel_size=3, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1)
        self.last = nn.Conv2d(width, 1, kernel_size=3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the noise that is told from images of all levels of it."""
        clean = images[:, None].to(self.last.weight.dtype) / 128 - 1
        level = torch.rand(len(clean), 1, 1, 1, device=clean.device)  # share of the variance that is noise
        noise = torch.randn_like(clean)
        noisy = (1 - level).sqrt() * clean + level.sqrt() * noise
        return functional.mse_loss(self.noise_in(noisy, level), noise)

    def noise_in(self, noisy: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """(B, 1, 16, 16) and (B, 1, 1, 1) → (B, 1, 16, 16)."""
        fine = functional.silu(self.first(torch.cat([noisy, level.expand_as(noisy)], dim=1)))
        coarse = functional.silu(self.down(fine))
        coarse = coarse + functional.silu(self.middle(coarse))
        return self.last(fine + functional.silu(self.up(coarse)))


class Images(Dataset):
    """Images of the vision example without their labels."""

    def __init__(self, dataset: torch.utils.data.TensorDataset) -> None:
        self.images = dataset.tensors[0]
        self.fingerprint = f"images of {dataset.fingerprint}"  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def train_dataset() -> Images:
    """400,000 images."""
    return Images(vision.train_dataset())


def held_out_dataset() -> Images:
    """8,192 other images."""
    return Images(vision.held_out_dataset())
