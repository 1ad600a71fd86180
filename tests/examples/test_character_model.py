"""A public recipe reaches its published loss: `benchmarks/character_model.py` says where the numbers are from."""

import os
from pathlib import Path

import pytest
import torch
from paths import ROOT

SHAKESPEARE = Path(os.environ.get("TINY_SHAKESPEARE", ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"))


@pytest.fixture
def character_model(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import character_model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield character_model
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"{SHAKESPEARE} is not there (or name it in TINY_SHAKESPEARE)")
def test_tiny_shakespeare_reaches_its_published_loss(character_model, tmp_path):
    result = character_model.by_the_library(SHAKESPEARE.read_text(), tmp_path)
    assert result.steps == 2000
    assert result.loss == pytest.approx(1.88, abs=0.05)


@pytest.mark.long
def test_the_standard_library_reaches_what_a_hand_written_loop_does(character_model, tmp_path):
    """1.63: by `python benchmarks/character_model.py`, whose loop shares no code with the library's (1.6264)."""
    result = character_model.by_the_library(character_model.stdlib_text(), tmp_path)
    assert result.steps == 2000
    assert result.loss == pytest.approx(1.63, abs=0.05)
