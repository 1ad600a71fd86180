"""A dataset whose class is defined in a function is the same data in the process that it is sent to."""

import os
import subprocess
import sys

import cloudpickle
import pytest
import torch
from tiny_study import tiny_study
from torch.utils.data import Dataset, IterableDataset

from flops_fit import DataSpec

CHILD = "import pickle, sys; print(pickle.load(sys.stdin.buffer).outcome_fingerprint())"


def of_a_function(stream):
    """Train and held-out data of classes that only this function knows."""
    rows = torch.arange(4000) % 64

    class Rows(Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            return rows[index], rows[(index * 7) % len(rows)]

    class Streamed(IterableDataset):
        def __iter__(self):
            return (Rows()[index] for index in range(len(rows)))

    return Streamed() if stream else Rows(), Rows()


@pytest.mark.parametrize("stream", [True, False])
def test_its_experiments_are_those_that_were_planned(stream):
    train, held_out = of_a_function(stream)
    study = tiny_study(data=DataSpec(train=train, eval={"first": held_out, "other": held_out}))
    planned = study.outcome_fingerprint()

    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    sent = subprocess.run(
        [sys.executable, "-c", CHILD], input=cloudpickle.dumps(study), capture_output=True, check=False, env=found
    )
    assert sent.stdout.decode().strip() == planned, sent.stderr.decode()[-2000:]
