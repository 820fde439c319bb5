"""Consoles that are not the built-in app's: of an app with windows of its own, and of a demo. In a browser, on
in-memory parts."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from agents.app import MODEL_METRICS
from streams.connect.access.tokens import Role
from streams.core.clock import SystemClock
from streams.core.errors import ShardUnavailable
from streams.core.types import TopicPartition
from streams.dev.demo.reconcile import Check, DemoVerdict
from streams.dev.demo.serving import COMPARED, ServedDemo
from streams.dev.demo.show.faults import POISON, DemoFaults
from streams.dev.demo.show.handler import DemoHandler
from streams.http.console.addition import ConsoleAddition
from tests.browser.conftest import WIDE, no_script_errors
from tests.browser.memory_console import TENANT, MemoryConsole
from tests.browser.pages import PHONE, read, serious, sign_in, usable
from tests.unit.engine.app.test_window_views import shop

QUICK_MS = 30_000
EVENTS = 1000


@pytest.fixture
def open_page(browser):
    """Opens a page signed in with a token. Its scripts must not fail."""
    opened = []

    def open_(console: MemoryConsole, token: str, **options) -> Page:
        context = browser.new_context(base_url=console.url, reduced_motion="reduce", **options)
        context.set_default_timeout(QUICK_MS)
        watched = no_script_errors(page := context.new_page())
        watched.__enter__()
        opened.append((context, watched))
        sign_in(page, console.url, token)
        return page

    yield open_
    for context, watched in opened:
        watched.__exit__(None, None, None)
        context.close()


@pytest.fixture
def shop_console(tmp_path, monkeypatch) -> Iterator[MemoryConsole]:
    """Two windows of ten seconds, of which the later is open."""
    made = MemoryConsole(tmp_path, monkeypatch, of=shop())
    now_s = SystemClock().now_ms() // 10_000 * 10
    row = [4, 12.5, 3.0, 9.0, 2, "bob", ["bob"], [3]]
    made.rows_of_windows = [
        [(now_s - 40) * 1000, 1, 1, True, *row], [(now_s - 20) * 1000, 2, 1, False, *row],
    ]  # fmt: skip
    made.names = ["bob", "eve"]
    yield made
    made.close()


def test_explore_shows_windows_that_an_app_declares(shop_console, open_page):
    """Ten-second windows of an app's own key and figures: charts, numbers, what is unknown, and the same
    question as SQL and as a command."""
    page = open_page(shop_console, shop_console.new_token(Role.READ, TENANT), viewport=WIDE)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/explore")
    read(page)
    expect(page.locator("#totals")).to_contain_text("10 seconds")
    for title in ("n", "total", "q, within 1 %", "people, exact up to 256, then"):
        expect(page.locator("#drawn h2").filter(has_text=title).first).to_be_visible()
    newest = page.locator("#numbers tbody tr").first
    expect(newest).to_contain_text("unknown")
    expect(newest).to_contain_text("still open")
    expect(page.locator("#numbers tbody tr").last).to_contain_text("final")
    usable(page, WIDE, PHONE)
    page.locator("#by-account summary").click()
    page.get_by_role("checkbox", name="eve").check()
    expect(page.locator("#chart-total .u-legend")).to_contain_text("eve")
    page.locator("h1").click()
    page.locator("#figures summary").click()
    for figure in ("n", "q_50", "q_99", "people", "fold.t", "top", "top_n"):
        page.get_by_role("checkbox", name=figure, exact=True).uncheck()
    read(page)
    expect(page.locator("#drawn section:visible")).to_have_count(1)
    assert "figure=total" in page.url
    page.locator("h1").click()
    copied = {}
    for name in ("SQL", "dia query"):
        page.locator("#copy summary").click()
        page.get_by_role("button", name=name, exact=True).click()
        copied[name] = page.evaluate("navigator.clipboard.readText()")
        page.locator("h1").click()
    assert "SELECT account, w, closed, total\nFROM sales\nWHERE tenant_id = 'acme'" in copied["SQL"]
    assert (
        copied["dia query"]
        .splitlines()[1]
        .startswith("dia query series --windows sales --tenant acme --key account=eve")
    )


def test_explore_offers_windows_of_every_tenant_to_those_who_may_see_them(shop_console, open_page):
    """A key without a tenant has no tenant to choose; sessions have no regular grid."""
    page = open_page(shop_console, shop_console.token, viewport=WIDE)
    page.goto("/explore?windows=moving&account=bob&lane=7")
    read(page)
    expect(page.get_by_label("Tenant")).to_be_hidden()
    expect(page.locator("#numbers tbody tr")).to_have_count(2)
    shop_console.rows_of_windows = [[1_800_000_000_123, 1, 1, True, 4]]
    page.get_by_label("Windows of").select_option("visits")
    expect(page).to_have_url(re.compile("windows=visits"))
    read(page)
    expect(page.locator("#drawn section:visible")).to_have_count(1)
    bound = open_page(shop_console, shop_console.new_token(Role.READ, TENANT), viewport=WIDE)
    bound.goto("/explore?windows=moving")
    read(bound)
    expect(bound.get_by_label("Windows of")).to_be_hidden()


class Show:
    """The demo's part of the console: a worker that is a process of ours, a shard that stays away until it may
    come back, and counts of the in-memory topic. The agent reads only on order."""

    def __init__(self, folder) -> None:
        self.compared = folder / COMPARED
        self.worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.may_serve = threading.Event()
        self.is_reading = True
        self._read = self._first = 0

    def added(self, console: MemoryConsole) -> ConsoleAddition:
        def restart(home, shard):
            console.down = {shard}
            assert self.may_serve.wait(60)
            console.down = set()

        async def counts():
            if console.down:
                raise ShardUnavailable("away")
            topic = sum(
                console.broker.log(TopicPartition(MODEL_METRICS.name, number)).high_watermark
                for number in range(MODEL_METRICS.partitions)
            )
            self._read = topic if self.is_reading else self._read
            self._first = self._first or topic
            dead = self._read - self._first
            good = self._read - dead
            return {
                "topic": topic, "read": self._read, "applied": good, "duplicates": 0, "dead": dead,
                "visible": good, "dead_rows": dead,
            }  # fmt: skip

        workers = [SimpleNamespace(pid=self.worker.pid, slot=0, partitions=[{}])]
        faults = DemoFaults(
            *(console.home, 2, console.broker, SystemClock()),
            serving=self.compared.exists,
            workers=lambda: workers,
            restart=restart,
        )
        return ConsoleAddition(
            ("demo",), lambda gate: DemoHandler(gate, faults, counts, self.compared).routes()
        )


@pytest.fixture
def show(tmp_path) -> Iterator[Show]:
    made = Show(tmp_path)
    yield made
    made.may_serve.set()
    made.worker.kill()
    made.worker.wait()


@pytest.fixture
def demo_console(tmp_path, monkeypatch, show) -> Iterator[MemoryConsole]:
    made = MemoryConsole(tmp_path, monkeypatch, added=show.added)
    yield made
    made.close()


def test_a_visitor_breaks_the_demo_and_sees_it_stay_exact(demo_console, show, open_page, tmp_path):
    """Each button says what it did; the counts differ while records are on their way, are unknown while a shard
    is away, and agree again."""
    page = open_page(demo_console, demo_console.token, viewport=WIDE)
    page.goto("/demo")
    read(page)
    said, counts = page.locator("#said"), page.locator("#counts")
    expect(counts.get_by_text("equal", exact=True)).to_have_count(4)
    expect(page.locator("#compared")).to_contain_text("The demo still sends its events")
    page.get_by_role("button", name="Kill a worker").click()
    expect(said).to_have_text(
        f"kill -9 of worker 0 (pid {show.worker.pid}); its supervisor starts another"
    )
    assert show.worker.wait(30) == -9

    shard = page.get_by_role("button", name="Stop a shard")
    shard.click()
    expect(shard).to_be_disabled()
    expect(counts).to_contain_text("A service of the demo does not answer now")
    show.may_serve.set()
    expect(said).to_contain_text("it serves again after")
    expect(shard).to_be_enabled()
    expect(counts.get_by_text("equal", exact=True)).to_have_count(4)

    poison = page.get_by_role("button", name="Send poison")
    poison.click()
    expect(said).to_contain_text("the demo still compares its own events")
    verdict = DemoVerdict((Check("events read", EVENTS, EVENTS), Check("windows", 7, 6)), ())
    ServedDemo(tmp_path, 1, lambda text: None).show_compared(verdict)
    show.is_reading = False
    poison.click()
    expect(said).to_contain_text(f"{POISON} poisoned records sent to {MODEL_METRICS.name}")
    expect(counts).to_contain_text(f"{POISON} on their way")
    rows = page.locator("#compared tbody tr")
    expect(rows.first).to_contain_text("equal")
    expect(rows.last).to_contain_text("differs")
    assert serious(page) == []
    show.is_reading = True
    expect(counts.get_by_text("equal", exact=True)).to_have_count(4)
    expect(counts.locator("tbody tr").last).to_contain_text(str(POISON))


def test_the_demos_page_fits_a_phone_in_the_dark(demo_console, open_page):
    """Shown to a colleague on whatever is at hand."""
    page = open_page(demo_console, demo_console.token, viewport=PHONE, color_scheme="dark")
    page.goto("/demo")
    read(page)
    expect(page.locator("#counts").get_by_text("equal", exact=True)).to_have_count(4)
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
