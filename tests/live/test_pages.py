"""A working day in a real browser: start a run from its form, watch it, compare sweeps in MLflow.

Screenshots are kept in the folder ``SENTINEL_SCREENSHOTS`` names, else in the test's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live import sums
from tests.live.site import Site

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Page = playwright.Page

ITEMS = 24

#: What the names of its sweeps say of the estimators.
SWEPT = "ensemble + 2"

#: Where MLflow 3's pages close the assistant that covers a quarter of them; it has no name.
_ASSISTANT = (1244, 36)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = sums.adding(latency_s=0.02)
    made = Site(tmp_path_factory.mktemp("site"), server.url)
    made.experiment(ITEMS)
    try:
        with made.pages():
            yield made
    finally:
        server.close()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the PATH")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=browser, args=["--no-sandbox"], timeout=120_000
        )
        made = chromium.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
        made.set_default_timeout(120_000)
        yield made
        chromium.close()


@pytest.fixture(scope="module")
def keep(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Take a screenshot under a name."""
    folder = Path(os.environ.get("SENTINEL_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str, **options: object) -> None:
        with contextlib.suppress(playwright.TimeoutError):  # Some pages ask for news for ever.
            page.wait_for_load_state("networkidle", timeout=5_000)
        page.wait_for_timeout(1200)  # Pages draw their charts and fade in.
        path = folder / f"{name}.png"
        page.screenshot(path=path, **options)
        assert path.stat().st_size > 5_000

    return take


def open_form(page: Page, site: Site, deployment: str) -> None:
    page.goto(f"{site.prefect}/deployments")
    rows = page.locator("a[href*='/deployments/deployment/']")
    rows.get_by_text(deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").first.click()
    page.get_by_text("The file that says what to run.").wait_for()


def choose(page: Page, label: str, *options: str) -> None:
    """Open the select under ``label`` and choose options of it."""
    button = "xpath=following::button[contains(@class, 'p-select-button__control')][1]"
    listed = page.locator(".p-select-option")
    for _ in range(10):  # A busy page may not listen yet.
        page.get_by_text(label, exact=True).locator(button).focus()
        page.keyboard.press("ArrowDown")
        with contextlib.suppress(playwright.TimeoutError):
            listed.first.wait_for(timeout=3_000)
            break
    for option in options:
        listed.get_by_text(option, exact=True).click()


def close_list(page: Page) -> None:
    """A click beside an open list closes it."""
    page.get_by_text("Parameters", exact=True).first.click()


def submit(page: Page) -> None:
    # The form reads its fields a moment after they change, by the clock of a page that may be busy.
    page.evaluate("() => new Promise((done) => setTimeout(done, 800))")
    page.get_by_role("button", name="Submit").click()


def start(page: Page) -> None:
    """Submit the form and wait until the server has made its run.

    Again where it said that it has made none, as while its database is locked, or was not asked.
    """
    for _ in range(3):
        answer = _submitted(page)
        if answer.ok:
            return
        page.wait_for_timeout(3_000)
    raise AssertionError((answer.status, answer.text(), answer.request.post_data))


def _submitted(page: Page) -> object:
    """The server's answer to the form."""
    asked: list[str] = []

    def note(request: object) -> None:
        if _makes_a_run(request):
            asked.append(request.url)

    page.on("request", note)
    try:
        with page.expect_response(lambda r: _makes_a_run(r.request), timeout=300_000) as made:
            submit(page)
            for attempt in range(1, 400):
                page.wait_for_timeout(250)
                if asked:
                    break
                if attempt % 160 == 0:  # A busy page may not have listened yet.
                    page.get_by_role("button", name="Submit").click()
    finally:
        page.remove_listener("request", note)
    return made.value


def _makes_a_run(request: object) -> bool:
    return request.method == "POST" and request.url.endswith("/create_flow_run")


def test_a_bad_value_is_rejected_before_a_run_starts(site: Site, page: Page) -> None:
    open_form(page, site, "experiment")
    page.locator("input[type=number]").first.fill("0")
    submit(page)
    page.get_by_text(re.compile("minimum|less than|greater", re.IGNORECASE)).first.wait_for()
    assert site.runs() == []


def test_a_run_is_started_from_its_form_and_watched(site: Site, page: Page, keep) -> None:
    open_form(page, site, "experiment")
    choose(page, "Models (Optional)", "small", "other")
    keep("form")
    close_list(page)
    start(page)
    assert len(site.runs()) == 1
    (run,) = site.finished(1)
    assert run["state_type"] == "COMPLETED"
    assert run["name"] == "experiment sums: small, other"
    states = site.tasks(run)
    assert {name for name in states if name.startswith("generate")} == {
        f"generate {m} / {b}" for m in ("small", "other") for b in ("easy", "middle", "many")
    }
    page.goto(f"{site.prefect}/runs/flow-run/{run['id']}")
    page.get_by_text("Completed").first.wait_for()
    keep("run")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("What is missing of sums").wait_for()
    for key in ("plan", "estimates", "figures"):
        page.goto(f"{site.prefect}/artifacts/artifact/{artifact(site, run, key)['id']}")
        page.get_by_text(re.compile("What is missing|trained on|Figures of")).first.wait_for()
        keep(key)


def artifact(site: Site, run: dict, key: str) -> dict:
    """The one artifact of a run with this key."""
    body = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": [key]}}}
    (found,) = site.api("/artifacts/filter", body)
    return found


def test_the_link_leads_to_the_sweep_in_mlflow(site: Site, page: Page, keep) -> None:
    (run,) = site.finished(1)
    linked = artifact(site, run, "mlflow")
    page.goto(f"{site.prefect}/artifacts/artifact/{linked['id']}")
    link = page.get_by_role("link", name="MLflow run")
    address = link.get_attribute("href")
    assert address.startswith(site.mlflow)
    page.goto(address)
    page.get_by_text(re.compile("^sums sweep [0-9a-f]{4}: ensemble")).first.wait_for()
    page.get_by_text("small ensemble").first.wait_for()
    page.mouse.click(*_ASSISTANT)
    keep("mlflow-run")
    # From there one goes back to the list of runs, and not to MLflow's pages of chats.
    page.get_by_role("link", name="Runs", exact=True).first.click()
    page.get_by_text(re.compile(r"\d+ matching runs")).first.wait_for()
    page.goto(f"{site.mlflow}/#/models/sums-small/versions/1")
    page.get_by_text("champion").first.wait_for()
    page.get_by_text("Estimates the accuracy of").first.wait_for()
    keep("mlflow-estimator")


def test_two_sweeps_are_compared_in_mlflow(site: Site, page: Page, keep) -> None:
    open_form(page, site, "experiment")
    page.locator("input[type=number]").first.fill("12")
    start(page)
    assert len(site.runs()) == 2
    ended = site.finished(2)
    assert [run["state_type"] for run in ended] == ["COMPLETED"] * 2
    from mlflow import MlflowClient

    client = MlflowClient(site.mlflow)
    found = client.get_experiment_by_name("sums").experiment_id
    sweeps = client.search_runs([found], "tags.`sentinel.kind` = 'sweep'")
    names = {run.info.run_name for run in sweeps}
    assert sorted(re.sub(" [0-9a-f]{4}", "", name) for name in names) == [
        f"sums sweep: {SWEPT}",
        f"sums sweep: {SWEPT} (limit 12)",
    ]
    # The search that the docs give for sweeps: beside them stand the runs of their estimators.
    search = urllib.parse.quote("tags.`sentinel.kind` = 'sweep'")
    asked = f"workflowType=machine_learning&searchFilter={search}"
    runs = f"{site.mlflow}/#/experiments/{found}/runs?{asked}"
    page.goto(runs)
    page.get_by_text("2 matching runs").first.wait_for()
    keep("mlflow-runs")
    boxes = page.locator(".ag-row .ag-selection-checkbox input")
    for _ in range(10):  # The list moves while it settles, and forgets what was chosen.
        for row in range(2):
            with contextlib.suppress(playwright.Error):  # Raised where it is forgotten at once.
                boxes.nth(row).set_checked(True, force=True)
        page.wait_for_timeout(1000)
        if all(boxes.nth(row).is_checked() for row in range(2)):
            break
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    for shown in (*names, "aee", "rho"):
        page.get_by_text(shown, exact=True).first.wait_for()
    keep("mlflow-compare")
    page.goto(f"{runs}&compareRunsMode=CHART")
    page.get_by_text("Model metrics").first.wait_for()
    for name in names:
        page.get_by_text(f"{name} (aee)").first.wait_for()
    keep("mlflow-charts")
