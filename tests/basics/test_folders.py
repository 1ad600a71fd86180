"""Where a folder or a file of this machine is asked for, a URL is refused; it would make a folder called `s3:`."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_study import TinyMLP

from flops_fit import find_optimal
from flops_fit.basics.arguments import is_url
from flops_fit.errors import FlopsFitError, PlanError
from flops_fit_assets.cli import main
from flops_fit_assets.instance.where import HOME_VARIABLE, home_directory

REMEDY = r"must be the path of a folder on this machine; the files of `flops-fit run` .* FLOPS_FIT_STORAGE=s3://bucket"


@pytest.mark.parametrize("where", ["s3://bucket/x", Path("s3://bucket/x"), "gs://bucket", "memory://x"])
def test_results_are_kept_in_no_url(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    budgets = {"compute_budgets": [3e5], "train": False}
    with pytest.raises(PlanError, match=f"output_dir = .*{REMEDY}"):
        find_optimal(TinyMLP, "width", output_dir=where, **budgets)
    assert not list(tmp_path.iterdir())


def test_nor_is_a_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, "s3://bucket/home")
    with pytest.raises(FlopsFitError, match=f"{HOME_VARIABLE} = 's3://bucket/home' {REMEDY}"):
        home_directory()
    with pytest.raises(FlopsFitError, match=f"home = 's3://b' {REMEDY}"):
        home_directory("s3://b")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("fit", "s3://bucket/runs.csv"), "does not exist; copy it to this machine first"),
        (("plan", "s3://bucket/study.toml"), "is not on this machine; copy it and its modules here first"),
    ],
)
def test_files_are_read_from_no_url(typed, said):
    done = CliRunner().invoke(main, typed)
    assert done.exit_code == 1
    assert said in done.output


@pytest.mark.parametrize(
    "path", ["runs", "/data/runs", "a:b", "C:/runs", "C:\\runs", "../x", "~/runs", "2026-01-01T10:00"]
)
def test_paths_are_no_urls(path):
    assert not is_url(path)
    assert not is_url(Path(path))
