"""Every page while something is absent: a shard, Kafka, the workers, or all data. In a browser, on in-memory
parts, so that each state costs a page load."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import pytest
from playwright.sync_api import Page, Route, ViewportSize, expect

from streams.connect.access.tokens import Role
from streams.core.process.process import ProcessIdentity
from streams.engine.health.host_scaling import HostScaling, ProcessChange
from streams.operate.loadtest.record import folder_of, keep
from tests.browser.conftest import WIDE, no_script_errors
from tests.browser.memory_console import (
    METRIC,
    MODEL,
    QUICK_MS,
    TENANT,
    MemoryConsole,
    admin_page,
    look,
)
from tests.browser.pages import PAGES, PHONE, read, serious, sign_in, usable
from tests.depth import part
from tests.unit.operate.loadtest.test_verdict import made_record

OF_ROWS = ("/explore", "/decisions", "/training")
"""pages that are made of rows in ClickHouse"""
ASKED_FIRST = ("/trace", "/capacity")
"""pages that read nothing before they are asked, or that say what they read in other words"""
OF_HEALTH = ("/", "/pipeline")
"""pages that show more of the services and workers than the banner of every page"""


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[MemoryConsole]:
    """Everything is up, a worker runs, and no answer is kept from before."""
    made = MemoryConsole(tmp_path, monkeypatch)
    made.with_worker(running=True)
    yield made
    made.close()


@pytest.fixture
def page(console, browser) -> Iterator[Page]:
    with admin_page(console, browser) as opened:
        yield opened


class Look(NamedTuple):
    """How axe sees the pages of a test: it is slow, so each state has one of the four."""

    size: ViewportSize
    scheme: Literal["light", "dark"]


def _usable(
    page: Page,
    path: str,
    look: Look,
    *,
    changed: bool = True,
    only: dict[str, object] | None = None,
) -> None:
    """Nothing is wider than a phone, no address is shown, and axe finds nothing serious. It is not asked
    about a page of which the state of this test ``changed`` nothing but the banner, because it is slow; `make test`
    asks it of a third of the others."""
    assert "secret-host" not in page.locator("body").inner_text()
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    if changed:
        page.set_viewport_size(look.size)
        page.emulate_media(color_scheme=look.scheme)
        assert serious(page, only) == [], (path, look)
        page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)


def test_with_one_shard_down_pages_show_an_error_and_not_emptiness(page, console):
    """Half of the rows are unknown: "no event" would be a lie, and the sum of the other half too."""
    console.down = {1}
    asked = part((*OF_HEALTH, *OF_ROWS, "/dead-letters"), 0)
    for path in PAGES:
        look(page, console, path)
        body = page.locator("main")
        expect(body).not_to_contain_text("No event in the last hour")
        expect(body).not_to_contain_text("No tenant has sent an event")
        expect(page.locator("#degraded")).to_contain_text("clickhouse-1")
        if path == "/pipeline":
            expect(page.locator("#ledger")).to_contain_text("Unknown: ClickHouse does not answer")
        if path in OF_ROWS:
            expect(body.get_by_role("button", name="Try again").first).to_be_visible()
        _usable(page, path, Look(WIDE, "light"), changed=path in asked)


def test_try_again_reads_every_panel_of_one_answer(page, console):
    """Two panels share one answer: a button that reads for its own panel leaves the other one in error. Without
    the stream of the overview, no panel is read again by itself."""
    page.route("**/live/overview", lambda route: route.fulfill(content_type="text/event-stream"))
    console.down = {1}
    look(page, console, "/")
    sending, failing = page.locator("#sending"), page.locator("#failing")
    expect(sending.get_by_role("button", name="Try again")).to_be_visible()
    console.down = set()
    failing.get_by_role("button", name="Try again").click()
    for panel in (failing, sending):
        expect(panel.locator("tbody")).to_contain_text("globex")


def test_with_kafka_down_pages_say_so(page, console):
    """Lag, messages and dead letters are then unknown, which is not zero."""
    console.broker.away = True
    asked = part([path for path in PAGES if path not in OF_ROWS], 1)
    for path in PAGES:
        look(page, console, path)
        expect(page.locator("#degraded")).to_contain_text("kafka")
        body = page.locator("main")
        for empty in ("No dead letter", "No message", "Nothing skipped yet"):
            expect(body).not_to_contain_text(empty)
        _usable(page, path, Look(PHONE, "dark"), changed=path in asked)


def test_without_a_worker_every_page_is_red(page, console):
    """20 unread records that no process reads must be seen from whichever page is open."""
    console.with_worker(running=False)
    for path in PAGES:
        look(page, console, path)
        expect(page.locator("#degraded")).to_contain_text("Health is red")
        _usable(page, path, Look(PHONE, "light"), changed=path in OF_HEALTH)


def test_without_rows_pages_are_empty_and_not_in_error(page, console):
    """A new installation: an empty page says what to do, and a grey slab says nothing."""
    console.empty = True
    asked = part([*PAGES], 2)
    for path in PAGES:
        look(page, console, path)
        assert page.locator(".state.error").count() == 0, path
        _usable(page, path, Look(WIDE, "dark"), changed=path in asked)


def test_pages_with_data_are_readable_in_the_dark_on_a_phone(page, console):
    """A real pipeline's pages are looked at wide and light. Contrast alone is asked of axe: it is slow. These
    tests look at each page of the menu."""
    assert _offered(page) == [path for path in PAGES if "?" not in path]
    asked = part([*PAGES], 0)
    contrast: dict[str, object] = {"runOnly": ["color-contrast"]}
    for path in PAGES:
        look(page, console, path)
        _usable(page, path, Look(PHONE, "dark"), changed=path in asked, only=contrast)


def test_a_page_that_still_reads_claims_nothing(page, console):
    """On a slow shard "no event" and 0 would be lies for as long as it takes."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"^http://[^/]+/(api/|live/|overview)"), hold)
    for path in PAGES:
        page.goto(path, wait_until="domcontentloaded")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        main = page.locator("main")
        for claim in (
            "No event",
            "No dead letter",
            "No worker",
            "No message",
            "Nothing ",
            "caught up",
        ):
            expect(main).not_to_contain_text(claim)
        if path not in ASKED_FIRST:
            expect(main.locator("[aria-busy=true]").first).to_be_visible(timeout=QUICK_MS)
        assert page.locator(".state.error").count() == 0, path
    page.unroute_all(behavior="ignoreErrors")
    assert held


