"""The report stands alone and says what was found."""

import re

import numpy as np

from flops_fit.report import write_report
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import synthetic_runs


def test_the_report_is_one_file_with_figures_tables_verdict_and_runs(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003, broken_fraction=0.06), bootstraps=60)
    text = write_report(law, tmp_path / "report.html", study={"name": "my <study>"}).read_text()
    assert text.count("data:image/png;base64,") == 5
    assert not re.search(r'(src|href)="(?!data:)', text)  # nothing is fetched from elsewhere
    assert "my &lt;study&gt;" in text
    assert law.verdict.capitalize() in text
    for row in (*law.runs.experiment_id, *(item.reason for item in law.runs.excluded)):
        assert row in text
    assert f"{law.E:.5g}" in text
    assert "seed 0" in text
    assert "numpy" in text


def test_losses_that_follow_no_law_still_give_a_report(tmp_path):
    runs = synthetic_runs()
    law = fit_scaling_law(runs.assign(loss=2 + 1e-3 * np.sin(np.arange(len(runs)))), bootstraps=60)
    assert "Not shown, since" in write_report(law, tmp_path / "report.html").read_text()


def test_a_broken_study_says_so_in_its_report(tmp_path):
    law = fit_scaling_law(synthetic_runs(off_centre=30, noise=0.002, compute_budgets=(1e18,)), bootstraps=60)
    text = write_report(law, tmp_path / "report.html").read_text()
    assert "Not supported" in text
    assert "add smaller models" in text
