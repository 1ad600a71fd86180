"""An S3 server on this machine (moto's, a process of its own), with an empty bucket in it."""

import contextlib
import signal
import subprocess
import sys
import urllib.request

import fsspec
from webdriver import free_port, wait_for

BUCKET = "bucket"


class S3Server:
    """`environment` is what lets s3fs find it, and nothing else, from any process."""

    def __init__(self):
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self):
        """Start it, with nothing but the empty bucket: moto keeps all in memory."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, 120, "the S3 server")
        self.files.mkdir(BUCKET)

    @property
    def runs(self):
        """Whether it has been started and not stopped."""
        return self._process.poll() is None

    def _answers(self):
        assert self.runs, "the S3 server ended"
        return urllib.request.urlopen(f"{self.address}/moto-api/").status == 200

    def stop(self):
        """End it, and lose what it holds."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def files(self):
        """The server's files as fsspec has them, unbuffered."""
        return fsspec.filesystem(
            "s3", key="somebody", secret="secret", endpoint_url=self.address, use_listings_cache=False
        )

    def contents(self, folder):
        """Name → content of every object below a folder of the bucket; one that is removed meanwhile is left out."""
        root, found = f"{BUCKET}/{folder}", {}
        for path in self.files.find(root):
            with contextlib.suppress(FileNotFoundError):
                found[path.removeprefix(f"{root}/")] = self.files.cat_file(path)
        return found


@contextlib.contextmanager
def s3_server():
    """A server that runs; variables of this process are left alone."""
    server = S3Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
