"""A model whose module, as AWKWARD in the environment says, ends or blocks the process that imports it."""

import ctypes
import os
import subprocess
import sys
import threading
import time

KIND = os.environ.get("AWKWARD")
if KIND == "segfault":
    ctypes.string_at(0)
if KIND == "os._exit":
    os._exit(0)
if KIND == "sys.exit":
    sys.exit(0)
if KIND == "loop":
    while True:
        pass
if KIND == "wait":
    open(os.environ["AWKWARD_THERE"], "w").close()
    time.sleep(600)
if KIND == "cleans up":
    try:
        open(os.environ["AWKWARD_THERE"], "w").close()
        time.sleep(600)
    finally:
        begun = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(os.environ["AWKWARD_THERE"] + "_still", "w") as file:
            file.write(f"{begun.pid} ")
        begun.wait()
if KIND == "closes":
    os.closerange(3, 256)
    os._exit(0)
if KIND == "thread":
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise ValueError("and leaves a thread behind")


class Awkward:
    """Never built."""
