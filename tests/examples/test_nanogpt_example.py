"""The nanoGPT example, from a copy of its folder: the token file that it writes, its plan, a study from end to end."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flops_fit
from flops_fit import Experiment, Study, run_experiment
from flops_fit.stages import study_size_map

EXAMPLE = Path(flops_fit.__file__).parent / "examples" / "nanogpt"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the example with its data, from a text of 400,000 characters."""
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(EXAMPLE, tmp_path / "nanogpt", ignore=shutil.ignore_patterns("data", "__pycache__")))
    text = "".join(f"{number} squared is {number**2}, and a bit more.\n" for number in range(10_000))[:400_000]
    (tmp_path / "text.txt").write_text(text + "ä is left out")
    command = [sys.executable, str(copy / "prepare.py"), str(tmp_path / "text.txt")]
    environment = os.environ | {"PYTHONPATH": str(Path(flops_fit.__file__).parents[1])}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    study = copy / "study.toml"
    study.write_text(study.read_text().replace("max_size = 512", "max_size = 32"))  # fewer sizes to measure
    yield copy
    sys.path[:] = [entry for entry in sys.path if entry != str(copy)]
    sys.modules.pop("nano_gpt", None)


def test_it_writes_token_files_and_learns_from_them(folder, tmp_path):
    train, held_out = (np.fromfile(folder / "data" / f"{name}.bin", np.uint16) for name in ("train", "val"))
    assert (len(train), len(held_out)) == (360_011, 40_001)  # 400,012 ASCII characters
    assert bytes(train[:12].astype(np.uint8)) == b"0 squared is"
    study = Study.from_toml(folder / "study.toml")
    assert study.prepared_data.train.num_examples == 360_011 // 64
    entry = next(entry for entry in study_size_map(study).entries if entry.size == 16)
    layer = 12 * 16**2 + 2 * 16 * 64  # its matrices, and the products of queries, keys and values
    assert entry.flops_per_token == pytest.approx(6 * (2 * layer + 16 * 128), rel=1e-3)
    experiment = Experiment(
        experiment_id="one", compute_budget=1.0, size_param="width", size_param_value=8, num_params=1,
        num_tokens=40_000, flops_per_token=1.0,
    )  # fmt: skip
    result = run_experiment(study, experiment, output_dir=tmp_path / "runs")
    assert result.status == "completed", result.reason
    assert result.loss < math.log(128) - 1.5


@pytest.mark.slow
def test_the_whole_study_runs_with_smaller_budgets(folder):
    path = folder / "study.toml"
    path.write_text(path.read_text().replace("[5e9, 1.5e10, 5e10]", "[1e9, 2e9, 3e9]"))
    environment = os.environ | {"PYTHONPATH": str(Path(flops_fit.__file__).parents[1])}
    command = [sys.executable, "-m", "flops_fit_assets.cli", "run", "study.toml"]
    ran = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr[-2000:] + ran.stdout[-2000:]
    assert "Scaling law" in ran.stdout
    assert (folder / "flops_fit_data" / "nanogpt" / "report.html").exists()