def test_the_overview_names_the_backlog_that_no_worker_reads(page, console):
    """Lag 0 with dead consumers was the worst lie of the console."""
    console.with_worker(running=False)
    console.sample()
    look(page, console, "/")
    expect(page.locator("#figures")).to_contain_text("Unread20 records")
    expect(page.locator("#figures")).to_contain_text("no worker is assigned")
    row = page.locator("#behind tbody tr").first
    expect(row).to_contain_text("model.metrics")
    alert = page.locator("#alerts tbody tr").filter(has_text="model.metrics")
    expect(alert).to_contain_text("red")
    expect(alert).to_contain_text("ops/runbooks/DiaWorkersAbsent.md")
    expect(page.locator("#workers")).to_contain_text("No workers running")


def test_what_changed_is_on_the_overview(page, console):
    """Kafka away and back, and a worker gone: each with its time, the newest first."""
    console.sample()
    console.broker.away = True
    console.forget()
    console.sample()
    console.broker.away = False
    console.with_worker(running=False)
    console.forget()
    console.sample()
    look(page, console, "/")
    page.get_by_label("Lag over time in").select_option("seconds")
    expect(page.locator("#unread .chart")).to_have_attribute(
        "aria-label", re.compile("Lag in seconds")
    )
    assert "lag=seconds" in page.url
    expect(page.locator("#late tbody tr")).to_contain_text("globex")
    expect(page.locator("#late tbody tr")).to_contain_text("5.0 %")
    expect(page.locator("#read .chart")).to_have_attribute("aria-label", re.compile("Records read"))
    expect(page.locator("#throughput .chart")).to_have_attribute(
        "aria-label", re.compile("[1-9][0-9]* changes? marked")
    )
    changes = page.locator("#changes tbody tr")
    expect(changes.first.locator("time")).to_have_attribute("title", re.compile(r"^20\d\d-.* ago$"))
    expect(changes.filter(has_text="kafka").filter(has_text="up again after")).to_have_count(1)
    expect(changes.filter(has_text="kafka").filter(has_text="down")).to_have_count(1)
    expect(changes.filter(has_text="worker 0").filter(has_text="is gone")).to_have_count(1)


