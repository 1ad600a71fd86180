"""What another site can do to the pages from the owner's own browser, a real Chromium: nothing."""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest
from dagster_pages import ask, repository_of, runs
from pipeline_study import DAGSTER_WARNINGS, materializations
from webdriver import CHROMEDRIVER, CHROMIUM, browser, wait_for

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs Chromium and chromedriver on the PATH"),
    *DAGSTER_WARNINGS,
]

# Every way in which a page can send a request; `window.left` counts those that have not ended.
ATTACK = """
    const [site, mutations] = arguments;
    const ways = (query, variables) => {
        const body = JSON.stringify({query, variables});
        const all = site + '/graphql?query=' + encodeURIComponent(query)
            + '&variables=' + encodeURIComponent(JSON.stringify(variables));
        const ended = (object, address) => new Promise(done => {
            object.onload = object.onerror = done;
            object.src = address;
        });
        const post = (type, url, content) => fetch(url, {
            method: 'POST', mode: type === 'application/json' ? 'cors' : 'no-cors', body: content,
            headers: {'Content-Type': type}});
        const form = kind => new Promise(done => {
            const frame = document.body.appendChild(document.createElement('iframe'));
            frame.name = 'frame' + Math.random();
            const form = document.body.appendChild(document.createElement('form'));
            Object.assign(form, {method: 'POST', action: all, enctype: kind, target: frame.name});
            frame.onload = () => setTimeout(done, 500);
            form.submit();
        });
        const socket = () => new Promise(done => {
            const opened = new WebSocket(site.replace('http', 'ws') + '/graphql', 'graphql-ws');
            opened.onopen = () => {
                opened.send(JSON.stringify({type: 'connection_init'}));
                opened.send(JSON.stringify({type: 'start', id: '1', payload: {query, variables}}));
                window.opened += 1;
                setTimeout(done, 1000);
            };
            opened.onerror = opened.onclose = done;
        });
        return [
            () => ended(new Image(), all),
            () => ended(document.body.appendChild(document.createElement('iframe')), all),
            () => fetch(all, {mode: 'no-cors'}),
            () => fetch(all, {mode: 'no-cors', headers: {Accept: 'TEXT/HTML'}}),
            () => fetch(all.replace('?', '%0A?'), {mode: 'no-cors'}),
            () => form('application/x-www-form-urlencoded'),
            () => form('multipart/form-data'),
            () => form('text/plain'),
            () => post('text/plain', all, ''),
            () => post('text/plain;application/json', site + '/graphql', body),
            () => post('application/json', site + '/graphql', body),
            async () => navigator.sendBeacon(all),
            socket,
        ];
    };
    window.opened = 0;
    window.sent = 0;
    window.left = 1;
    (async () => {
        await Promise.all(mutations.map(async ([query, variables]) => {
            for (const way of ways(query, variables)) {
                window.sent += 1;
                const tired = new Promise(done => setTimeout(done, 3000));  // some that are refused never end
                try { await Promise.race([way(), tired]); } catch (refused) {}
            }
        }));
        window.left = 0;
    })();
"""
JSON_POST = """
    const [query, variables] = arguments;
    window.left = 1;
    fetch('/graphql', {method: 'POST', headers: {'Content-Type': 'application/json'},
                       body: JSON.stringify({query, variables})}).finally(() => { window.left = 0; });
"""


@contextmanager
def other_site():
    """The address of another site on this machine, with an empty page."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title><body></body>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def mutations(address):
    """What a stranger might want: a run, an asset's history gone, a sensor on, a code location loaded again."""
    repository = repository_of(address)
    pipeline = repository | {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": ["size_map"]}]}
    sensor = repository | {"sensorName": "watch_tiny"}
    name = repository["repositoryLocationName"]
    return [
        ["mutation A($p: ExecutionParams!){launchRun(executionParams: $p){__typename}}",
         {"p": {"selector": pipeline, "runConfigData": {}}}],
        ["mutation A($r: [PartitionsByAssetSelector!]!){wipeAssets(assetPartitionRanges: $r){__typename}}",
         {"r": [{"assetKey": {"path": ["experiment"]}}]}],
        ["mutation A($s: SensorSelector!){startSensor(sensorSelector: $s){__typename}}", {"s": sensor}],
        ["mutation A($n: String!){reloadRepositoryLocation(repositoryLocationName: $n){__typename}}", {"n": name}],
    ]  # fmt: skip


def watch_sensor(address):
    """The id and the status of the sensor that looks for edits."""
    query = "query S($s: SensorSelector!){sensorOrError(sensorSelector: $s){... on Sensor{sensorState{id status}}}}"
    selector = repository_of(address) | {"sensorName": "watch_tiny"}
    return ask(address, query, s=selector)["sensorOrError"]["sensorState"]


def state(home, address):
    """Whatever the mutations would change: runs, history, the sensor, when the location was loaded."""
    loaded = ask(address, "{workspaceOrError{... on Workspace{locationEntries{updatedTimestamp}}}}")
    return {
        "runs": len(runs(address)),
        "history": materializations(home)["experiment"],
        "sensor": watch_sensor(address)["status"],
        "loaded": json.dumps(loaded),
    }


def attack(page, address, wanted):
    page.run(ATTACK, address, wanted)
    wait_for(lambda: page.run("return window.left") == 0, 300, "the attack to end")
    assert page.run("return window.sent") == 13 * len(wanted)


def test_another_sites_page_changes_nothing(pages):
    home, address = pages
    before, wanted = state(home, address), mutations(address)
    with other_site() as site, browser() as page:
        page.open(site)
        attack(page, address, wanted)
        assert page.run("return window.opened") == 0, "a WebSocket was opened"
    assert state(home, address) == before


def test_a_name_that_was_made_to_point_here_changes_nothing(pages):
    home, address = pages
    before, wanted = state(home, address), mutations(address)
    rebound = address.replace("127.0.0.1", "rebound.example")
    with browser(flags=["--host-resolver-rules=MAP rebound.example 127.0.0.1"]) as page:
        page.open(f"{rebound}/asset-groups")
        assert "refuses this request: it is addressed to" in page.text()
        attack(page, rebound, wanted)
        assert page.run("return window.opened") == 0, "a WebSocket was opened"
    assert state(home, address) == before


def test_another_site_cannot_show_the_pages_in_a_frame(pages):
    _, address = pages
    with other_site() as site, browser() as page:
        page.open(site)
        script = "document.body.appendChild(document.createElement('iframe')).src = arguments[0];"
        page.run(script, f"{address}/asset-groups")
        page.look_into_frame()
        page.wait_for_text("127.0.0.1 refused to connect", seconds=60, reload=False)


def test_the_pages_themselves_can_do_all_of_it(pages):
    """The same mutations, sent by the pages: or else nothing above would have been shown."""
    home, address = pages
    before = state(home, address)
    with browser() as page:
        page.open(f"{address}/asset-groups")
        page.wait_for_text("size_map", "sweep_plan")
        for query, variables in mutations(address):
            page.run(JSON_POST, query, variables)
            wait_for(lambda: page.run("return window.left") == 0, 120, query)
    after = state(home, address)
    ask(address, "mutation S($i: String!){stopSensor(id: $i){__typename}}", i=watch_sensor(address)["id"])  # as it was
    assert {name for name in before if before[name] != after[name]} == {"runs", "history", "sensor", "loaded"}
