"""When `flops-fit ui` says where the pages are, and what it says where they are not.

A stand-in for Dagster is late, ends or is without a guard, which Dagster itself cannot be made to.
"""

import http.client
import io
import sys

import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study
from rich.console import Console
from webdriver import free_port

from flops_fit.errors import FlopsFitError
from flops_fit_assets.commands import ui

pytestmark = DAGSTER_WARNINGS

STAND_IN = """
import http.server, pathlib, sys, time

class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(int(sys.argv[2]))
        self.server.ended |= self.path == "/end"
    def log_message(self, *said):
        pass

while not pathlib.Path("open").exists():
    time.sleep(0.02)
with http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Pages) as server:
    server.ended = False
    while not server.ended:
        server.handle_request()
sys.exit(7)
"""


class Reader(io.StringIO):
    """Keeps each line with what the pages answer at that moment; opens them once they are late, ends them once they are
    there."""

    def __init__(self, folder, port):
        super().__init__()
        self.open, self.port, self.lines = folder / "open", port, []

    def write(self, text):
        if text.strip():
            self.lines.append((text.strip(), self.answer("/")))
            if "no answer" in text:
                self.open.touch()
            elif "(Ctrl-C" in text:
                self.answer("/end")
        return len(text)

    def answer(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionRefusedError:
            return None
        finally:
            connection.close()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A function that serves the stand-in, which answers with `status`: its reader, and the error at the end."""
    study = write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))

    def serve(status=403, script=STAND_IN, opened=False):
        if opened:
            (tmp_path / "open").touch()
        port = free_port()
        reader = Reader(tmp_path, port)
        monkeypatch.setattr(ui, "dagster_command", lambda *_: [sys.executable, "-c", script, str(port), str(status)])
        with pytest.raises(FlopsFitError) as ended:
            ui.serve(study, port, Console(file=reader))
        return reader, str(ended.value)

    return serve


def test_the_address_is_said_when_it_answers_and_that_dagster_ended_when_it_did(served):
    reader, ended = served(opened=True)
    assert reader.lines == [
        ("tiny: its pages are being opened, which takes some ten seconds", None),
        (f"tiny: http://127.0.0.1:{reader.port}/assets/study/progress (Ctrl-C ends it)", 403),
    ]
    assert ended.startswith("Dagster ended by itself, with exit code 7: its web server or its daemon was killed")


def test_where_it_does_not_answer_for_long_that_is_said_once_and_it_is_waited_for(served, monkeypatch):
    monkeypatch.setattr(ui, "_PATIENCE_SECONDS", 0.1)
    reader, _ = served()
    address = f"tiny: http://127.0.0.1:{reader.port}/assets/study/progress"
    assert reader.lines[1:] == [
        (f"{address} (no answer in 0.1 s, and still waited for; Ctrl-C ends it)", None),
        (f"{address} (Ctrl-C ends it)", 403),
    ]


def test_where_dagster_ends_before_it_answers_there_is_no_address(served):
    reader, ended = served(script="raise SystemExit(3)")
    assert ended == "Dagster ended with exit code 3 before its pages answered; see what it printed above"
    assert len(reader.lines) == 1


def test_pages_without_a_guard_have_no_address(served):
    reader, ended = served(status=404, opened=True)
    assert "nothing guards them and they are closed again" in ended
    assert len(reader.lines) == 1
