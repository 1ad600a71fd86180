"""What docs/cluster.md says of Kubernetes: loaded by Dagster, its Jobs held against Kubernetes's schemas, and run."""

import json
import re
import signal
from importlib.util import find_spec

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext
from dagster_pages import messages, served
from kubernetes_cluster import Refused, kubernetes_cluster, launch_on
from live_daemon import Live
from paths import DOCS
from pipeline_study import DAGSTER_WARNINGS, materializations, write_study
from s3_server import s3_server
from slow_trainings import BUDGETS, longest, progress, runs_of, slowly, well_under_way, write_slow_study
from webdriver import wait_for

for package in ("dagster_k8s", "kubernetes_validate", "s3fs", "moto"):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; pip install 'flops-fit[cluster-tests]'", allow_module_level=True)

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.cluster]


class Launched:
    """Runs of the tiny study that the documented launcher gave to a cluster whose Jobs wait."""

    def __init__(self, home, cluster, **options):
        folder = launch_on(cluster, home, **options)
        self.cluster = cluster
        self.instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder)))
        repository = ReconstructableRepository.for_module("flops_fit_assets.definitions", "defs")
        self.origin = repository.get_reconstructable_job("__ASSET_JOB").get_python_origin()

    def run(self, config=None):
        """A training's run with the tag that Kubernetes is given for it, launched."""
        tags = {"dagster/partition": "c3e+05-width8-s0-01234567"}
        if config is not None:
            tags["dagster-k8s/config"] = json.dumps(config)
        run = self.instance.create_run(
            run_id=None, job_name="__ASSET_JOB", run_config={}, status=dg.DagsterRunStatus.STARTING, tags=tags,
            root_run_id=None, parent_run_id=None, step_keys_to_execute=None, execution_plan_snapshot=None,
            job_snapshot=None, parent_job_snapshot=None, asset_selection={dg.AssetKey("training_run")},
            asset_check_selection=None, resolved_op_selection=None, op_selection=None, remote_job_origin=None,
            job_code_origin=self.origin, asset_graph=None,
        )  # fmt: skip
        self.instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        return run

    def job(self, config=None):
        """The Job that the API server took for such a run."""
        return self.cluster.jobs[f"dagster-run-{self.run(config).run_id}"]


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_STUDY", str(write_study(tmp_path)))
    monkeypatch.setenv("FLOPS_FIT_STORAGE", "s3://bucket/studies")
    with kubernetes_cluster(tmp_path) as made:
        yield made


def pod_of(job):
    """The Job's pod, its container, and the container's variables."""
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container, {item["name"]: item["value"] for item in container["env"]}


def test_the_documented_section_makes_jobs_that_kubernetes_takes(tmp_path, kubernetes):
    pod, container, variables = pod_of(Launched(tmp_path, kubernetes).job())
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    assert "command" not in container, "what the image says; it must not say an entrypoint"
    assert container["image"] == "registry.example.org/my-study:2026-01"
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"},
    }  # fmt: skip
    assert variables["FLOPS_FIT_HOME"] == "/data"
    assert variables["FLOPS_FIT_STUDY"] == str(tmp_path / "study.toml"), "as the daemon has it"
    assert variables["DAGSTER_HOME"] == "/data/dagster"
    assert container["envFrom"] == [{"secretRef": {"name": "dagster-postgresql"}}]
    assert container["volumeMounts"] == [{"name": "flops-fit", "mountPath": "/data"}]
    assert pod["volumes"] == [{"name": "flops-fit", "persistentVolumeClaim": {"claimName": "flops-fit"}}]
    assert (pod["securityContext"], pod["restartPolicy"]) == ({"fsGroup": 1000}, "Never")


def test_with_an_object_store_each_pod_has_a_folder_of_its_own(tmp_path, kubernetes):
    job = Launched(tmp_path, kubernetes, stored=True).job()
    pod, container, variables = pod_of(job)
    assert variables["FLOPS_FIT_STORAGE"] == "s3://bucket/studies"
    assert {item["secretRef"]["name"] for item in container["envFrom"]} == {"dagster-postgresql", "object-store"}
    assert pod["volumes"] == [{"name": "flops-fit", "emptyDir": {}}]
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    assert job["spec"]["backoffLimit"] == 0, "Dagster starts again what died, and Kubernetes nothing"


