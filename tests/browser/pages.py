"""The pages of the console, and what a test asks of any of them."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

PAGES = {
    "/": "Overview", "/explore": "Explore", "/messages": "Messages",
    "/messages?topic=model.metrics": "Messages", "/trace": "Trace",
    "/dead-letters": "Dead letters",
    "/decisions": "Decisions", "/training": "Training", "/pipeline": "Pipeline", "/data": "Data",
    "/capacity": "Capacity",
}  # fmt: skip
SERIOUS = ("serious", "critical")
_VIOLATIONS = {"resultTypes": ["violations"]}
"""axe-core describes every element that passes a rule, too, unless an option forbids it."""
PHONE = {"width": 390, "height": 844}


def sign_in(page: Page, url: str, token: str) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{url}/")


def read(page: Page) -> None:
    """Wait until all requests of the page have ended."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def serious(page: Page, options: dict[str, object] | None = None) -> list[str]:
    """axe-core's findings, one line each."""
    return [
        f"{one['id']}: {one['nodes'][0]['html']}"
        for one in Axe()
        .run(page, options={**_VIOLATIONS, **(options or {})})
        .response["violations"]
        if one["impact"] in SERIOUS
    ]


def usable(page: Page, *sizes: ViewportSize) -> None:
    """At each size, axe finds nothing serious and nothing is wider; the page keeps the last one."""
    for size in sizes:
        page.set_viewport_size(size)
        assert serious(page) == [], size
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), size
