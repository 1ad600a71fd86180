"""A model whose module makes double precision the default, as a user's may, and that changes what it can itself."""

import os

import torch
from tiny_study import TinyMLP

torch.set_default_dtype(torch.float64)


class Double(TinyMLP):
    def __init__(self, width, dropout=0.0):
        if torch.get_default_dtype() is not torch.float64:
            raise RuntimeError("what the module set at its import is gone")
        super().__init__(width, dropout)

    def forward(self, inputs):
        os.chdir("/")
        torch.set_default_dtype(torch.float16)
        return super().forward(inputs.to(torch.float64))