def test_a_paused_page_keeps_its_figures(page, console):
    """Two figures cannot be compared while they change under one's eyes."""
    look(page, console, "/")
    said = page.locator("#freshness")
    page.get_by_role("button", name="Pause").click()
    kept = said.text_content()
    console.with_worker(running=False)
    console.forget()
    expect(page.locator("#degraded")).to_contain_text("Health is red")
    expect(said).to_have_text(kept or "")
    expect(page.locator("#workers")).not_to_contain_text("No workers running")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#workers")).to_contain_text("No workers running")


def test_capacity_shows_what_is_coming_and_a_failed_load_test(page, console):
    """Who plans sees the band, what runs out, and that the last test was red, without a command."""
    keep(folder_of(console.home), made_record("20261130T120000-small"), "<p>")
    parent = ProcessIdentity.of(os.getpid())
    told = HostScaling(parent=parent, processes=1, least=1, most=4)
    change = ProcessChange(at_ms=1_796_040_000_000, before=1, after=2, why="9.0 s behind")
    told.changed(change).write(console.settings.state_path())
    look(page, console, "/capacity?growth=30%25")
    expect(page.locator("#hosts tbody tr").first).to_contain_text("up to 9.0 s behind")
    expect(page.locator("#scaling")).to_contain_text("2 processes now, 1 to 4 by the load.")
    expect(page.locator("#scaling tbody tr")).to_contain_text("9.0 s behind")
    expect(page.locator("#load .chart")).to_be_visible()
    expect(page.locator("#load .u-legend")).to_contain_text("forecast110")
    expect(page.locator("#forecast-said")).to_contain_text("with its band")
    expect(page.locator("#needs tbody tr").filter(has_text="partitions of")).to_contain_text("4")
    expect(page.locator("#advice")).to_contain_text("worker processes")
    expect(page.locator("#processes")).to_contain_text("50 %")
    failed = page.locator("#test tbody tr").filter(has_text="failed")
    expect(failed).to_contain_text("≤ 100 ms")
    page.get_by_label("Growth", exact=True).select_option("10x")
    expect(page).to_have_url(f"{console.url}/capacity?growth=10x")
    _usable(page, "/capacity", Look(WIDE, "light"))


def test_figures_of_the_overview_are_links(page, console):
    """A figure raises a question, which its link answers."""
    look(page, console, "/")
    expect(page.locator("#failing tbody tr").first).to_contain_text("globex")
    page.locator("#failing").get_by_role("link", name="globex").click()
    read(page)
    expect(page.get_by_label("Tenant")).to_have_value("globex")
    page.goto("/")
    read(page)
    sending = page.locator("#sending tbody tr").filter(has_text=TENANT)
    expect(sending.locator("td.number").nth(1)).to_have_text("2")
    sending.get_by_role("link", name=TENANT).click()
    read(page)
    expect(page.locator("#totals")).to_contain_text(MODEL)


def test_a_letter_is_repaired_by_fields_and_decided_of_on_a_phone(page, console):
    """One letter: what a change makes of it, before anything runs; then it is discarded, and says so
    without a reload."""
    page.set_viewport_size(PHONE)
    look(page, console, "/dead-letters")
    group = page.locator("#groups tbody tr").filter(has_text="$.value")
    expect(group).to_contain_text("aggregate_metrics")
    group.click()
    expect(page.get_by_label("Error field")).to_have_value("$.value")
    expect(page.locator("#letters tbody")).to_contain_text("$.value")
    expect(page.locator("#letters tbody")).not_to_contain_text("$.ts")
    group.click()
    expect(page.get_by_label("Error field")).to_have_value("")
    group.get_by_role("button", name="Newest letter").click()
    expect(page.locator("#letter")).to_contain_text('"value": "x"')
    close, panel = page.locator("#letter-close").bounding_box(), page.locator("#letter-panel")
    assert close is not None
    top = panel.bounding_box()
    assert top is not None
    assert top["y"] <= close["y"] < top["y"] + 60, "the button belongs to its panel"
    page.get_by_text("Fix records first").click()
    page.get_by_label("Field", exact=True).fill("value")
    page.get_by_label("Value or other field").fill("12")
    expect(page.locator("#fix-preview")).to_contain_text("would pass")
    expect(page.locator("#fix-preview")).to_contain_text('+  "value": 12')
    page.get_by_label("Value or other field").fill("twelve")
    expect(page.locator("#fix-preview")).to_contain_text("would still fail")
    row = page.locator("#letters tbody tr").filter(has_text="wrong_type").first
    row.press("Enter")
    expect(row).to_have_class("chosen")
    page.locator("#letter-close").click()
    expect(page.locator("#letters tr.chosen")).to_have_count(0)
    row.get_by_role("checkbox").check()
    expect(page.locator("#scope")).to_have_text("1 selected letter.")
    page.get_by_role("button", name="Discard…").click()
    page.get_by_label("Reason, kept in the journal").fill("sent by a load test")
    page.get_by_role("button", name="Discard 1 letter").click()
    expect(page.locator("#decision")).to_contain_text("1 letter decided")
    expect(page.locator("#letters")).to_contain_text("discarded")
    assert serious(page) == []


