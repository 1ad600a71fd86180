"""The files of studies beside Dagster's pages: what is served, how, and what is not."""

import asyncio
import hashlib
import json
import re
import struct
import zlib
from urllib.parse import quote, unquote

import pytest

from flops_fit_assets.pages.files import StudyFiles
from flops_fit_assets.storage.store import StudyStore

NAME = "c1e+06-width8-s0-3f9a2b71"


def png(width, height):
    """A whole PNG of black."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(width)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def home(tmp_path):
    study = tmp_path / "home" / "demo"
    (study / "runs" / NAME).mkdir(parents=True)
    (study / "plots").mkdir()
    (study / "report.html").write_text("<!doctype html><script>1</script>")
    (study / "runs.csv").write_text("a,b\n")
    (study / "plots" / "isoflop.png").write_bytes(png(1000, 600))
    (study / "secret.txt").write_text("no")
    experiment = {"experiment_id": NAME, "num_tokens": 2000, "num_params": 12_000, "compute_budget": 1e6}
    planned = {**experiment, "experiment_id": "c1e+06-width9-s0-00000000"}
    (study / "sweep_plan.json").write_text(json.dumps({"experiments": [experiment, planned]}))
    (tmp_path / "outside.json").write_text("{}")
    (study / "link.json").symlink_to(tmp_path / "outside.json")
    (study / "circle.json").symlink_to(study / "circle.json")
    (study / "folder.json").mkdir()
    return tmp_path / "home"


def get(home, path, method="GET"):
    """Status, headers and body of a request; `None` for one that was handed on to Dagster."""
    answer = {"body": b""}

    async def dagster(scope, receive, send):
        answer["handed on"] = True

    async def send(message):
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]
            answer["headers"] = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer["body"] += message["body"]

    path, _, query = path.partition("?")
    scope = {"type": "http", "method": method, "path": unquote(path), "query_string": query.encode(), "headers": []}
    asyncio.run(StudyFiles(app=dagster, home=home)(scope, None, send))
    return None if "handed on" in answer else (answer["status"], answer["headers"], answer["body"].decode("latin-1"))


def log(home, *lines):
    text = "".join(json.dumps(dict(zip(("tokens", "loss", "seconds"), line, strict=True))) + "\n" for line in lines)
    (home / "demo" / "runs" / NAME / "log.jsonl").write_text(text)


def test_a_report_is_served_where_it_can_ask_dagster_for_nothing(home):
    status, headers, body = get(home, "/flops_fit/demo/report.html")
    assert (status, body) == (200, "<!doctype html><script>1</script>")
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts ")
    assert "allow-same-origin" not in policy
    assert "connect-src 'none'" in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("file", ["runs.csv", "sweep_plan.json"])
def test_tables_open_as_text(home, file):
    status, headers, _ = get(home, f"/flops_fit/demo/{file}")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["secret.txt", "runs", "runs.csv/", "link.json", "../outside.json", "%2e%2e/outside.json", "plots/../runs.csv",
     ".lock", "runs/..", "plots/isoflop.png/../../../outside.json", "nothing.json", "",
     "circle.json", "folder.json", f"{'a' * 300}.json"],
)  # fmt: skip
def test_nothing_else_is_served(home, path):
    assert get(home, f"/flops_fit/demo/{path}")[0] == 404
    assert get(home, f"/flops_fit/../{path}")[0] == 404


@pytest.mark.parametrize("width", ["9" * 5000, "-1", "\u00b2", "430px", ""])
def test_a_width_that_is_none_is_not_heeded(home, width):
    status, headers, _ = get(home, f"/flops_fit/demo/plots/isoflop.png?width={quote(width)}")
    assert (status, headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize("content", [b"", b"\x89PNG", png(0, 0)])
def test_a_torn_figure_is_served_as_it_is(home, content):
    (home / "demo" / "plots" / "torn.png").write_bytes(content)
    status, headers, body = get(home, "/flops_fit/demo/plots/torn.png?width=430")
    assert (status, headers["content-type"], body) == (200, "image/png", content.decode("latin-1"))


@pytest.mark.parametrize(
    ("path", "method"), [("/graphql", "POST"), ("/assets/x", "GET"), ("/flops_fit/demo/runs.csv", "POST")]
)
def test_the_rest_is_dagsters(home, path, method):
    assert get(home, path, method) is None


def test_a_figure_is_as_wide_as_asked_for_and_of_the_fit_that_showed_it(home):
    image = (home / "demo" / "plots" / "isoflop.png").read_bytes()
    version = hashlib.sha256(image).hexdigest()[:16]
    status, headers, body = get(home, f"/flops_fit/demo/plots/isoflop.png?sha256={version}&width=430")
    assert (status, headers["content-type"]) == (200, "image/svg+xml")
    assert 'width="430" height="258"' in body, "1000 by 600"
    assert get(home, f"/flops_fit/demo/plots/isoflop.png?sha256={version}")[1]["content-type"] == "image/png"
    status, _, said = get(home, "/flops_fit/demo/plots/isoflop.png?sha256=0123456789abcdef&width=430")
    assert (status, "was written again since" in said) == (404, True)


def test_a_training_has_a_page_from_its_plan_to_its_end(home):
    address = f"/flops_fit/demo/runs/{quote(NAME)}"
    planned = get(home, "/flops_fit/demo/runs/c1e+06-width9-s0-00000000")[2]
    assert "not begun" in planned
    assert 'http-equiv="refresh"' in planned
    log(home, (10, 4.0, 1.0), (500, 3.0, 50.0))
    under_way = get(home, address)[2]
    for said in (
        "<td>training</td>",
        "500 (25% of 2.00k)",
        "50 s, about 2 min left",
        "<polyline",
        "log.jsonl",
        "refresh",
    ):
        assert said in under_way, said
    result = {"status": "completed", "loss": 2.5, "num_tokens": 2000, "seconds": 200.0}
    (home / "demo" / "runs" / NAME / "result.json").write_text(json.dumps(result))
    ended = get(home, address)[2]
    for said in ("<td>completed</td>", "2.00k (100% of 2.00k)", "<td>2.5000</td>", "held out 2.5", "result.json"):
        assert said in ended, said
    assert "refresh" not in ended


def test_what_failed_says_why_and_nothing_in_it_is_markup(home):
    log(home, (10, 4.0, 1.0))
    result = {"status": "failed", "reason": "<script>alert(1)</script>", "num_tokens": 10}
    (home / "demo" / "runs" / NAME / "result.json").write_text(json.dumps(result))
    _, headers, body = get(home, f"/flops_fit/demo/runs/{NAME}/")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "<script" not in body
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_torn_files_are_no_error(home):
    (home / "demo" / "runs" / NAME / "result.json").write_text("{")
    (home / "demo" / "runs" / NAME / "log.jsonl").write_text('{"tokens": 10, "loss"')
    assert "not begun" in get(home, f"/flops_fit/demo/runs/{NAME}")[2]


def test_no_training_no_page(home):
    assert get(home, "/flops_fit/demo/runs/c1e+06-width7-s0-11111111")[0] == 404
    assert get(home, "/flops_fit/other/runs/c1e+06-width7-s0-11111111")[0] == 404


def test_a_store_knows_the_address_of_its_files_only_where_they_are_served(home):
    path = home / "demo" / "runs" / NAME
    assert StudyStore(directory=home / "demo").address(path) is None
    assert StudyStore(directory=home / "demo", served=True).address(path) == f"/flops_fit/demo/runs/{NAME}"


def test_a_training_that_is_under_way_has_a_curve_of_the_width_asked_for(home):
    address = f"/flops_fit/demo/runs/{NAME}/curve.svg"
    assert get(home, address)[0] == 404
    log(home, (10, 4.0, 1.0), (100, 3.0, 5.0), (500, 2.5, 9.0))
    whole, narrow = (get(home, f"{address}{query}")[2] for query in ("", "?width=280"))
    assert "<polyline" in whole
    (width, height), (small_width, small_height) = (
        (int(found) for found in re.search(r'width="(\d+)" height="(\d+)"', svg).groups()) for svg in (whole, narrow)
    )
    assert (small_width, small_height) == (280, round(280 * height / width))
