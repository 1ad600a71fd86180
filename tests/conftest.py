"""What all tests share: single-threaded torch, helpers importable in worker processes, and a study that has run."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

# Hundreds of interpreters are started: each would compile all sources anew where bytecode is not kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if "FLOPS_FIT_CACHE" not in os.environ:  # of these tests alone: what a person has in theirs must not decide them
    os.environ["FLOPS_FIT_CACHE"] = tempfile.mkdtemp(prefix="flops_fit_cache_")
    atexit.register(shutil.rmtree, os.environ["FLOPS_FIT_CACHE"], ignore_errors=True)

gc.disable()  # until all modules are loaded: what they hold is there to stay

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background jobs; tests of Ctrl-C hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)

HELPERS = str(Path(__file__).resolve().parent / "helpers")
if HELPERS not in sys.path:
    sys.path.insert(0, HELPERS)


# Files that share the fixture `pages`, and so one process; in this order, for what the last of them leaves switched on.
PAGES = ("test_ui", "test_strangers")
# What takes longest begins first, so that no process is left with it at the end.
FIRST = (
    "test_live", *PAGES, "test_readme", "test_rounds_pipeline", "test_storage", "test_parametric", "test_size_map",
    "test_conditions", "test_by_command", "test_assets", "test_api", "test_distributed", "test_cli", "test_together",
    "test_verdict", "test_checks", "test_exactness", "test_last_digits", "test_preflight", "test_report", "test_golden",
)  # fmt: skip


# What runs a whole study: a test that takes one of these is slow.
WHOLE_STUDIES = {"finished", "story", "automation", "cluster", "pages"}


def pytest_itemcollected(item):
    """The mark `slow` for whoever takes one of `WHOLE_STUDIES`."""
    if WHOLE_STUDIES.intersection(getattr(item, "fixturenames", ())):
        item.add_marker("slow")


def pytest_collection_modifyitems(items):
    """Files in the order of `FIRST`, then the others."""
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile` a file keeps to one process, and the files of `PAGES` to the same one.

    Not by the mark `xdist_group`: xdist 3.8 writes a test's group where pytest 9.2 does not read it.
    """
    from xdist.scheduler import LoadFileScheduling

    class PagesTogether(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "pages" if Path(file).stem in PAGES else file

    return PagesTogether(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish():
    """No collection of garbage need look again at what the modules hold."""
    gc.collect()
    gc.freeze()
    gc.enable()


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
    """The home that `pipeline_study.run_finished_study` fills, to be copied and not changed."""
    from once import made_once
    from pipeline_study import run_finished_study

    return made_once(session_folder, "finished", run_finished_study)


@pytest.fixture(scope="session")
def pages(finished, tmp_path_factory):
    """The folder of a study that has run once, and the address of its pages; all who use them are in `PAGES`."""
    from dagster_pages import served

    home = shutil.copytree(finished, tmp_path_factory.mktemp("pages"), dirs_exist_ok=True)
    with served(home / "study.toml", home) as address:
        yield home, address


@pytest.fixture
def finished_home(finished, tmp_path):
    """A copy of `finished` in `tmp_path`, the study file included."""
    return shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
