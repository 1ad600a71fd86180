"""The packaged study, whole: what `flops-fit demo` says and leaves on disk."""

import pickle
import sqlite3
import subprocess
import sys

import pytest
import torch
from pickles import is_or_holds_a_pickle, pickles_in

from flops_fit import ScalingLaw


def test_pickles_are_found(tmp_path):
    (tmp_path / "plain.txt").write_text("no pickle.")
    (tmp_path / "old.bin").write_bytes(pickle.dumps([1, 2], protocol=2))
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.bin")
    with sqlite3.connect(tmp_path / "rows.db") as database:
        database.execute("create table kept (content blob)")
        database.execute("insert into kept values (?)", (pickle.dumps({"a": list(range(50))}),))
    database.close()
    assert [path.name for path in pickles_in(tmp_path)] == ["old.bin", "rows.db", "weights.bin"]
    assert not is_or_holds_a_pickle(tmp_path / "plain.txt")


@pytest.mark.long
def test_the_demo_ends_with_a_law_and_leaves_no_pickle(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path))
    command = [sys.executable, "-m", "flops_fit_assets.cli", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "28 experiments run now: 28 completed" in done.stdout
    law = ScalingLaw.load(tmp_path / "demo" / "scaling_law.json")
    assert all(minimum.interior for minimum in law.isoflops)
    assert len(list(tmp_path.rglob("*"))) > 100
    assert pickles_in(tmp_path) == []