def test_the_graph_of_the_pipeline_shows_what_holds_it_up(page, console):
    """A shard down and no worker: the nodes that hold the others up are red, and a click shows the
    partitions of one topic only."""
    look(page, console, "/pipeline")
    expect(page.locator("#workers")).to_contain_text("dia config show --explain")
    console.down = {1}
    console.with_worker(running=False)
    console.forget()
    page.reload()
    read(page)
    metrics = page.locator(".flow").filter(has_text="model.metrics")
    expect(metrics).to_contain_text("20 records unread")
    expect(metrics.locator(".node.bad").nth(1)).to_contain_text("0 of 4 partitions read")
    expect(metrics.locator(".node").last).to_contain_text("clickhouse-1 is down")
    metrics.click()
    expect(page.locator("#partitions tbody tr")).to_have_count(4)
    assert "topic=model.metrics" in page.url
    expect(page.locator("#partitions")).not_to_contain_text("Epoch")
    page.get_by_label("Advanced").check()
    expect(page.locator("#partitions")).to_contain_text("Epoch")
    assert serious(page) == []


def test_letters_say_replayed_when_their_replay_has_ended(page, console):
    """Without a reload: the list once said "open" of letters whose replay was "finished 2 of 2"."""
    look(page, console, "/dead-letters?error=retries_exhausted")
    at = page.locator("#steps [aria-current]")
    expect(at).to_have_text("Choose")
    page.get_by_role("button", name="Preview replay").click()
    expect(at).to_have_text("Preview")
    page.get_by_role("button", name="Replay 1 letter").click()
    expect(at).to_have_text("Run")
    plan = page.locator("#plans tbody tr").first
    expect(plan).to_contain_text("entered")
    with console.replaying():
        expect(plan).to_contain_text("finished")
        expect(page.locator("#letters tbody tr")).to_contain_text("replayed")
    expect(at).to_have_text("Result")
    expect(page.locator("#outcome")).to_contain_text("1 of 1 letter replayed")


def test_a_view_is_saved_opened_and_deleted(page, console):
    """A dashboard of one's own is an address with a name, on every page."""
    look(page, console, f"/explore?tenant={TENANT}&metric={METRIC}&model={MODEL}&range=6h")
    saved = page.url
    page.locator("#views summary").click()
    page.get_by_label("Save this page as").fill("latency of acme")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#views")).to_contain_text("Saved as latency of acme.")
    usable(page, WIDE, PHONE)
    look(page, console, "/dead-letters")
    page.locator("#views summary").click()
    page.get_by_role("link", name="latency of acme").click()
    read(page)
    assert page.url == saved
    page.locator("#views summary").click()
    page.get_by_role("button", name="Delete the view latency of acme").click()
    expect(page.locator("#views")).to_contain_text("Deleted.")
    expect(page.get_by_role("link", name="latency of acme")).to_have_count(0)


