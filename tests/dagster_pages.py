"""Dagster's web server and daemon as `flops-fit ui` starts them, and questions to it through GraphQL."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from webdriver import free_port, wait_for


@contextmanager
def served(study, home):
    """The pages of a study; the address."""
    port = free_port()
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    process = subprocess.Popen(
        [sys.executable, "-m", "flops_fit_assets.cli", "ui", str(study), "--port", str(port)],
        env=os.environ | {"FLOPS_FIT_HOME": str(home), "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: urllib.request.urlopen(f"{address}/server_info").status == 200, 180, "the web server")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def ask(address, query, **variables):
    """The data of a GraphQL answer."""
    content = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    return found["data"]


def repository_of(address):
    """The selector of the one repository there is."""
    locations = ask(address, "{repositoriesOrError{... on RepositoryConnection{nodes{name location{name}}}}}")
    (repository,) = locations["repositoriesOrError"]["nodes"]
    return {"repositoryLocationName": repository["location"]["name"], "repositoryName": repository["name"]}


def ticks(address, sensor):
    """The latest ticks of a sensor, newest first: status, timestamp, skipReason, error."""
    query = (
        "query Ticks($s: SensorSelector!){sensorOrError(sensorSelector: $s){... on Sensor{sensorState{"
        "ticks(limit: 12){status timestamp skipReason error{message}}}}}}"
    )
    selector = repository_of(address) | {"sensorName": sensor}
    return ask(address, query, s=selector)["sensorOrError"]["sensorState"]["ticks"]


def launch(address, asset, config):
    """Materialize an asset by hand with the launchpad's `config` of it."""
    mutation = (
        "mutation Launch($p: ExecutionParams!){launchRun(executionParams: $p){__typename "
        "... on LaunchRunSuccess{run{runId}} ... on PythonError{message} "
        "... on RunConfigValidationInvalid{errors{message}}}}"
    )
    selector = repository_of(address) | {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}]}
    parameters = {"selector": selector, "runConfigData": {"ops": {asset: {"config": config}}} if config else {}}
    answer = ask(address, mutation, p=parameters)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


def switch_on(address, sensor):
    """Start a sensor, as its switch on the page does."""
    selector = repository_of(address) | {"sensorName": sensor}
    answer = ask(
        address,
        "mutation On($s: SensorSelector!){startSensor(sensorSelector: $s){__typename ... on Sensor{name}}}",
        s=selector,
    )
    assert answer["startSensor"]["__typename"] == "Sensor", answer


def runs(address):
    """Run id → (status, asset, partition)."""
    query = "{runsOrError(limit: 1000){... on Runs{results{runId status tags{key value} assetSelection{path}}}}}"
    found = {}
    for run in ask(address, query)["runsOrError"]["results"]:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assets = "+".join(sorted(key["path"][-1] for key in run["assetSelection"] or []))
        found[run["runId"]] = (run["status"], assets, tags.get("dagster/partition"))
    return found


def messages(address, run_id):
    """What a run's page tells of it, oldest first."""
    query = (
        "query Log($r: ID!){logsForRun(runId: $r, limit: 1000){__typename "
        "... on EventConnection{events{... on MessageEvent{message}}}}}"
    )
    return [event["message"] for event in ask(address, query, r=run_id)["logsForRun"]["events"]]
