"""A compiled model trains what the plain one does, and is resumed to the same bits."""

import dataclasses
import shutil

import pytest
from tiny_study import experiment, tiny_study

from flops_fit import Recipe, run_experiment

RECIPE = Recipe(learning_rate=0.02, compile=True)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler, and c++ is not there")
def test_compiled_it_is_the_same_training_and_resumed_the_same_bits(tmp_path):
    plain, whole, stopped, resumed = (
        run_experiment(tiny_study(training=recipe), experiment(), output_dir=tmp_path / name)
        for name, recipe in (
            ("plain", dataclasses.replace(RECIPE, compile=False)),
            ("whole", RECIPE),
            ("resumed", dataclasses.replace(RECIPE, timeout_seconds=1e-9)),
            ("resumed", RECIPE),
        )
    )
    assert stopped.status == "timed_out"
    assert whole.loss == pytest.approx(plain.loss, rel=1e-5)
    assert whole.weights_sha256 != plain.weights_sha256, "other kernels round otherwise: it was compiled"
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)
