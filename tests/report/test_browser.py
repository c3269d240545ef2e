"""The page in a real browser: it fits a phone, draws every figure, sorts, and loads nothing."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.report.inputs import Inputs
from tasks.report.page import report
from tests.answers.splits import noisy

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

MODELS = ("first-of-all-the-models-with-a-very-long-name-instruct-2512", "second", "third")
BENCHMARKS = ("GSM8K", "MATH", "OlympiadBench", "SVAMP", "a-benchmark-with-quite-a-long-name")
ESTIMATORS = ("ensemble", "forest-isotonic-balanced", "logistic-none@17d", "atc-max", "constant")


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next((p for n in names if (p := shutil.which(n))), None)
    if path is None:
        pytest.skip("no Chromium on the path: install it, or name it in CHROMIUM")
    with sync_api.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = driver.chromium.launch(executable_path=path, args=options, timeout=120_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    table = noisy(MODELS, BENCHMARKS, ESTIMATORS, (1, 2, 3))
    path.write_text(report(Inputs("A sweep that never was", table, "ensemble")))
    return path


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (420, "light"), (420, "dark")])
def opened(request, browser, file: Path) -> Iterator[tuple["sync_api.Page", list[str]]]:
    """The page at one width and colour scheme, and whatever went wrong in it."""
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(120_000)
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type != "log" else None)
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else problems.append(r.url),
    )
    page.goto(file.as_uri())
    yield page, problems
    page.close()


def test_nothing_fails_and_nothing_is_fetched(opened) -> None:
    page, problems = opened
    page.wait_for_load_state("networkidle")
    assert problems == []
    assert "A sweep that never was" in page.title()


def test_every_figure_is_drawn_and_fits(opened) -> None:
    page, _ = opened
    width = page.viewport_size["width"]
    boxes = [svg.bounding_box() for svg in page.query_selector_all("figure svg")]
    assert len(boxes) >= 8
    for box in boxes:
        assert box["width"] > 250
        assert box["height"] > 100
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    # What is drawn reaches beyond no picture's edge, so no label is cut off.
    cut = page.evaluate(
        """() => [...document.querySelectorAll("figure svg")].filter((svg) => {
             const outer = svg.getBoundingClientRect();
             return [...svg.querySelectorAll("g[id*='text_']")].some((text) => {
               const box = text.getBoundingClientRect();
               return box.width && (box.left < outer.left - 1 || box.right > outer.right + 1
                 || box.top < outer.top - 1 || box.bottom > outer.bottom + 1);
             });
           }).length"""
    )
    assert cut == 0


def test_the_page_is_no_wider_than_the_window_even_with_everything_open(opened) -> None:
    page, _ = opened
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_words_stand_out_from_their_ground(opened) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) for words, the smaller ones too."""
    page, _ = opened
    lowest = page.evaluate(
        """() => {
          const light = (css) => {
            const parts = css.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
            const [r, g, b] = parts.map(
              (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b;
          };
          const ground = getComputedStyle(document.querySelector("section")).backgroundColor;
          const seen = ["section p", "section td", "section small", "nav a", "figcaption",
            "section th", "section dt", ".tile b"];
          const ratios = seen.map((name) => document.querySelector(name)).filter(Boolean)
            .map((node) => {
              const [a, b] = [light(getComputedStyle(node).color), light(ground)];
              return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
            });
          return Math.min(...ratios);
        }"""
    )
    assert lowest >= 4.5


def test_a_click_on_a_head_sorts_by_value_and_a_third_restores(opened) -> None:
    page, _ = opened
    table = page.locator("#table-sizes")
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    column = table.locator("th").all_inner_texts().index("AEE unseen") + 1
    cells = table.locator(f"tbody td:nth-child({column})")

    def values() -> list[float]:
        return [float(v) for v in cells.evaluate_all("all => all.map(c => c.dataset.value)")]

    first, head = values(), table.locator(f"th:nth-child({column}) button")
    head.click()
    assert values() == sorted(first)
    head.click()
    assert values() == sorted(first, reverse=True)
    assert table.locator(f"th:nth-child({column})").get_attribute("aria-sort") == "descending"
    head.click()
    assert values() == first
    assert first != sorted(first)


def test_without_script_the_tables_are_there(browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(file.as_uri())
    assert page.locator("#table-compositions tbody tr").count() >= 12
    assert page.locator("#table-compositions").is_visible()
    context.close()


def test_printed_it_opens_what_is_folded_and_breaks_into_pages(browser, file: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(file.as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("nav").is_hidden()
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert page.pdf().count(b"/Type /Page\n") > 5
    page.close()
