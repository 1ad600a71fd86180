"""The container file: what it says agrees with project and docs, and where an engine is at hand it is built."""

import fnmatch
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from paths import DOCS, ROOT
from ray_cluster import sections_in_docs

BASE = "python:3.11-slim"


def statements(text):
    """(instruction, what follows) of a container file, continued lines joined, comments left out."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


FILE = statements((ROOT / "Dockerfile").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STUDY_FILE = re.search(r"^```dockerfile\n(.*?)^```", (DOCS / "cluster.md").read_text(), re.MULTILINE | re.DOTALL)[1]


def said(instruction):
    return [rest for name, rest in FILE if name == instruction]


def arguments():
    """The default of each build argument."""
    return dict(rest.split("=", 1) for rest in said("ARG") if "=" in rest)


def launcher():
    """The configuration of the run launcher in docs/cluster.md."""
    found = [section for section in map(yaml.safe_load, sections_in_docs()) if "dagster_k8s" in str(section)]
    return found[0]["run_launcher"]["config"]


def test_what_is_copied_is_there_and_reaches_the_engine():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    reaching = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {name for rest in said("COPY") for name in rest.split()[:-1]}
    assert copied == reaching
    assert all((ROOT / name).exists() for name in copied)
    packages = {
        path.parent.name for path in ROOT.glob("*/__init__.py") if fnmatch.fnmatch(path.parent.name, "flops_fit*")
    }
    assert packages <= copied, "all that the project is made of"
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= copied, "or the build of the package fails"


def test_its_python_and_its_extras_are_those_of_the_project():
    defaults = arguments()
    assert defaults["PYTHON"] == BASE
    assert BASE.split(":")[1].startswith(PROJECT["requires-python"].removeprefix(">="))
    extras = defaults["EXTRAS"].split(",")
    assert set(extras) <= PROJECT["optional-dependencies"].keys()
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    asked = [*PROJECT["dependencies"], *(item for name in extras for item in PROJECT["optional-dependencies"][name])]
    assert {re.match(r"[\w-]+", item)[0].lower() for item in asked} <= pinned
    assert any("--constraint constraints.txt" in rest for rest in said("RUN"))


def test_dagster_s_packages_are_of_one_release():
    """dagster-k8s 0.29.x goes with dagster 1.13.x; another would be refused by pip, in the image, late."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    patch = pins["dagster"].split(".")[-1]
    assert {pins[name].split(".")[-1] for name in ("dagster-k8s", "dagster-postgres", "dagster-webserver")} == {patch}
    assert f"({pins['dagster-k8s']} with {pins['dagster']})" in (DOCS / "cluster.md").read_text()


def test_it_is_what_the_documented_launcher_expects():
    assert not said("ENTRYPOINT"), "a run's command is given as arguments, which would be put after it"
    (user,) = said("USER")
    assert int(user) == launcher()["run_k8s_config"]["pod_spec_config"]["security_context"]["fs_group"] != 0
    (home,) = (
        word.split("=")[1] for rest in said("ENV") for word in rest.split() if word.startswith("FLOPS_FIT_HOME=")
    )
    assert [mount["mountPath"] for mount in launcher()["volume_mounts"]] == [home]
    assert f"FLOPS_FIT_HOME={home}" in launcher()["env_vars"]


def test_the_study_s_own_file_is_made_of_it():
    lines = statements(STUDY_FILE)
    assert [name for name, _ in lines] == ["FROM", "COPY", "ENV"]
    assert lines[0][1] == "flops-fit", "as it is tagged"
    (target,) = said("WORKDIR")[-1:]
    assert lines[1][1] == f". {target}"
    assert lines[2][1].split("=") == ["FLOPS_FIT_STUDY", f"{target}/study.toml"]


def engine():
    """The command of an engine that answers."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    return pytest.skip("no container engine answers (docker, podman)")


@pytest.mark.slow
def test_it_is_built_and_runs_a_study_as_somebody_who_is_not_root(tmp_path):
    name = engine()
    there = subprocess.run([name, "image", "inspect", BASE], capture_output=True).returncode == 0
    if not there and subprocess.run([name, "pull", "--quiet", BASE], capture_output=True).returncode != 0:
        pytest.skip(f"{BASE} is not here and cannot be pulled")
    image, study = "flops-fit-of-the-tests", "flops-fit-study-of-the-tests"
    built = subprocess.run([name, "build", "--tag", image, str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    shutil.copy(ROOT / "flops_fit" / "examples" / "demo" / "study.toml", tmp_path)
    (tmp_path / "Dockerfile").write_text(STUDY_FILE.replace("FROM flops-fit", f"FROM {image}"))
    subprocess.run([name, "build", "--tag", study, str(tmp_path)], check=True, capture_output=True)

    def ran(*command):
        return subprocess.run([name, "run", "--rm", study, *command], capture_output=True, text=True)

    assert ran("id", "-u").stdout.strip() == "1000"
    assert "dagster, version" in ran("dagster", "--version").stdout
    assert "experiments" in ran("flops-fit", "plan", "/study/study.toml").stdout
    assert ran("python", "-c", "import dagster_k8s, dagster_postgres, s3fs").returncode == 0
    assert ran("touch", "/data/x").returncode == 0
