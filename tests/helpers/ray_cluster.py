"""A Ray cluster on this machine that shares no port and no folder with another, and an instance that launches on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from paths import DOCS
from webdriver import free_port, wait_for

from flops_fit_assets.instance.home import instance_directory

_PORTS = ("--port", "--dashboard-port", "--dashboard-agent-listen-port", "--dashboard-agent-grpc-port",
          "--runtime-env-agent-port", "--metrics-export-port", "--node-manager-port", "--object-manager-port",
          "--ray-client-server-port")  # fmt: skip


@contextmanager
def ray_cluster(cpus=2):
    """The address that jobs are submitted to. Its processes know nothing of any study."""
    folder = tempfile.mkdtemp(prefix="ray_", dir="/tmp")  # a socket's path may have 107 bytes: shorter than pytest's
    ports = {option: free_port() for option in _PORTS}
    fixed = [text for option, port in ports.items() for text in (option, str(port))]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # a run is the command `dagster`
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLOPS_FIT", "PYTHONPATH"))
    }
    with open(Path(folder) / "started.log", "w") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
                "--node-ip-address=127.0.0.1", *fixed, "--min-worker-port=0", "--max-worker-port=0",
                f"--num-cpus={cpus}", "--num-gpus=0", "--object-store-memory=100000000", f"--temp-dir={folder}/s",
                "--disable-usage-stats",
            ],
            env=environment | {"RAY_USAGE_STATS_ENABLED": "0", "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{ports['--dashboard-port']}"
        wait_for(lambda: _answers(address, process, folder), 120, "Ray's job server")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the dashboard's helpers, which Ray leaves behind
        shutil.rmtree(folder, ignore_errors=True)


def _answers(address, process, folder):
    assert process.poll() is None, (Path(folder) / "started.log").read_text()
    return urllib.request.urlopen(f"{address}/api/version").status == 200


def launch_on(address, home, workers=2):
    """Let the instance in `home` launch its runs on the cluster at `address`, by what docs/cluster.md says to add."""
    config = instance_directory(Path(home), workers) / "dagster.yaml"
    (launcher,) = [section for section in sections_in_docs() if "dagster_ray" in section]
    config.write_text(in_place(config.read_text(), re.sub(r"address: \S+", f"address: {address}", launcher)))


def in_place(config, section):
    """The text of a `dagster.yaml` with `section` in place of the one of that name."""
    name = section.split(":")[0]
    text, count = re.subn(rf"^{name}:.*\n(?: .*\n)+", lambda _: section, config, flags=re.MULTILINE)
    assert count == 1, config
    return text


def sections_in_docs():
    """What docs/cluster.md says to write into `dagster.yaml`."""
    text = (DOCS / "cluster.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
