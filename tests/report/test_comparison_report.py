"""The report of a comparison: one file that needs nothing beside it, the answer first."""

import dataclasses
import html
import re

import pytest

from flops_fit import compare_laws, fit_scaling_law, rank_laws
from flops_fit.report.comparison_report import write_comparison_report
from flops_fit.synthetic import REPLICATION, synthetic_runs


@pytest.fixture(scope="module")
def laws():
    recipes = {"<old>": 6.0, "new": 5.0, "newer": 4.5}
    return {
        name: fit_scaling_law(
            synthetic_runs(dataclasses.replace(REPLICATION, flops_per_param_per_token=flops), noise=0.002),
            bootstraps=50,
        )
        for name, flops in recipes.items()
    }


def test_two_laws(laws, tmp_path):
    found = compare_laws({name: laws[name] for name in ("<old>", "new")}, at=[1e21, 1e22])
    page = write_comparison_report(found, tmp_path / "both.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<old>" not in page
    text = page.replace("&lt;old&gt;", "<old>")
    positions = [text.index(part) for part in (*found.sentences, "<figure ", "<h2>At each target</h2>", "<table>")]
    assert positions == sorted(positions)
    assert text.count('<div class="verdict') == 2
    for line in found.summary().splitlines():
        assert html.escape(line.strip().removeprefix("-> ")) in page


def test_several_laws(laws, tmp_path):
    found = rank_laws(laws, at=1e21)
    page = write_comparison_report(found, tmp_path / "all.html", title="three").read_text()
    assert "<title>three: laws compared</title>" in page
    assert page.count("<tr>") == 2 + 2 * 3
    assert '"best": "newer"' in page.replace("&quot;", '"')
