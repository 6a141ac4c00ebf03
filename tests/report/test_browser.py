"""The page in a browser: it sorts, filters, picks, shows at a touch, goes by keyboard, and asks for
nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from browser import CHROMIUM, Browser

from nas.report.page import write_page
from nas.runs.folder.run import Run

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
FRONT = "document.querySelector('table[data-sortable]')"
TRIALS = "Array.from({0}.tBodies).filter(body => !body.hidden).map(body => body.rows[0].cells[0].textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of 24 trials, written once."""
    return write_page(Run(shutil.copytree(written, tmp_path_factory.mktemp("page") / "run")))


def column(head: str) -> str:
    return f"Array.from({FRONT}.tHead.rows[0].cells).find(cell => cell.textContent === '{head}').firstChild"


def test_a_reader_sorts_filters_and_picks(browser: Browser, page: Path, written: Path) -> None:
    browser.open(page)
    front = pd.read_csv(written / "front.csv")
    for head, name in (("GFLOPs", "macs"), ("Accuracy, validation (%)", "accuracy")):
        for down in (True, False):
            browser.point(column(head), click=True)
            said = browser.run(f"{column(head)}.parentElement.getAttribute('aria-sort')")
            assert said == ("descending" if down else "ascending")
            expected = front.sort_values(name, ascending=not down)["trial"].astype(str).tolist()
            assert browser.run(TRIALS.format(FRONT)) == expected
    browser.point("document.querySelector('.filter input')", click=True)
    browser.call("Input.insertText", text="tps t2d")
    has = front["operators"].str.contains("tps") & front["operators"].str.contains("t2d")
    expected = front.loc[has, "trial"].astype(str).tolist()
    assert sorted(browser.run(TRIALS.format(FRONT))) == sorted(expected)
    assert browser.run("document.querySelector('.filter span').textContent") == f"{len(expected)} of {len(front)}"
    assert (browser.complaints, browser.requests[1:]) == ([], [])


def test_a_dot_tells_what_it_is_and_shows_its_row(browser: Browser, page: Path) -> None:
    browser.open(page)
    dot = "document.querySelector('[data-figure=pareto_macs] .scatterlayer .trace:last-child .points path:last-child')"
    browser.point(dot)
    browser.wait("document.querySelector('[data-figure=pareto_macs] .hoverlayer').textContent.includes('trial 23')")
    browser.point(dot, click=True)
    browser.wait("document.querySelectorAll('.chosen').length === 2")  # of the front and of all trials
    chosen = "Array.from(document.querySelectorAll('.chosen')).map(each => each.rows[0].cells[0].textContent)"
    assert browser.run(chosen) == ["23", "23"]
    box = browser.run("document.querySelector('.chosen').getBoundingClientRect().y")
    assert 0 <= box <= 900 and browser.complaints == []


def test_all_goes_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    seen = []
    for _ in range(60):
        browser.press("Tab")
        seen.append(browser.run("document.activeElement.closest('th, summary, .filter, .scroll')?.textContent ?? ''"))
        if seen[-1] == "GFLOPs":
            browser.press("Enter")
            assert browser.run("document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"
        if seen[-1] == "24 trials as a table":
            browser.press("Enter")
            assert browser.run("document.activeElement.parentElement.open")
            break
    assert "GFLOPs" in seen and seen[-1] == "24 trials as a table"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_phone_and_desk_in_both_themes(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.requests.clear()
    browser.open(page, width, dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert (browser.complaints, browser.requests[1:]) == ([], [])
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 20, 22)") == dark
    if width > 1000:  # all columns of the front are visible
        assert browser.run(f"{FRONT}.scrollWidth <= {FRONT}.parentElement.clientWidth + 1")
    turned = "/rotate\\([^0]/.test(each.getAttribute('transform'))"
    assert browser.run(f"[...document.querySelectorAll('.xtick text')].filter(each => {turned}).length") == 0
    wide = "Array.from(document.querySelectorAll('.plot .main-svg')).filter(each => each.clientWidth > "
    assert browser.run(f"{wide} each.closest('figure').clientWidth).length") == 0


def test_it_prints_light_whatever_the_theme(browser: Browser, page: Path) -> None:
    browser.open(page, dark=True)
    assert browser.printed().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.documentElement).getPropertyValue('--ink')").strip() == "#1a1d21"
    browser.call("Emulation.setEmulatedMedia", media="")


def test_a_large_table_is_unpacked_when_it_is_opened(browser: Browser, written: Path, tmp_path: Path) -> None:
    run = Run(shutil.copytree(written, tmp_path / "run"))
    run.trials = pd.concat([run.trials.assign(trial=run.trials["trial"] + 100 * k) for k in range(20)])
    browser.open(write_page(run))
    browser.point("document.querySelector('[data-packed]').parentElement.firstElementChild", click=True)
    browser.wait("document.querySelector('[data-packed] table')?.tBodies.length === 480")
    assert browser.complaints == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_run_of_few_trials_complains_of_nothing(browser: Browser, written: Path, tmp_path: Path, count: int) -> None:
    run = Run(shutil.copytree(written, tmp_path / "run"))
    run.trials, run.front = run.trials.head(count), run.front.head(0)
    run.running = count == 2
    browser.requests.clear()
    browser.open(write_page(run))
    assert (browser.complaints, browser.requests[1:]) == ([], [])
    assert browser.run("document.querySelectorAll('.main-svg').length > 0") == (count > 0)
    assert browser.run("document.querySelectorAll('table[data-sortable]').length") == (count > 1)
    assert browser.run("document.querySelectorAll('meta[http-equiv=refresh]').length") == (count == 2)
