"""The report in Chromium: tables sort, points speak to pointers and keys, dark is dark, nothing is cut off."""

import pytest
from webdriver import CHROMEDRIVER, CHROMIUM, browser

from flops_fit.report.report import write_report
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.figures.plot_data import run_names
from flops_fit.synthetic import synthetic_runs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs Chromium and its driver"),
]
DARK = ["--blink-settings=preferredColorScheme=0"]


@pytest.fixture(scope="module")
def law():
    return fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=60)


@pytest.fixture(scope="module")
def address(law, tmp_path_factory):
    return write_report(law, tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture(scope="module")
def page(address):
    with browser(1440, 1000) as page:
        page.open(address)
        yield page


RUNS = "const table = [...document.querySelectorAll('details')].find(d => d.textContent.includes('runs used'))"


def cells(page, column):
    return page.run(
        f"{RUNS}.querySelector('table'); return [...table.tBodies[0].rows].map(r => r.cells[{column}].textContent)"
    )


def head(page, column, do):
    return page.run(f"{RUNS}.querySelector('table'); const head = table.tHead.rows[0].cells[{column}]; {do}")


def number(text):
    return float(text.rstrip("kMB")) * {"k": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1)


def test_a_click_on_a_header_sorts_by_its_numbers_and_another_turns_it_round(page):
    before = cells(page, 2)
    head(page, 2, "head.querySelector('button').click()")
    up = cells(page, 2)
    assert sorted(up) == sorted(before)
    assert [number(cell) for cell in up] == sorted(number(cell) for cell in before)
    assert head(page, 2, "return head.ariaSort") == "ascending"
    head(page, 2, "head.querySelector('button').click()")
    assert [number(cell) for cell in cells(page, 2)] == sorted((number(cell) for cell in before), reverse=True)
    head(page, 4, "head.querySelector('button').click()")
    assert head(page, 2, "return head.ariaSort") is None
    assert cells(page, 4) == sorted(cells(page, 4), key=float)


def test_headers_are_buttons_that_keys_reach(page):
    assert (
        head(page, 1, "const b = head.querySelector('button'); b.focus(); return document.activeElement === b") is False
    )
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert (
        head(page, 1, "const b = head.querySelector('button'); b.focus(); return document.activeElement === b") is True
    )


SHOWN = "return document.getElementById('said').textContent"


def test_a_pointer_at_a_run_shows_what_it_is(page, law):
    at = """
        const picture = document.querySelector('figure.isoflop .picture'), svg = picture.querySelector('svg');
        picture.scrollIntoView();
        const [x, y] = JSON.parse(picture.querySelector('script').textContent)[3];
        const place = new DOMPoint(x + 3, y - 2).matrixTransform(svg.getScreenCTM());
        svg.dispatchEvent(new PointerEvent('pointermove', { clientX: place.x, clientY: place.y }));
    """
    page.run(at)
    assert page.run(SHOWN) in run_names(law)
    box = page.run("return document.getElementById('said').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= 1440
    page.run("document.querySelector('figure.isoflop svg').dispatchEvent(new PointerEvent('pointerleave'))")
    assert page.run(SHOWN) == ""


def test_arrow_keys_go_from_run_to_run(page, law):
    press = """
        const picture = document.querySelector('figure.residuals .picture');
        picture.focus();
        picture.dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0], cancelable: true }));
    """
    seen = set()
    for _ in range(6):
        page.run(press, "ArrowRight")
        seen.add(page.run(SHOWN))
    assert len(seen) > 1
    assert seen <= set(run_names(law))
    page.run(press, "Escape")
    assert page.run(SHOWN) == ""


def test_the_first_step_back_goes_to_the_last_run(page):
    said, last = page.run("""
        const picture = document.querySelector('figure.tokens_per_param .picture');
        const points = JSON.parse(picture.querySelector('script').textContent);
        const [, , text] = points.sort((a, b) => a[0] - b[0] || a[1] - b[1]).at(-1);
        picture.scrollIntoView();
        picture.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', cancelable: true }));
        const texts = JSON.parse(document.getElementById('points').textContent);
        return [document.getElementById('said').textContent, texts[text]];
    """)
    assert said == last


@pytest.mark.parametrize("flags", [[], DARK], ids=["light", "dark"])
def test_text_can_be_read_and_nothing_is_wider_than_the_page(address, flags):
    with browser(1440, 1000, flags) as page:
        page.open(address)
        for width in (1920, 1440, 500):
            page._do("POST", "/window/rect", {"width": width, "height": 900})
            assert page.run("return document.documentElement.scrollWidth <= innerWidth"), width
        colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        ink, paper = (sum(int(part) for part in said[4:-1].split(", ")) for said in page.run(colours))
        assert (paper < 120 and ink > 600) if flags else (paper > 700 and ink < 120)
        label = "return getComputedStyle(document.querySelector('figure.isoflop svg text')).fill"
        assert (sum(int(part) for part in page.run(label)[4:-1].split(", ")) > 600) == bool(flags)