def test_training_shows_a_metric_over_versions_and_its_champion(page, console):
    """Highest and lowest of each metric do not say how a model develops."""
    look(page, console, "/training")
    row = page.locator("#models tbody tr").filter(has_text="auc")
    expect(row).to_contain_text("0.81")
    expect(row).to_contain_text("0.83")
    expect(page.locator("#models")).to_contain_text("Champion, v2")
    expect(row.locator("svg.spark")).to_have_count(1)
    page.get_by_label(f"Second run of {MODEL}").select_option("1")
    expect(row.locator("td.number").nth(2)).to_have_text("+0.01")
    row.get_by_role("link", name="Live metrics").click()
    read(page)
    assert f"model={MODEL}" in page.url


def test_a_simulation_is_read_as_a_chart_and_asked_for_with_its_cost(page, console):
    """Its quantiles were a dump of JSON, and a request was a file for `dia produce`."""
    page.set_viewport_size(PHONE)
    look(page, console, "/decisions")
    page.locator("#simulations tbody tr").first.click()
    result = page.locator("#simulations tr[data-more]")
    expect(result.get_by_role("img")).to_have_attribute("aria-label", re.compile("from 110 to 290"))
    expect(result.locator("rect.bin")).to_have_count(4)
    expect(result.locator("tbody tr").filter(has_text="50 % are")).to_contain_text("198 to 202")
    expect(result.locator("tbody tr").filter(has_text="above 240")).to_contain_text("8 % to 12 %")
    ask = page.locator("#ask")
    ask.get_by_label("Trials").fill("2000")
    expect(page.locator("#ask-cost")).to_contain_text("about 20 s of one process, by 1 earlier")
    ask.get_by_label("Scenario").fill("other")
    expect(page.locator("#ask-cost")).to_contain_text("Cost unknown")
    ask.get_by_label("Model").fill(MODEL)
    ask.get_by_label("Parameters").fill("{")
    ask.get_by_role("button", name="Ask").click()
    expect(page.locator("#ask-said")).to_contain_text("not JSON")
    ask.get_by_label("Parameters").fill("{}")
    ask.get_by_role("button", name="Ask").click()
    expect(page.locator("#ask-said")).to_contain_text("Its result follows")
    usable(page, PHONE, WIDE)


def test_a_token_of_one_tenant_opens_every_page_that_it_is_offered(console, browser):
    """Panels of all tenants are absent for it, and no script may miss them, whatever is away."""
    context = browser.new_context(base_url=console.url, viewport=WIDE, reduced_motion="reduce")
    opened = context.new_page()
    with no_script_errors(opened):
        sign_in(opened, console.url, console.new_token(Role.READ, TENANT))
        read(opened)
        assert opened.locator("#behind, #changes").count() == 0
        expect(opened.locator("#sending")).to_contain_text(TENANT)
        paths = _offered(opened)
        assert "/dead-letters" in paths
        for away in ("nothing", "shard", "kafka"):
            console.down, console.broker.away = {1} if away == "shard" else set(), away == "kafka"
            for path in paths:
                opened.goto(path)
                read(opened)
                expect(opened.get_by_role("heading", level=1)).to_be_visible()
                assert "secret-host" not in opened.locator("body").inner_text(), (away, path)
    context.close()


def _offered(page: Page) -> list[str]:
    """The paths of the menu."""
    links = page.locator("nav[aria-label=Pages] a").all()
    return [str(link.get_attribute("href")) for link in links]


OFF_THE_MENU = {
    "/sign-in": "Access token",
    "/nowhere": "There is no page /nowhere",
    "/pipeline": "Yours is read of acme",
    f"/explore?tenant=globex&model={MODEL}&metric={METRIC}": "not valid for that tenant",
    "/trace?id=model.metrics/0/1": "model.metrics/0",
}
"""pages that a link may lead a reader of one tenant to, and what they say"""


def test_pages_that_only_a_link_leads_to_are_usable(console, browser):
    """A link to what a token may not see, or to nothing, is answered in words, on a phone and in the dark, too."""
    context = browser.new_context(base_url=console.url, viewport=WIDE, reduced_motion="reduce")
    opened = context.new_page()
    with no_script_errors(opened):
        sign_in(opened, console.url, console.new_token(Role.READ, TENANT))
        for path, words in OFF_THE_MENU.items():
            opened.goto(path)
            read(opened)
            expect(opened.locator("body")).to_contain_text(words)
            _usable(opened, path, Look(PHONE, "dark"))
    context.close()
