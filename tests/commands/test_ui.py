"""The pages as a person sees them, in a real headless Chromium against a live web server and daemon.

`FLOPS_FIT_SCREENSHOTS=docs/images` keeps what was seen.
"""

import json
import os
from pathlib import Path

import pytest
from dagster_pages import schedule_state
from pipeline_study import DAGSTER_WARNINGS, materializations
from webdriver import CHROMEDRIVER, CHROMIUM, browser, wait_for

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


def test_the_law_shows_exponent_predictions_and_figures(pages, page):
    _, address = pages
    page.open(f"{address}/assets/scaling_law")
    page.wait_for_text("N_opt ~ C^", "predictions", "D_opt", "exponent a", "Show Markdown")
    keep(page, "law")
    page.click_text("[Show Markdown]", tags="*")
    script = "return [...document.images].some(i => i.src.startsWith('data:image/svg') && i.naturalWidth > 400)"
    wait_for(lambda: page.run(script), 30, "the IsoFLOP figure")
    keep(page, "figure")
