"""A model whose trainings last long enough to be interrupted."""

import time

from tiny_study import TinyMLP


class Lingers(TinyMLP):
    """Waits before each step."""

    def forward(self, inputs):
        time.sleep(0.05)
        return super().forward(inputs)
