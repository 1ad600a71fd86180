"""Strangers stay out: requests that another site's page can send to Dagster's web server change nothing."""

import asyncio
import http.client
import json
import threading
import warnings
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import uvicorn
import websockets
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from pipeline_study import DAGSTER_WARNINGS
from webdriver import free_port, wait_for

from flops_fit.errors import FlopsFitError
from flops_fit_assets.pages.guard import Guard, checked_hosts

pytestmark = DAGSTER_WARNINGS
PAGES, FOREIGN = "pages.example.com", "https://evil.example"
JSON = {"Content-Type": "application/json"}


class Server:
    """Dagster's web server on this machine, over an instance of its own."""

    def __init__(self, instance, port):
        self.instance, self.port, self._count = instance, port, 0

    @property
    def here(self):
        return f"127.0.0.1:{self.port}"

    def mutation(self):
        """One that no other request has sent, and a function that tells whether it was carried out."""
        self._count += 1
        name = f"pool{self._count}"
        text = f'mutation {{ setConcurrencyLimit(concurrencyKey: "{name}", limit: 3) }}'
        return text, lambda: name in self.instance.event_log_storage.get_concurrency_keys()

    def send(self, method, path, headers, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        content = None if body is None else body.encode()
        for name, value in {"Host": self.here, **headers, "Content-Length": len(content or b"")}.items():
            connection.putheader(name, str(value))
        connection.endheaders(content)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text


@contextmanager
def serving(guarded, folder):
    from dagster_webserver.app import create_app_from_workspace_process_context  # two seconds, for these tests alone

    with (
        DagsterInstance.local_temp(str(folder)) as instance,
        WorkspaceProcessContext(instance, workspace_load_target=EmptyWorkspaceTarget()) as context,
    ):
        app, port = create_app_from_workspace_process_context(context), free_port()
        app = Guard(app=app, allowed=checked_hosts([PAGES, "10.0.0.7:8080"])) if guarded else app
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="websockets-sansio"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_for(lambda: server.started, 60, "the web server")
            yield Server(instance, port)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with serving(True, tmp_path_factory.mktemp("guarded")) as server:
            yield server


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Without the guard: what is refused with it must be carried out here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with serving(False, tmp_path_factory.mktemp("bare")) as server:
            yield server


def by_url(text):
    return f"/graphql?query={quote(text)}"


def as_json(text):
    return json.dumps({"query": text})


STRANGERS = {
    "an image or a link": lambda text: ("GET", by_url(text), {}),
    "a script that asks for a page": lambda text: ("GET", by_url(text), {"Accept": "TEXT/HTML"}),
    "a path with a line end": lambda text: ("GET", by_url(text).replace("?", "%0A?"), {}),
    "a form": lambda text: ("POST", by_url(text), {"Content-Type": "application/x-www-form-urlencoded"}),
    "a form with files": lambda text: ("POST", by_url(text), {"Content-Type": "multipart/form-data; boundary=x"}),
    "text": lambda text: ("POST", by_url(text), {"Content-Type": "text/plain"}),
    "nothing in it": lambda text: ("POST", by_url(text), {}),
    "JSON called text": lambda text: ("POST", "/graphql", {"Content-Type": "text/plain;application/json"},
                                      as_json(text)),
    "GraphQL as such": lambda text: ("POST", "/graphql", {"Content-Type": "application/graphql"}, text),
    "JSON of a foreign page": lambda text: ("POST", "/graphql", JSON | {"Origin": FOREIGN}, as_json(text)),
    "JSON of another port": lambda text: ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:1"}, as_json(text)),
    "JSON of a sandboxed frame": lambda text: ("POST", "/graphql", JSON | {"Origin": "null"}, as_json(text)),
    "JSON of a name that is like ours": lambda text: (
        "POST", "/graphql", JSON | {"Origin": f"https://{PAGES}.evil.example"}, as_json(text)),
    "a foreign name for this machine": lambda text: (
        "POST", "/graphql", JSON | {"Host": "evil.example:3000"}, as_json(text)),
    "a foreign name, by the same page": lambda text: (
        "POST", "/graphql", JSON | {"Host": "evil.example", "Origin": "http://evil.example"}, as_json(text)),
    "a host that is none": lambda text: ("POST", "/graphql", JSON | {"Host": "localhost@evil.example"}, as_json(text)),
    "the address of all networks": lambda text: ("POST", "/graphql", JSON | {"Host": "0.0.0.0:3000"}, as_json(text)),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_a_foreign_page_can_send_changes_nothing(server, bare, kind):
    text, carried_out = server.mutation()
    answer, said = server.send(*STRANGERS[kind](text))
    assert not carried_out()
    assert answer.status == 403
    assert said.startswith("flops-fit ui refuses this request: ")
    text, carried_out = bare.mutation()
    answer, _ = bare.send(*STRANGERS[kind](text))
    assert answer.status == 200
    assert carried_out()


OWNERS = {
    "a program on this machine": {},
    "the pages": {"Origin": "http://127.0.0.1:{port}"},
    "the pages by name": {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
    "the pages through a tunnel on another port": {"Host": "localhost:8080", "Origin": "http://localhost:8080"},
    "the pages by IPv6": {"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"},
    "a proxy that hands the name on": {"Host": PAGES, "Origin": f"https://{PAGES}"},
    "a proxy that does not": {"Origin": f"https://{PAGES}"},
    "a proxy on a port": {"Host": "10.0.0.7:8080", "Origin": "http://10.0.0.7:8080"},
}


@pytest.mark.parametrize("kind", OWNERS)
def test_the_owner_is_let_in(server, kind):
    text, carried_out = server.mutation()
    headers = {name: value.format(port=server.port) for name, value in OWNERS[kind].items()}
    answer, said = server.send("POST", "/graphql", {"Content-Type": "application/json; charset=utf-8"} | headers,
                               as_json(text))  # fmt: skip
    assert carried_out(), said
    assert answer.status == 200


@pytest.mark.parametrize("headers", [{"Origin": FOREIGN}, {"Content-Type": "text/plain"}, {"Host": "evil.example"}])
def test_an_asset_cannot_be_reported_by_a_stranger(server, headers):
    answer, _ = server.send("POST", "/report_asset_materialization/law", JSON | headers, "{}")
    assert answer.status == 403
    assert server.instance.all_asset_keys() == []


def test_the_pages_themselves_are_served_and_cannot_be_framed(server):
    for path in ("/", "/asset-groups?query=law", "/graphql", "/server_info"):
        answer, text = server.send("GET", path, {"Accept": "text/html"})
        assert answer.status == 200, path
        assert text
        assert answer.getheader("X-Frame-Options") == "SAMEORIGIN"
    assert server.send("GET", "/", {"Host": "evil.example"})[0].status == 403


def subscribed(server, origin):
    """The first answer on a WebSocket opened by a page of `origin`, or the status with which it was refused."""

    async def ask():
        address = f"ws://127.0.0.1:{server.port}/graphql"
        try:
            async with websockets.connect(address, origin=origin, subprotocols=["graphql-ws"], proxy=None) as socket:
                await socket.send(json.dumps({"type": "connection_init"}))
                return json.loads(await socket.recv())
        except websockets.InvalidStatus as error:
            return error.response.status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("origin", [FOREIGN, "http://127.0.0.1:1", "null"])
def test_a_foreign_page_opens_no_websocket(server, origin):
    assert subscribed(server, origin) == 403


@pytest.mark.parametrize("own", [True, False], ids=["the pages", "a program"])
def test_a_websocket_of_ones_own_opens(server, own):
    assert subscribed(server, f"http://{server.here}" if own else None) == {"type": "connection_ack"}


@pytest.mark.parametrize("host", ["https://pages.example.com", "pages.example.com/x", "", "a b", "me@example.com"])
def test_what_is_no_host_is_refused_before_anything_starts(host):
    with pytest.raises(FlopsFitError, match=r"--allow-host .* is not a host; give what the browser shows"):
        checked_hosts([host])
