"""The pages as a person sees them, in a real headless Chromium against a live web server and daemon.

`FLOPS_FIT_SCREENSHOTS=docs/images` keeps what was seen.
"""

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from dagster_pages import schedule_state
from pipeline_study import DAGSTER_WARNINGS, materializations
from webdriver import CHROMEDRIVER, CHROMIUM, browser, wait_for

from flops_fit_assets.commands.ui import FIRST_PAGE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs Chromium and chromedriver on the PATH"),
    *DAGSTER_WARNINGS,
]


@pytest.fixture
def page():
    """A browser that has never been there."""
    with browser() as opened:
        yield opened


def keep(page, name):
    if folder := os.environ.get("FLOPS_FIT_SCREENSHOTS"):
        page.screenshot(Path(folder) / f"{name}.png")


def test_the_lineage_shows_every_node(pages, page):
    _, address = pages
    page.open(f"{address}/asset-groups")
    page.wait_for_text("model", "sweep", "size_map", "sweep_plan", "experiment", "training_run", "scaling_law")
    keep(page, "lineage")


def test_the_plan_is_materialized_with_the_button_and_shows_its_table(pages, page):
    home, address = pages
    before = materializations(home)
    page.open(f"{address}/assets/sweep_plan")
    page.wait_for_text("plan table", "budgets", "when planned")
    page.click_text("Materialize", tags="button")
    wait_for(lambda: materializations(home)["sweep_plan"] > before["sweep_plan"], 180, "a new plan")
    assert materializations(home) == before | {"sweep_plan": before["sweep_plan"] + 1}
    keep(page, "plan")


def open_launchpad(page, address):
    """The launchpad of `sweep_plan`, with the study's values; its text and a function that replaces it."""
    page.open(f"{address}/assets/sweep_plan")
    page.wait_for_text("plan table")
    page.press("//button[normalize-space()='Materialize']/following::button[1]")
    page.press("//*[@role='menuitem'][contains(., 'Open launchpad')]")
    page.wait_for_text("No errors", "ASSETS (OPS)")
    editor = "document.querySelector('.CodeMirror').CodeMirror"

    def put(text):
        page.run(f"{editor}.setValue(arguments[0])", text)

    return page.run(f"return {editor}.getValue()"), put


def press_materialize_in_dialog(page):
    page.press("(//button[normalize-space()='Materialize'])[last()][not(@disabled)]")


def test_a_bad_value_in_the_launchpad_is_refused_with_what_is_wrong(pages, page):
    home, address = pages
    plan, made = (home / "tiny" / "sweep_plan.json").read_bytes(), materializations(home)
    text, put = open_launchpad(page, address)
    put(text.replace("num_sizes_per_budget: 4", "num_sizes_per_budget: many"))
    page.wait_for_text('Value "many" of type', reload=False)
    keep(page, "launchpad_kind")
    put(text.replace("- 300000\n", "- 3e5 FLOPs\n"))
    page.wait_for_text("No errors", reload=False)
    press_materialize_in_dialog(page)
    page.wait_for_text("compute budget '3e5 FLOPs' is text that is no number; give training FLOPs", reload=False)
    keep(page, "launchpad_refused")
    assert (home / "tiny" / "sweep_plan.json").read_bytes() == plan
    assert materializations(home) == made


def test_budgets_in_the_launchpad_override_the_studys_and_are_shown_as_such(pages, page):
    home, address = pages
    made = materializations(home)
    text, put = open_launchpad(page, address)
    put(text.replace("- 300000\n", "- 3e5\n        - 1.2e6\n"))
    keep(page, "launchpad")
    press_materialize_in_dialog(page)
    wait_for(lambda: materializations(home)["sweep_plan"] > made["sweep_plan"], 180, "a new plan")
    page.open(f"{address}/assets/sweep_plan")
    page.wait_for_text("override", "compute_budgets = (300000.0, 1200000.0, 600000.0)", "to train")
    assert len(json.loads((home / "tiny" / "sweep_plan.json").read_text())["compute_budgets"]) == 3
    assert materializations(home)["training_run"] == made["training_run"], "planned, not trained"


def test_a_trainings_numbers_plot_over_the_partitions(pages, page):
    _, address = pages
    page.open(f"{address}/assets/training_run")
    page.wait_for_text("held-out loss", "utilisation", "seconds predicted")
    page.press("//button[normalize-space()='Plots']")
    page.wait_for_text("FLOPs over budget (ratio)", "Partition", reload=False)
    wait_for(lambda: page.run("return document.querySelectorAll('canvas').length") >= 10, 60, "the plots")
    keep(page, "training")


def test_the_checks_say_what_they_found(pages, page):
    _, address = pages
    page.open(f"{address}/assets/scaling_law?view=checks")
    page.wait_for_text("approaches_agree", "minima_are_interior", "no_experiment_missing", "trustworthy")
    page.click_text("no_experiment_missing", tags="*")
    page.wait_for_text("Every experiment of the plan has a result.", "none missing", reload=False)
    keep(page, "checks")


