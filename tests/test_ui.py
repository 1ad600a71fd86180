"""The pages as a person sees them, in a real headless Chromium against a live web server and daemon.

`FLOPS_FIT_SCREENSHOTS=docs/images` keeps what was seen.
"""

import os
from pathlib import Path

import pytest
from dagster_pages import served
from pipeline_study import DAGSTER_WARNINGS, materializations, run, write_study
from webdriver import CHROMEDRIVER, CHROMIUM, browser, wait_for

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs Chromium and chromedriver on the PATH"),
    *DAGSTER_WARNINGS,
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A study that has been run once, and the address of its pages."""
    home = tmp_path_factory.mktemp("pages")
    study = write_study(home)
    run(study, home)
    with served(study, home) as address:
        yield home, address


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
    page.wait_for_text("plan table", "budgets", "id ends in")
    page.click_text("Materialize", tags="button")
    wait_for(lambda: materializations(home)["sweep_plan"] > before["sweep_plan"], 180, "a new plan")
    assert materializations(home) == before | {"sweep_plan": before["sweep_plan"] + 1}
    keep(page, "plan")


def test_the_law_shows_exponent_predictions_and_figures(pages, page):
    _, address = pages
    page.open(f"{address}/assets/scaling_law")
    page.wait_for_text("N_opt ~ C^", "predictions", "D_opt", "exponent a", "Show Markdown")
    keep(page, "law")
    page.click_text("[Show Markdown]", tags="*")
    script = "return [...document.images].some(i => i.src.startsWith('data:image/png') && i.naturalWidth > 400)"
    wait_for(lambda: page.run(script), 30, "the IsoFLOP figure")
    keep(page, "figure")
