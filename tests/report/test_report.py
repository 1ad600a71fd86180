"""The report stands alone and says what was found."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from bent_studies import bent_runs
from made_forecasts import forecast, target, valley

from flops_fit.drawing.drawn import NotDrawn
from flops_fit.errors import FlopsFitWarning
from flops_fit.report.report import write_report
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.figures import plots
from flops_fit.scaling_law.figures.plot_data import run_names
from flops_fit.scaling_law.forecasts.calibration import Calibration, calibrate
from flops_fit.scaling_law.next_experiments.in_words import NEXT_OPTION
from flops_fit.scaling_law.table.runs import read_runs
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit.synthetic import synthetic_runs


def test_the_report_is_one_file_with_figures_tables_verdict_and_runs(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003, broken_fraction=0.06), bootstraps=60)
    text = write_report(law, tmp_path / "report.html", study={"name": "my <study>"}).read_text()
    assert text.count("<svg") == 6
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # nothing is fetched from elsewhere
    assert "my &lt;study&gt;" in text
    assert law.verdict.capitalize() in text
    for row in (*law.runs.experiment_id, *(item.reason for item in law.runs.excluded)):
        assert row in text
    assert f"{law.E:.5g}" in text
    assert "seed 0" in text
    assert "numpy" in text


class Elements(HTMLParser):
    """Checks that what is opened is closed, in order; keeps the attributes of every element."""

    VOID = ("meta", "br", "img", "input", "link", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.found = [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def elements(text):
    parser = Elements()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser.found


def test_the_page_is_sound_and_needs_nothing_else(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=60)
    text = write_report(law, tmp_path / "report.html", title="</script><b>").read_text()
    found = elements(text)
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!#)", text)
    pictures = [attributes for tag, attributes in found if tag == "svg"]
    assert len(pictures) == 6
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert len(re.findall(r"\d", attributes["aria-label"])) > 10
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert len(text) < 1_000_000


def test_the_points_of_the_figures_name_the_runs(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=60)
    text = write_report(law, tmp_path / "report.html").read_text()
    texts = json.loads(re.search(r'<script type="application/json" id="points">(.*?)</script>', text)[1])
    assert sorted(texts) == sorted(run_names(law)), "each once, however many figures show it"
    for points in re.findall(r'<script type="application/json">(.*?)</script>', text):
        assert {number for _, _, number in json.loads(points)} <= set(range(len(texts)))


@pytest.mark.parametrize("broken", ["isoflop_figure", "cloud_figure"])
def test_a_figure_that_cannot_be_drawn_costs_nothing_else(tmp_path, monkeypatch, broken):
    def draw(law):
        raise FloatingPointError("it <overflowed>")

    monkeypatch.setattr(plots, broken, draw)
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=60)
    with pytest.warns(FlopsFitWarning, match="is left out: FloatingPointError"):
        text = write_report(law, tmp_path / "report.html").read_text()
    assert text.count("<svg") == 5
    assert "could not be drawn (FloatingPointError: it &lt;overflowed&gt;)" in text
    assert law.verdict.capitalize() in text
    elements(text)


def test_figures_that_are_drawn_already_are_taken_as_they_are(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=60)
    gone = {name: NotDrawn(name=name, title=name, reason="gone") for name in ("residuals", "cost")}
    text = write_report(law, tmp_path / "report.html", figures=gone).read_text()
    assert text.count("could not be drawn (gone)") == 2
    assert text.count("<svg") == 5


@pytest.mark.slow
def test_three_thousand_runs_are_a_page_of_less_than_five_megabytes(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003, sizes_per_budget=620), bootstraps=20)
    assert len(law.runs) > 3000
    text = write_report(law, tmp_path / "report.html").read_text()
    assert len(text.encode()) < 5_000_000
    elements(text)


def test_a_law_that_is_not_what_answers_is_not_taken_for_it(tmp_path):
    law = fit_scaling_law(bent_runs(budgets=4), bootstraps=20)
    straight = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=20)
    of_bent, of_straight = (write_report(each, tmp_path / f"{each.form}.html").read_text() for each in (law, straight))
    assert (law.form, straight.form) == ("moved", "chinchilla")
    assert (
        "not this formula's. Prediction: the five-parameter law, moved onto the runs at the largest compute" in of_bent
    )
    assert f"irreducible loss, nats per token; of what answers {law.irreducible:.5g}" in of_bent
    assert "not this formula's" not in of_straight
    assert "of what answers" not in of_straight


def test_forecasts_are_shown_where_there_are_any(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=60)
    waiting, scored = target(3e21, N=5e9), target(1e21, N=1e9)
    found = calibrate([forecast(scored, waiting)], read_runs(valley(N=1.07e9)), ["<f>.json is torn"])
    text = write_report(law, tmp_path / "report.html", forecasts=found).read_text()
    for said in ("<h2>Forecasts</h2>", "1.07B", "x1.07", "no runs yet", "1 scored, 1 not yet",
                 "cannot be used: &lt;f&gt;.json is torn"):  # fmt: skip
        assert said in text
    assert "Forecasts" not in write_report(law, tmp_path / "report.html", forecasts=Calibration()).read_text()


def test_target_budgets_are_predicted_and_one_too_far_is_called_a_guess(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003, compute_budgets=(1e18, 1e19, 1e20)), bootstraps=60)
    plan = SweepPlan(
        experiments=[], model_cls_name="GPT", size_param="width", compute_budgets=[1e18], target_budgets=(3e21, 1e24)
    )
    for text in (
        write_report(law, tmp_path / "report.html", plan=plan).read_text(),
        law.summary(plan.target_budgets),
    ):
        assert "3.00e+21" in text
        assert "1.00e+24" in text
        assert "beyond 100 the law is a guess; train a budget of at least 1.00e+22 FLOPs" in text
        assert text.count("the law is a guess") == 1
    assert "3.00e+21" not in law.summary()


def test_what_would_help_most_is_said_at_the_top_and_is_no_option_of_the_fit(tmp_path):
    said = "set compute_budgets = [1e9, 3e9] in [sweep]"
    law = fit_scaling_law(synthetic_runs(noise=0.02, compute_budgets=(1e18, 3e18, 1e19)), bootstraps=60)
    path = write_report(dataclasses.replace(law, options={**law.options, NEXT_OPTION: said}), tmp_path / "report.html")
    options = re.search("<dt>Options</dt><dd>(.*?)</dd>", path.read_text())
    assert f"What would help most: {said}" in path.read_text()
    assert "method = " in options[1]
    assert said not in options[1]


@pytest.mark.slow
def test_losses_that_follow_no_law_still_give_a_report(tmp_path):
    runs = synthetic_runs()
    law = fit_scaling_law(runs.assign(loss=2 + 1e-3 * np.sin(np.arange(len(runs)))), bootstraps=60)
    assert law.verdict == "not supported"
    assert law.summary()
    assert law.chinchilla_table()
    assert law.save(tmp_path / "law.json").exists()
    assert "Not shown, since" in write_report(law, tmp_path / "report.html").read_text()


def test_a_broken_study_says_so_in_its_report(tmp_path):
    law = fit_scaling_law(synthetic_runs(off_centre=30, noise=0.002, compute_budgets=(1e18,)), bootstraps=60)
    text = write_report(law, tmp_path / "report.html").read_text()
    assert "Not supported" in text
    assert "add smaller models" in text


def test_a_reader_can_repeat_the_study_from_the_report(tmp_path):
    from flops_fit.cost.estimate import estimate
    from flops_fit.cost.hardware import Hardware
    from flops_fit.sizes.size_map import SizeEntry, SizeMap
    from flops_fit.sweep.sweep_plan import plan_from_size_map

    counts = [int(count) for count in np.geomspace(1e6, 1e9, 40)]
    entries = tuple(
        SizeEntry(
            size=number,
            num_params=count,
            total_params=count,
            trainable_params=count,
            non_embedding_params=count,
            flops_per_token=6.0 * count,
            measured_flops_per_token=None,
        )
        for number, count in enumerate(counts, 1)
    )
    sizes = SizeMap(
        model_name="Counted",
        size_param="width",
        param_count="total",
        flops_method="6nd",
        flops_per_param_per_token=6,
        entries=entries,
        skipped=(),
        notes=(),
    )
    plan = plan_from_size_map(sizes, [1e17, 1e18, 1e19])
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=20)
    cost = estimate(plan, Hardware(peak_flops=1e14))
    text = write_report(law, tmp_path / "report.html", plan=plan, cost=cost, study={"seed": 7}).read_text()
    for experiment in plan.experiments:
        assert experiment.experiment_id in text
        assert f"{experiment.num_tokens:,}" in text
    assert "device-hours" in text
    assert law.nearest_buildable(1e19, sizes).size in range(1, 41)
