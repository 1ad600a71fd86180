"""docs/comparing.md is true: its Python runs, its commands have the options that it types."""

import contextlib
import io
import re

import pytest
from paths import ROOT

from flops_fit.synthetic import REPLICATION, SYMMETRIC
from flops_fit_assets.cli import main

PAGE = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")


def test_its_python_finds_the_truth():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    made, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(block, made)

    truth = tuple(float(law.loss(law.N_opt(1e21), law.D_opt(1e21))) for law in (REPLICATION, SYMMETRIC))
    assert made["found"].targets[0].losses == pytest.approx(truth, rel=0.01)
    assert said.getvalue().startswith("old is better at 1.00e+21 FLOPs with")


def test_its_commands_have_the_options_that_it_types():
    known = {option for parameter in main.commands["compare"].params for option in parameter.opts}
    typed = re.findall(r"flops-fit compare (.*)", PAGE)
    assert len(typed) == 5
    assert set(re.findall(r" (--\w+)", " ".join(typed))) <= known
