"""A console over a real pipeline, and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.stage import Stage

PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)
WIDE = {"width": 1280, "height": 800}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests that need a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="module")
def stage(stack, tmp_path_factory) -> Iterator[Stage]:
    """Workers, data and a console on the session's stack."""
    if not stack.services:
        pytest.skip("the tests must not stop and start the stack named in DIA_*")
    made = Stage(stack, tmp_path_factory.mktemp("browser"))
    try:
        made.set_up()
        yield made
    finally:
        made.tear_down()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. While it is open, this thread can run no event loop."""
    path = shutil.which("chromium")
    if path is None:
        missing = "no chromium here: tests/browser/install_chromium.sh installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(f"THE CONSOLE IS NOT TESTED: {missing}")
    with sync_playwright() as playwright:
        # Without a sandbox, because CI has no user namespaces; it opens only our own pages.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def context(stage, browser) -> Iterator[BrowserContext]:
    """A browser context without cookies or history. The stage comes first: it runs an event loop."""
    # Without motion: a panel that fades in has too little contrast meanwhile.
    opened = browser.new_context(base_url=stage.url, viewport=WIDE, reduced_motion="reduce")
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()


@pytest.fixture
def page(stage, context) -> Iterator[Page]:
    """A page signed in as an admin of all tenants."""
    opened = context.new_page()
    with no_script_errors(opened):
        stage.sign_in(opened, stage.token)
        yield opened


@contextmanager
def no_script_errors(page: Page) -> Iterator[None]:
    """A script error or a violation of the CSP fails the test."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: _note(said.text, wrong))
    yield
    assert wrong == []


def _note(text: str, wrong: list[str]) -> None:
    if "Content Security Policy" in text or "Uncaught" in text:
        wrong.append(text)


@pytest.fixture(scope="session")
def screenshots(request) -> Path:
    """The folder for screenshots: CI artefacts, and the source of tests/browser/screenshots."""
    folder = Path(request.config.rootpath) / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