def test_a_run_s_tag_asks_for_more_and_leaves_the_rest(tmp_path, kubernetes):
    (tag,) = re.findall(r"merged into it: `(\{.*?\})`\.", (DOCS / "cluster.md").read_text())
    _, container, _ = pod_of(Launched(tmp_path, kubernetes).job(json.loads(tag)))
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "2"}
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "4Gi"}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda config: config.update(job_imge="x"), dg.DagsterInvalidConfigError, "job_imge"),
        (lambda config: config["run_k8s_config"].update(pod={}), dg.DagsterInvalidConfigError, '"pod"'),
        (lambda config: config.update(env_vars=["FLOPS_FIT_STUDY", "NOWHERE"]), Exception, "NOWHERE"),
        (lambda config: config["run_k8s_config"]["container_config"].update(resorces={}), Exception, "resorces"),
        (lambda config: config["volumes"][0].update(emptyDir=7), Exception, "7"),
        (lambda config: config["volume_mounts"][0].pop("mountPath"), Exception, "mount"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_refused_and_named(tmp_path, kubernetes, change, error, said):
    with pytest.raises(error, match=said):
        Launched(tmp_path, kubernetes, change=change).job()
    assert not kubernetes.jobs


def test_the_api_server_of_the_tests_refuses_what_kubernetes_refuses(tmp_path, kubernetes):
    job = Launched(tmp_path, kubernetes).job()
    for path, value, said in [
        (("spec", "template", "spec", "restartPolcy"), "Never", "restartPolcy"),
        (("spec", "backoffLimit"), "none", "backoffLimit"),
    ]:
        wrong = json.loads(json.dumps(job)) | {"metadata": job["metadata"] | {"name": "another"}}
        place = wrong
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(Refused, match=said):
            kubernetes.create(wrong)


def test_a_run_is_watched_and_terminated(tmp_path, kubernetes):
    launched = Launched(tmp_path, kubernetes)
    run, launcher = launched.run(), launched.instance.run_launcher
    assert launcher.check_run_worker_health(run).status.value == "RUNNING"
    launched.instance.report_engine_event("begun", run)
    assert launcher.terminate(run.run_id)
    assert not kubernetes.jobs
    assert "could not be found" in launcher.check_run_worker_health(run).msg


def planned_in(store):
    """The experiments of the plan in the object store; none while there is no plan."""
    plan = store.contents("studies/tiny").get("sweep_plan.json")
    return json.loads(plan)["experiments"] if plan else []


def secrets_of(store):
    """What the documented secrets hold here."""
    return {"dagster-postgresql": {}, "object-store": store.environment}


def results_of(files):
    """Id → the bytes of its result, of files by their names below `runs/`."""
    return {name.split("/")[0]: content for name, content in files.items() if name.endswith("/result.json")}


@pytest.mark.long
def test_a_study_lives_on_pods_that_share_nothing_but_an_object_store(tmp_path, monkeypatch):
    """One of its pods is evicted in the middle of a training; then a budget is added."""
    home = tmp_path / "home"
    home.mkdir()
    study = write_slow_study(home)
    with s3_server() as store, kubernetes_cluster(tmp_path, secrets_of(store)) as cluster:
        for name, value in (store.environment | {"FLOPS_FIT_STORAGE": "s3://bucket/studies"}).items():
            monkeypatch.setenv(name, value)
        launch_on(cluster, home, stored=True)
        with served(study, home) as address:
            live = Live(home, address)
            live.switch_on()
            partition = wait_for(lambda: longest(planned_in(store)), 480, "a plan")
            evicted = wait_for(lambda: well_under_way(address, partition), 480, "40 % of the longest training")
            cluster.pods[f"dagster-run-{evicted}"].send(signal.SIGTERM)
            wait_for(lambda: len(runs_of(address, partition)) == 2, 240, "another run of the same training")
            done, _ = live.settle(1500, killed={evicted})
            first, planned = results_of(store.contents("studies/tiny/runs")), planned_in(store)
            (again,) = runs_of(address, partition).keys() - {evicted}
            resumed = progress(messages(address, again))
            live.edit(slowly, budgets=(*BUDGETS, 6e5), sizes=3)
            added, _ = live.settle(1500)
        files = store.contents("studies/tiny/runs")

    assert done == {"size_map": 1, "sweep_plan": 1, "training_run": 6, "scaling_law": 1}
    assert sorted(first) == sorted(item["experiment_id"] for item in planned)
    assert resumed[0] >= 0.3, "it went on from the checkpoint that the evicted pod had stored"
    assert added == {"sweep_plan": 1, "training_run": 3, "scaling_law": 1}
    assert results_of(files).items() >= first.items(), "what was there is as it was"
    assert materializations(home)["training_run"] == len(results_of(files)) == 9
    lines = files[f"{partition}/log.jsonl"].decode().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "step" in json.loads(line)]
    assert steps == sorted(set(steps)), "no step was done twice"
    assert not any(name.endswith("checkpoint.safetensors") for name in files)
