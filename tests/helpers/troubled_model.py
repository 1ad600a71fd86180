"""A model that can be planned, and whose training goes wrong at the widths named in the environment."""

import json
import os
import resource
import signal
import time

import torch
from tiny_study import TinyMLP

VARIABLE = "FLOPS_FIT_TEST_TROUBLES"  # JSON: width → kind of trouble
TIMEOUT = 600.0


class Troubled(TinyMLP):
    """From its third training step on `kind` happens, on any number of examples."""

    def __init__(self, width):
        super().__init__(width)
        self.kind = json.loads(os.environ.get(VARIABLE, "{}")).get(str(width))
        self.steps = 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def forward(self, inputs):
        outputs = super().forward(inputs)
        if self.kind and self.training and inputs.device.type == "cpu":
            self.steps += 1
            if self.steps >= 3:
                return self.go_wrong(outputs)
        return outputs

    def go_wrong(self, outputs):
        if self.kind == "diverged":
            return outputs * float("nan")
        if self.kind == "device memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.kind == "machine memory":
            raise MemoryError
        if self.kind == "error":
            return self.layers[0](outputs.repeat(1, 3))  # THE USER'S LINE
        if self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        if self.kind == "slow" and self.steps == 3:
            later = time.perf_counter
            time.perf_counter = lambda: later() + TIMEOUT + 1.0  # as if the step had taken that long
        return outputs
