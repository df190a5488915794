"""A running product and a real Chromium, for the journeys that people make."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests import chromium
from tests.fakes import local_run
from tests.fakes.local_run import LocalRun

Look = Literal["light", "dark", "phone"]
HERE = Path(__file__).parent


class NewPage(Protocol):
    """Opens a page as a new visitor: own cookies, and the look that the test wants."""

    def __call__(self, *, look: Look = "light") -> Page: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all journeys to one worker: they share one product."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def product() -> Iterator[LocalRun]:
    """`make run`, in a folder and on ports of its own."""
    data = local_run.new_data_folder()
    run = local_run.start(data=data)
    try:
        yield run.wait_until_healthy()
    finally:
        run.stop()
        local_run.remove(data)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    # Not for the session: while it is open no asynchronous test can run in this process.
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        pytest.fail(chromium.MISSING, pytrace=False)
    started = playwright.chromium.launch(executable_path=path)
    yield started
    started.close()


@pytest.fixture
def new_page(browser: Browser, playwright: Playwright, product: LocalRun) -> Iterator[NewPage]:
    """Addresses are relative to the product. Script errors and refused resources fail the test."""
    contexts, complaints = [], []

    def open_page(*, look: Look = "light") -> Page:
        device = playwright.devices["iPhone 13"] if look == "phone" else {}
        device = {name: value for name, value in device.items() if name != "default_browser_type"}
        context = browser.new_context(
            **device, base_url=product.url, color_scheme="dark" if look == "dark" else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda line: "Content Security Policy" in line.text and complaints.append(line.text),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page: NewPage) -> Page:
    return new_page()