def test_the_schedule_can_be_switched_on(pages, page):
    _, address = pages
    page.open(f"{address}/automation")
    page.wait_for_text("replan_tiny_schedule", "automation_tiny", "watch_tiny")
    assert schedule_state(address, "replan_tiny_schedule") == "STOPPED"
    switch = "following::label[contains(@class, 'formatSwitch')][1][not(contains(@class, 'disabled'))]"
    page.press(f"//*[contains(text(), 'replan_tiny_schedule')]/{switch}")
    wait_for(lambda: schedule_state(address, "replan_tiny_schedule") == "RUNNING", 60, "the schedule to run")
    keep(page, "schedule")


def test_the_law_shows_verdict_predictions_and_figures_without_a_click(pages, page):
    _, address = pages
    page.open(f"{address}/assets/scaling_law")
    page.wait_for_text("verdict", "N_opt ~ C^", "predictions", "D_opt", "exponent a")
    seen = "return [...document.images].filter(i => i.alt === 'IsoFLOP curves').some(i => i.naturalWidth >= 400)"
    wait_for(lambda: page.run(seen), 30, "the IsoFLOP figure")
    keep(page, "law")


FIRST_WORDS = {
    "study/progress": ("trained", "time left", "spent", "verdict"),
    "sweep_plan": ("when planned", "changed", "in all", "budgets"),
    "scaling_law": ("verdict", "law", "report", "predictions"),
    "training_run": ("status", "held-out loss", "curve and log"),
    "size_map": ("model", "sizes"),
}
CUT_OFF = """
    return [...document.querySelectorAll('table')].filter(table => {
        if (table.parentElement.closest('table') || !table.innerText.includes('Timestamp')) return false;
        for (let box = table.parentElement; box && box !== document.body; box = box.parentElement)
            if (/auto|scroll|hidden/.test(getComputedStyle(box).overflowX))
                return table.getBoundingClientRect().right > box.getBoundingClientRect().right + 1;
        return table.getBoundingClientRect().right > innerWidth;
    }).length"""
TOP = """
    return [...document.querySelectorAll('td')].filter(cell => cell.innerText.trim() === arguments[0])
        .map(cell => cell.getBoundingClientRect()).map(box => [box.left >= 0, box.top])[0]"""


@pytest.mark.parametrize("width", [1440, 1920])
def test_state_cost_and_verdict_are_seen_without_scrolling(pages, width):
    _, address = pages
    with browser(width, 1150) as page:
        for asset, words in FIRST_WORDS.items():
            page.open(f"{address}/assets/{asset}")
            page.wait_for_text(*words)
            wait_for(lambda: page.run("return [...document.images].every(i => i.complete)"), 30, "the figures")
            assert page.run(CUT_OFF) == 0, f"{asset}: a table goes beyond the side"
            for word in words[:4]:
                left, top = page.run(TOP, word)
                assert left, (asset, word)
                assert top < 950, (asset, word, top)
            keep(page, f"{asset.replace('/', '_')}_{width}")


def opened_by(page, text):
    """The address and the text of what a link opens, as a click on it does."""
    link = "[...document.querySelectorAll('a')].find(a => a.innerText.trim() === arguments[0])"
    wait_for(lambda: page.run(f"return !!{link}", text), 60, f"a link {text!r}")
    address = page.run(f"return {link}.href", text)
    page.run(f"{link}.target = '_self'; {link}.click();", text)  # in this window, which is the one that is watched
    wait_for(lambda: page.run("return location.href") == address, 60, f"{address} to open")
    return address


def test_report_curve_and_log_open_from_the_pages(pages, page):
    home, address = pages
    page.open(f"{address}/assets/scaling_law")
    assert opened_by(page, "/flops_fit/tiny/report.html") == f"{address}/flops_fit/tiny/report.html"
    page.wait_for_text("IsoFLOP curves", reload=False)
    assert page.run("return origin") == "null", "nothing in it can ask Dagster"
    name = min(path.name for path in (home / "tiny" / "runs").glob("c300000-*"))  # of the study, whatever a test began
    page.open(f"{address}/assets/training_run?view=partitions&partition={quote(name)}")
    page.wait_for_text("curve and log")
    opened_by(page, f"/flops_fit/tiny/runs/{name}")
    page.wait_for_text(name, "completed", "held-out loss", '"learning_rate"', reload=False)
    assert page.run("return document.querySelectorAll('svg polyline').length") == 1
    opened_by(page, "log.jsonl")
    page.wait_for_text('"step": 1,', reload=False)


def test_a_training_is_one_click_from_the_first_page(pages, page):
    home, address = pages
    page.open(f"{address}{FIRST_PAGE}")
    page.wait_for_text("last trained", "time left")  # how much depends on the budgets that a test before gave
    name = next(path.name for path in (home / "tiny" / "runs").iterdir() if path.name in page.text())
    opened_by(page, name)
    page.wait_for_text("completed", "held-out loss", reload=False)


def test_a_budget_that_admits_nothing_is_refused_and_the_plan_stands(pages, page):
    home, address = pages
    plan, made = (home / "tiny" / "sweep_plan.json").read_bytes(), materializations(home)
    _, put = open_launchpad(page, address)
    put("ops:\n  sweep_plan:\n    config:\n      compute_budgets:\n        - 3e5\n        - 1.0\n")
    page.wait_for_text("No errors", reload=False)
    press_materialize_in_dialog(page)
    page.wait_for_text("budget 1.00e+00 FLOPs admits no size", "raise the budget to at least", reload=False)
    assert (home / "tiny" / "sweep_plan.json").read_bytes() == plan
    assert materializations(home) == made
