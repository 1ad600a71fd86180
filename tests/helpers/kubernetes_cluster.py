"""The part of Kubernetes that `K8sRunLauncher` speaks to, on this machine: its API over HTTP, and pods as processes.

Jobs are checked as an API server does that refuses unknown fields, by the schemas of `kubernetes-validate`. A pod has
the variables of its Job and of the secrets that it names, and no others; its image is this interpreter. A volume is a
folder: of a claim one for all pods, of `emptyDir` one for each; a path below its mount in a variable is in that folder.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml
from paths import HELPERS, ROOT
from ray_cluster import sections_in_docs

from flops_fit_assets.instance.home import instance_directory

VERSION = "1.33"
_PATH = re.compile(r"/(?:apis/batch|api)/v1/namespaces/([^/]+)/(jobs|pods|events)(?:/([^/]+))?(?:/(status|log))?")


class Refused(Exception):
    """What the API server does not take: HTTP status and reason."""


class Pod:
    """The process of a Job, in a folder of its own."""

    def __init__(self, job, folder, claims, secrets):
        self.job, self.folder, self.secrets = job, folder, secrets
        (self.container,) = job["spec"]["template"]["spec"]["containers"]
        folder.mkdir(parents=True)
        self.log = folder / "log.txt"
        self.mounts = dict(self._mounted(claims))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.container["args"], env=self.environment(), cwd=folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _mounted(self, claims):
        volumes = {volume["name"]: volume for volume in self.job["spec"]["template"]["spec"].get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            volume = volumes[mount["name"]]
            place = claims / volume["persistentVolumeClaim"]["claimName"] if "persistentVolumeClaim" in volume else None
            place = place or self.folder / mount["name"]
            place.mkdir(parents=True, exist_ok=True)
            yield mount["mountPath"], place

    def environment(self):
        """What is in the image, and what the Job says."""
        image = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(HELPERS), str(ROOT)]),
            "HOME": str(self.folder),
        }
        named = [item["secretRef"]["name"] for item in self.container.get("envFrom", [])]
        secret = {key: value for name in named for key, value in self.secrets[name].items()}
        return image | secret | {item["name"]: self._inside(item["value"]) for item in self.container["env"]}

    def _inside(self, value):
        for path, place in self.mounts.items():
            if value == path or value.startswith(f"{path}/"):
                return f"{place}{value[len(path) :]}"
        return value

    def send(self, number):
        """Send its processes a signal, if they live."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def end(self, grace=30):
        """Ask it to end, and end it."""
        self.send(signal.SIGTERM)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()

    @property
    def status(self):
        """What the Job's status says of it."""
        code = self.process.poll()
        if code is None:
            return {"active": 1}
        return {"succeeded": 1} if code == 0 else {"failed": 1}


class Cluster:
    """Jobs by name, in the order of their coming; their pods, if there are to be any."""

    def __init__(self, folder, secrets):
        self.folder, self.secrets = Path(folder), secrets
        self.jobs, self.pods = {}, {}

    def create(self, job):
        """Take a Job and start its pod."""
        from kubernetes_validate import ValidationError, validate

        try:
            validate(job, VERSION, strict=True)
        except ValidationError as error:
            raise Refused(422, f"{'.'.join(map(str, error.path))}: {error.message}") from None
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise Refused(409, f"{name} is there")
        self.jobs[name] = job
        if self.secrets is not None:
            self.pods[name] = Pod(job, self.folder / "pods" / name, self.folder / "claims", self.secrets)
        return job

    def job(self, name):
        """A Job with its status."""
        if name not in self.jobs:
            raise Refused(404, f"no job {name}")
        status = self.pods[name].status if name in self.pods else {"active": 1}
        return self.jobs[name] | {"status": status}

    def delete(self, name):
        """Forget a Job; its pod is asked to end."""
        found = self.job(name)
        del self.jobs[name]
        threading.Thread(target=self.pods[name].end).start() if name in self.pods else None
        return found

    def pod(self, name):
        """A pod as the API shows it."""
        template = self.jobs[name]["spec"]["template"]
        phase = _PHASES[next(iter(self.job(name)["status"]))]
        metadata = template["metadata"] | {"labels": {"job-name": name}}
        return {"metadata": metadata, "spec": template["spec"], "status": {"phase": phase, "containerStatuses": []}}

    def answer(self, method, path, query, content):
        """What the API server answers."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise Refused(404, f"{path} is not played here")
        _, kind, name, part = found.groups()
        if method == "POST" and kind == "jobs":
            return self.create(content)
        if method == "DELETE":
            return self.delete(name) if kind == "jobs" else self.pod(name) if name in self.jobs else {}
        if kind == "jobs" and name:
            return self.job(name)
        if kind == "pods" and part == "log":
            return self.pods[name].log.read_text(errors="replace")
        selectors = ",".join([*query.get("labelSelector", []), *query.get("fieldSelector", [])])
        asked = re.findall(r"(?:job-name|metadata\.name)=([^,]+)", selectors)
        names = [item for item in asked if item in self.jobs] if kind != "events" else []
        return {"items": [self.job(item) if kind == "jobs" else self.pod(item) for item in names]}


_PHASES = {"active": "Running", "succeeded": "Succeeded", "failed": "Failed"}


@contextmanager
def kubernetes_cluster(folder, secrets=None):
    """A cluster whose `kubeconfig` names this machine; without any `secrets` its Jobs have no pods and wait."""
    cluster = Cluster(folder, secrets)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            content = json.loads(self.rfile.read(length)) if length else None
            try:
                code, said = 200, cluster.answer(self.command, address.path, parse_qs(address.query), content)
            except Refused as refused:
                code, said = refused.args[0], {"kind": "Status", "status": "Failure", "message": refused.args[1]}
            text = said if isinstance(said, str) else json.dumps(said)
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(said, str) else "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cluster.kubeconfig = Path(folder) / "kubeconfig.json"
    cluster.kubeconfig.write_text(json.dumps(_kubeconfig(f"http://127.0.0.1:{server.server_port}")))
    try:
        yield cluster
    finally:
        for pod in cluster.pods.values():
            pod.send(signal.SIGKILL)
            pod.process.wait()
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(server):
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
    }  # fmt: skip


def documented(*, stored=False):
    """The launcher's section of docs/cluster.md; with `stored` as it is where an object store keeps the files."""
    first, second = (section for section in map(yaml.safe_load, sections_in_docs()) if _is_launcher(section))
    if stored:
        first["run_launcher"]["config"] |= second["run_launcher"]["config"]
    return first["run_launcher"]


def _is_launcher(section):
    config = section.get("run_launcher", {}).get("config", {})
    return "env_secrets" in config


def launch_on(cluster, home, workers=2, *, stored=False, change=lambda config: None):
    """Let the instance in `home` launch its runs there, by what docs/cluster.md says; `change` edits its config."""
    written = instance_directory(Path(home), workers) / "dagster.yaml"
    launcher = documented(stored=stored)
    launcher["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    change(launcher["config"])
    settings = yaml.safe_load(written.read_text()) | {"run_launcher": launcher}
    written.write_text(yaml.safe_dump(settings))
    return written.parent
