"""A code location whose runs say what they are, are killed, wait or fail."""

import os
import signal
import time
from pathlib import Path

import dagster as dg
import numpy as np
from forked_value import VALUE

LOADED_BY = os.getpid()
SETTING = Path(__file__).with_name("setting.txt").read_text()


@dg.asset
def says() -> dg.MaterializeResult:
    number = float(np.random.rand())  # noqa: NPY002  what is looked at is the generator of the process
    return dg.MaterializeResult(
        metadata={"value": VALUE, "setting": SETTING, "loaded by": LOADED_BY, "runs in": os.getpid(), "number": number}
    )


@dg.asset
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dg.asset
def waits() -> None:
    Path(__file__).with_name("begun").touch()
    for _ in range(600):
        if Path(__file__).with_name("go on").exists():
            return
        time.sleep(0.1)


defs = dg.Definitions([says, dies, waits], executor=dg.in_process_executor)
