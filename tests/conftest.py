"""What all tests share: single-threaded torch, helpers importable in worker processes, and a study that has run."""

import os
import shutil
import sys
from pathlib import Path

import pytest

HELPERS = str(Path(__file__).resolve().parent / "helpers")
if HELPERS not in sys.path:
    sys.path.insert(0, HELPERS)


# What takes longest begins first, so that no process is left with it at the end.
FIRST = ["pages", "test_storage", "test_by_command", "test_cli", "test_assets", "test_conditions", "test_checks"]


def pytest_collection_modifyitems(items):
    """The tests of a file are a group of xdist's (`--dist loadgroup`): one process makes their fixtures."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: FIRST.index(_group(item)) if _group(item) in FIRST else len(FIRST))


def _group(item):
    return item.get_closest_marker("xdist_group").args[0]


@pytest.fixture(autouse=True)
def _one_thread():
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """One folder for all processes of this session."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def finished(session_folder):
    """The home of `pipeline_study.finished_study` after its first run, to be copied and not changed."""
    from once import made_once
    from pipeline_study import run_finished_study

    return made_once(session_folder, "finished", run_finished_study)


@pytest.fixture(scope="session")
def pages(finished, tmp_path_factory):
    """The folder of a study that has run once, and the address of its pages; all who use them are one xdist group."""
    from dagster_pages import served

    home = shutil.copytree(finished, tmp_path_factory.mktemp("pages"), dirs_exist_ok=True)
    with served(home / "study.toml", home) as address:
        yield home, address


@pytest.fixture
def finished_home(finished, tmp_path):
    """A copy of `finished` in `tmp_path`, the study file included."""
    return shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
