"""A training whose files go to a storage while it runs, as a worker process does it, to be killed there."""

import os

from flops_fit_assets.headless.dagster_runs import train_partition
from flops_fit_assets.storage import background_upload


def train(payload, emit):
    """The task of a worker: says its process, then trains the experiment; its files are stored 50 times a second."""
    name, runs = payload
    background_upload.UPLOAD_SECONDS = 0.02
    emit({"process": os.getpid()})
    return train_partition(name, lambda event: None, runs)
