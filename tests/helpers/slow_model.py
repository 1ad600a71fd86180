"""A model whose trainings last long enough to be interrupted."""

import os
import signal
import time
from pathlib import Path

from tiny_study import TinyMLP


class Lingers(TinyMLP):
    """Waits before each step."""

    def forward(self, inputs):
        time.sleep(0.05)
        return super().forward(inputs)


class LingersIfTold(TinyMLP):
    """Waits before each step for as many seconds as `FLOPS_FIT_LINGER` says."""

    def forward(self, inputs):
        if self.training and not inputs.is_meta:
            time.sleep(float(os.environ.get("FLOPS_FIT_LINGER", "0")))
        return super().forward(inputs)


class HoldsOn(TinyMLP):
    """Its training waits in the 20th step of its process as long as there is a file `hold` in `folder`."""

    steps = 0

    def __init__(self, width, folder):
        super().__init__(width)
        self.hold = Path(folder) / "hold"

    def forward(self, inputs):
        if self.training and not inputs.is_meta:
            HoldsOn.steps += 1
            while HoldsOn.steps == 20 and self.hold.exists():
                time.sleep(0.02)
        return super().forward(inputs)


class InterruptsWhenBuilt(TinyMLP):
    """Sends Ctrl-C to the process that `FLOPS_FIT_INTERRUPTS` names, and is not built for a long time."""

    def __init__(self, width):
        super().__init__(width)
        os.kill(int(os.environ["FLOPS_FIT_INTERRUPTS"]), signal.SIGINT)
        time.sleep(60)
