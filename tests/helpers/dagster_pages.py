"""Dagster's web server and daemon as `flops-fit ui` starts them, and questions to it through GraphQL."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from paths import HELPERS, ROOT
from webdriver import free_port, wait_for

from flops_fit_assets.instance.home import instance_directory


@contextmanager
def served(study, home):
    """The pages of a study as `flops-fit ui` serves them; the address."""
    command = [sys.executable, "-m", "flops_fit_assets.cli", "ui", str(study), "--port"]
    with _serving(command, {"FLOPS_FIT_HOME": str(home)}) as address:
        yield address


@contextmanager
def served_definitions(file, home):
    """The pages of a Python file's own definitions, with the instance in `home`; the address."""
    command = [sys.executable, "-m", "dagster", "dev", "-f", str(file), "--host", "127.0.0.1", "--port"]
    with _serving(command, {"DAGSTER_HOME": str(instance_directory(Path(home), 2))}) as address:
        yield address


@contextmanager
def _serving(command, environment):
    port = free_port()
    paths = os.pathsep.join(filter(None, [str(HELPERS), str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [*command, str(port)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_listen_to_interrupts,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: urllib.request.urlopen(f"{address}/server_info").status == 200, 180, "the web server")
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)


def _listen_to_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """The latest ticks of a sensor, newest first: status, timestamp, endTimestamp, skipReason, error."""
    query = (
        "query Ticks($s: SensorSelector!){sensorOrError(sensorSelector: $s){... on Sensor{sensorState{"
        "ticks(limit: 12){status timestamp endTimestamp skipReason error{message causes{message}}}}}}}"
    )
    selector = repository_of(address) | {"sensorName": sensor}
    found = ask(address, query, s=selector)["sensorOrError"]["sensorState"]["ticks"]
    return [tick | {"error": _reason(tick["error"])} for tick in found]


def locations(address):
    """Code location → why it could not be loaded, None where it was."""
    error = "... on PythonError{message causes{message}}"
    query = f"{{workspaceOrError{{... on Workspace{{locationEntries{{name locationOrLoadError{{{error}}}}}}}}}}}"
    entries = ask(address, query)["workspaceOrError"]["locationEntries"]
    return {entry["name"]: _reason(entry["locationOrLoadError"]) for entry in entries}


def _reason(error):
    if not error:
        return None
    return "\n".join([error["message"], *(cause["message"] for cause in error["causes"])]).strip()


def reload_location(address, name="flops_fit"):
    """Load a code location again, as *Reload definitions* does."""
    mutation = "mutation R($n: String!){reloadRepositoryLocation(repositoryLocationName: $n){__typename}}"
    ask(address, mutation, n=name)


def launch(address, asset, config, partition=None):
    """Materialize an asset, or one partition of it, by hand with the launchpad's `config` of it."""
    mutation = (
        "mutation Launch($p: ExecutionParams!){launchRun(executionParams: $p){__typename "
        "... on LaunchRunSuccess{run{runId}} ... on PythonError{message} "
        "... on RunConfigValidationInvalid{errors{message}}}}"
    )
    selector = repository_of(address) | {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}]}
    parameters = {"selector": selector, "runConfigData": {"ops": {asset: {"config": config}}} if config else {}}
    if partition:
        parameters["executionMetadata"] = {"tags": [{"key": "dagster/partition", "value": partition}]}
    answer = ask(address, mutation, p=parameters)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


def switch_on(address, sensor):
    """Start a sensor, as its switch on the page does."""
    _switch(address, sensor, "startSensor")


def switch_off(address, sensor):
    """Give a sensor the state it has where nobody has switched it: off, for those that start trainings."""
    _switch(address, sensor, "resetSensor")


def _switch(address, sensor, mutation):
    selector = repository_of(address) | {"sensorName": sensor}
    query = f"mutation M($s: SensorSelector!){{{mutation}(sensorSelector: $s){{__typename ... on Sensor{{name}}}}}}"
    answer = ask(address, query, s=selector)
    assert answer[mutation]["__typename"] == "Sensor", answer


def schedule_state(address, schedule):
    """`RUNNING` or `STOPPED`."""
    query = (
        "query S($s: ScheduleSelector!){scheduleOrError(scheduleSelector: $s){... on Schedule{scheduleState{status}}}}"
    )
    selector = repository_of(address) | {"scheduleName": schedule}
    return ask(address, query, s=selector)["scheduleOrError"]["scheduleState"]["status"]


def runs(address):
    """Run id → (status, assets joined by +, partition)."""
    query = "{runsOrError(limit: 1000){... on Runs{results{runId status tags{key value} assetSelection{path}}}}}"
    found = {}
    for run in ask(address, query)["runsOrError"]["results"]:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assets = "+".join(sorted("/".join(key["path"]) for key in run["assetSelection"] or []))
        found[run["runId"]] = (run["status"], assets, tags.get("dagster/partition"))
    return found


def messages(address, run_id):
    """What a run's page tells of it, oldest first."""
    query = (
        "query Log($r: ID!){logsForRun(runId: $r, limit: 1000){__typename "
        "... on EventConnection{events{... on MessageEvent{message}}}}}"
    )
    return [event["message"] for event in ask(address, query, r=run_id)["logsForRun"]["events"]]


def why_failed(address, run_id):
    """What its page says of the steps of a run that failed."""
    query = (
        "query Why($r: ID!){logsForRun(runId: $r, limit: 1000){... on EventConnection{events{"
        "... on ExecutionStepFailureEvent{error{message causes{message}}}}}}}"
    )
    events = ask(address, query, r=run_id)["logsForRun"]["events"]
    return "\n".join(_reason(event["error"]) for event in events if event.get("error"))
