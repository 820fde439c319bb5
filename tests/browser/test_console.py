"""Every page and every flow of the console, in a real browser."""

from __future__ import annotations

import csv
import io
import re

import pytest
from playwright.sync_api import Page, expect

from streams.connect.access.tokens import Role
from streams.core.clock import SystemClock
from streams.dev.demo.serving import trained_models
from tests.browser.conftest import WIDE
from tests.browser.pages import PAGES, PHONE, read, serious
from tests.browser.stage import (
    EVENTS_A_MINUTE,
    LETTERS,
    MENDED,
    METRIC,
    MINUTES,
    MODELS,
    OTHER,
    REQUESTS,
    TENANT,
)
from tests.faults.services import absent

EVENTS = MINUTES * EVENTS_A_MINUTE
"""Of one model."""
DISTINCT = ("/", "/dead-letters")
"""Pages that together have every colour: they suffice for the second theme, since axe-core is slow.
"""
AWAY = "Down: clickhouse-0, clickhouse-1"
PATCH = '[{"op":"add","path":"/value","value":12}]'


def _shed(page: Page, topic: str) -> int:
    """Records of ``topic`` that were shed, by the ledger on the page, which follows the commit."""
    page.reload()
    read(page)
    cells = page.locator("#ledger tbody tr", has_text=topic).locator("td.number:nth-child(6)")
    return sum(int(cell) for cell in cells.all_text_contents())


def _go(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    read(page)


def _numbers(page: Page, column: str) -> list[float]:
    """A column of Explore's table, exact, oldest window first."""
    names = page.locator("#numbers thead th").all_text_contents()
    cells = page.locator(f"#numbers tbody tr > :nth-child({names.index(column) + 1}) data")
    return [float(each.get_attribute("value") or "nan") for each in cells.all()][::-1]


@pytest.mark.parametrize("path", ["/", "/pipeline", "/explore?tenant=acme"])
def test_a_page_asks_for_sign_in_and_returns_to_itself(context, stage, path):
    """A shared link works after signing in and shows nothing before."""
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_label("Access token")).to_be_visible()
    assert TENANT not in page.locator("body").inner_text()
    page.get_by_label("Access token").fill(stage.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path.partition("?")[0]])
    assert f"{stage.url}{path}" in page.url


def test_a_wrong_token_is_refused_with_that_reason(context, stage):
    """A user with a mistyped token must see that the token is at fault, not the console."""
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_label("Access token").fill(stage.token[:-1] + "x")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    assert page.request.get("/overview").status == 401


def test_invisible_characters_of_a_name_are_shown(page):
    """A character that reverses the text direction would show one model under another's name."""
    shown = page.evaluate(
        """async () => {
          const own = [...document.querySelectorAll("script[type=module]")].map((one) => one.src);
          const { h } = await import(new URL("/static/" + own[0].split("/static/")[1].split("/")[0] + "/dom.js", own[0]));
          return ["live\u202eevil", "a\u0000b", "שלום"].map((name) => h("td", {}, name).textContent);
        }"""
    )
    assert shown == [r"live\u202eevil", r"a\u0000b", "שלום"]


def test_three_clicks_lead_to_a_users_own_data(page):
    """The demo promises: open, Explore, and the data is there."""
    _go(page, "Explore")
    expect(page.locator("#totals")).to_contain_text(f"{EVENTS:,} events")


def test_explore_shows_the_numbers_of_dia_query(page, stage, monkeypatch, capsys):
    """Two ways to read a series must agree."""
    _go(page, "Explore")
    page.get_by_label("Tenant").select_option(TENANT)
    read(page)
    arguments = ["--tenant", TENANT, "--model", MODELS[0], "--metric", METRIC]
    capsys.readouterr()
    assert stage.dia("query", "series", *arguments, "-o", "csv", monkeypatch=monkeypatch) == 0
    said = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for column in ("count", "mean", "sd", "min", "max", "last", "p50", "p95", "p99"):
        assert _numbers(page, column) == [pytest.approx(float(row[column])) for row in said]
    assert sum(_numbers(page, "count")) == EVENTS
    with page.expect_download() as found:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(found.value.path().read_text())))
    assert [row["count"] for row in rows] == [row["count"] for row in said]


def test_the_address_contains_what_explore_shows(page):
    """A link to a chart keeps its models, range, windows and percentile."""
    _go(page, "Explore")
    page.locator("#by-model summary").click()
    page.get_by_label(MODELS[1]).check()
    page.get_by_label("Range", exact=True).select_option("6h")
    page.get_by_label("Windows", exact=True).select_option("h1")
    page.get_by_label("Compare by", exact=True).select_option("p99")
    read(page)
    for words in (f"model={MODELS[0]}", f"model={MODELS[1]}", "range=6h", "table=h1", "p99"):
        assert words in page.url
    counts, shared = _numbers(page, "count"), page.url
    page.goto("/")
    page.goto(shared)
    read(page)
    assert _numbers(page, "count") == counts
    expect(page.locator("#chart-percentiles-title")).to_have_text("p99 by series, within 1 % (ms)")
    assert sum(counts) == 2 * EVENTS


def test_dead_letters_are_repaired_and_replayed_from_the_browser(page, stage, screenshots):
    """Groups, a letter as text and as bytes, plan, difference, run, done: and the events count."""
    _go(page, "Dead letters")
    row = page.locator("#groups tbody tr").filter(has_text="wrong_type")
    expect(row).to_contain_text(str(LETTERS))
    row.click()
    read(page)
    expect(page.locator("#letters tbody tr")).to_have_count(LETTERS)
    page.locator("#letters tbody tr").first.press("Enter")
    expect(page.locator("#letter")).to_contain_text('"value": "twelve"')
    expect(page.locator("#letter")).to_contain_text("would still fail")
    page.get_by_role("tab", name="Bytes").click()
    expect(page.locator("#letter pre")).to_contain_text("000000  7b 22 74 65 6e")
    page.get_by_text("Fix records first").click()
    page.get_by_label("Field", exact=True).fill("value")
    page.get_by_label("Value or other field").fill("12")
    expect(page.locator("#fix-preview")).to_contain_text("would pass")
    page.locator("#plan summary", has_text="As JSON Patch").click()
    expect(page.get_by_label("JSON Patch")).to_have_value(PATCH)
    page.get_by_role("button", name="Preview replay").click()
    expect(page.locator("#draft pre")).to_contain_text("twelve")
    page.locator("#plan").scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "dead-letters.png")
    page.get_by_role("button", name=f"Replay {LETTERS} letters").click()
    plan = page.locator("#plans tbody tr").first
    expect(plan).to_contain_text("finished")
    expect(plan).to_contain_text(f"{LETTERS} of {LETTERS}")
    # Without a reload: the list once said "open" of letters that had been replayed.
    expect(page.locator("#letters tbody tr", has_text="replayed")).to_have_count(LETTERS)
    page.get_by_label("Group by").select_option("disposition")
    expect(page.locator("#groups tbody")).to_contain_text("replayed")
    page.goto(f"/explore?tenant={TENANT}&metric={METRIC}&model={MENDED}")
    read(page)
    expected = EVENTS + LETTERS

    def counted() -> bool:
        page.keyboard.press("r")
        read(page)
        return sum(_numbers(page, "count")) == expected

    stage.wait_until(counted)


def test_a_reader_of_one_tenant_sees_that_tenant_and_changes_nothing(context, stage, screenshots):
    """The token decides what a page offers; the API enforces the same."""
    page = context.new_page()
    stage.sign_in(page, stage.new_token(Role.READ, OTHER))
    _go(page, "Explore")
    expect(page.get_by_label("Tenant").locator("option")).to_have_text([OTHER])
    expect(page.locator("#totals")).to_contain_text("solitary")
    page.screenshot(path=screenshots / "solitary.png")
    _go(page, "Dead letters")
    expect(page.get_by_role("button", name="Preview replay")).to_be_disabled()
    expect(page.locator("#groups")).to_contain_text("No dead letter")
    _go(page, "Messages")
    page.get_by_label("Topic", exact=True).select_option("model.metrics")
    read(page)
    expect(page.locator("#messages tbody tr")).to_have_count(1)
    expect(page.locator("#messages")).to_contain_text("solitary")
    assert page.get_by_label("Tenant").count() == 0
    links = page.get_by_role("navigation", name="Pages")
    expect(links.get_by_role("link", name="Pipeline")).to_have_count(0)
    page.goto("/pipeline")
    expect(page.locator("main")).to_contain_text("bound to no tenant")
    answer = page.request.get(f"/api/range?tenant={TENANT}&model={MODELS[0]}&metric={METRIC}")
    assert answer.status == 403


def test_a_message_is_found_shared_and_sent_again(context, page, stage):
    """From the list of topics to one message; its link opens it for another user; and back."""
    _go(page, "Messages")
    page.locator("#topics tbody tr").filter(has_text="model.metrics").first.click()
    read(page)
    expect(page.locator("#messages tbody tr")).to_have_count(50)
    expect(page.locator("#description")).to_contain_text("message.timestamp.type")
    page.get_by_label("Fields").fill("model_id == solitary")
    page.get_by_label("Fields").press("Enter")
    read(page)
    expect(page.locator("#messages tbody tr")).to_have_count(1)
    assert "where=model_id" in page.url
    page.locator("#messages tbody tr").press("Enter")
    expect(page.locator("#message")).to_contain_text('"model_id": "solitary"')
    assert serious(page) == []
    page.get_by_role("tab", name="Bytes").click()
    expect(page.locator("#message pre")).to_contain_text("000000  7b 22 74 65 6e")
    shared = context.new_page()
    shared.goto(page.url)
    expect(shared.locator("#message")).to_contain_text('"model_id": "solitary"')
    shared.close()
    page.locator("#message summary", has_text="Send again").click()
    page.get_by_label("Reason").fill("to see that repeats are dropped")
    page.get_by_role("button", name="Send it again").click()
    expect(page.locator("#message .said")).to_contain_text("Sent to model.metrics")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#messages tbody tr")).to_have_count(2)
    page.go_back()
    expect(page.locator("#message-panel")).to_be_hidden()
    page.go_back()
    expect(page.get_by_label("Fields")).to_have_value("")


def test_the_command_box_leads_to_what_became_of_an_event(page, stage):
    """From any page, by keyboard: an id, its timeline, its message, its dead letter."""
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.wait_for_load_state("load")  # the scripts have run
    page.keyboard.press("Control+k")
    page.locator("#palette-text").fill("model.metrics/")
    expect(page.get_by_role("dialog").get_by_role("option").first).to_have_text(
        "What became of model.metrics/"
    )
    page.locator("#palette-text").fill("solitary")
    lead = page.get_by_role("dialog").get_by_role("option", name="Series of model solitary")
    expect(lead).to_have_attribute("data-href", "/explore?model=solitary")
    page.keyboard.press("Escape")
    page.goto("/messages?topic=model.metrics&where=model_id == solitary")
    read(page)
    place = page.locator("#messages tbody tr").last
    expect(place).to_be_visible()
    cells = place.locator("td").all_text_contents()
    partition, offset = cells[0], cells[1]
    page.keyboard.press("Control+k")
    page.locator("#palette-text").fill(f"model.metrics/{partition}/{offset}")
    assert serious(page) == []
    page.keyboard.press("Enter")
    read(page)
    expect(page.locator("#trace")).to_contain_text("counted")
    for what in ("appended", "committed", "window", "before", "after", "row"):
        expect(page.locator("#trace .timeline").first).to_contain_text(what)
    expect(page.locator("#searched")).to_contain_text("offsets of")
    assert serious(page) == []
    page.locator("#id").fill("no-such-event")
    page.get_by_role("button", name="Trace").click()
    expect(page.locator("#trace")).to_contain_text("Not found in the offsets below")


def test_new_messages_are_shown_live(page, stage):
    """A producer's developer sees each message within seconds of its append."""
    page.goto("/messages?topic=train.results")
    read(page)
    page.get_by_role("button", name="Live").click()
    expect(page.locator("#messages")).to_contain_text("0 new messages since")
    events = [{**event, "tenant_id": TENANT} for event in trained_models(SystemClock().now_ms(), 3)]
    stage.produce("train.results", events)
    expect(page.locator("#messages")).to_contain_text(f"{len(events)} new messages since")
    expect(page.locator("#messages tbody tr")).to_have_count(len(events))
    assert "live=1" in page.url
    page.get_by_role("button", name="Stop live").click()
    read(page)
    expect(page.locator("#messages")).not_to_contain_text("new messages since")


def test_decisions_training_and_pipeline_show_what_happened(page):
    """Each page shows what the pipeline did, and a cancellation is accepted."""
    _go(page, "Decisions")
    expect(page.locator("#simulations tbody tr")).to_have_count(REQUESTS)
    expect(page.locator("#waiting")).to_contain_text("Every request has its result")
    page.locator("#simulations tbody tr").first.click()
    page.locator("#simulations summary").first.click()
    expect(page.locator("#simulations pre").first).to_be_visible()
    ask, cancel = page.locator("#ask"), page.locator("#cancel")
    ask.get_by_label("Model").fill(MODELS[0])
    ask.get_by_role("button", name="Ask").click()
    expect(page.locator("#ask-said")).to_contain_text("Asked")
    page.locator("summary", has_text="Cancel a request").click()
    cancel.get_by_label("Idempotency key").fill("nobody-asked")
    cancel.get_by_label("Model").fill(MODELS[0])
    cancel.get_by_role("button", name="Cancel the request").click()
    expect(page.locator("#cancel-said")).to_contain_text("Asked")
    _go(page, "Training")
    expect(page.locator("#models")).to_contain_text("champion")
    expect(page.locator("#models")).to_contain_text("production")
    _go(page, "Pipeline")
    expect(page.get_by_text("DIA_WORKERS_AT")).to_be_visible()
    expect(page.locator("#ledger")).to_contain_text("adds up")
    expect(page.locator("#ledger")).not_to_contain_text("does not add up")


def test_old_records_are_shed_from_the_browser(page, stage):
    """A plan shows its cost; the order names actor and reason; the worker executes it, and the
    ledger still adds up."""
    events = [{**event, "tenant_id": TENANT} for event in trained_models(SystemClock().now_ms(), 2)]
    with stage.without_workers():
        stage.produce("train.results", events)
        _go(page, "Pipeline")
        page.locator("summary", has_text="Skip old records").click()
        page.get_by_label("Topic").select_option("train.results")
        page.get_by_label("Appended before").fill("2100-01-01")
        page.get_by_role("button", name="Preview").click()
        plan = page.locator("#shed-draft")
        expect(plan).to_contain_text("would not be processed: record_training never sees them")
        assert serious(page) == []
        page.get_by_label("Why, for the audit").fill("sent twice by mistake")
        page.get_by_role("button", name=f"Skip {len(events)} offsets").click()
        expect(page.locator("#orders .mark").first).to_have_text("waiting")
    expect(page.locator("#orders .mark.good").first).to_have_text("done")
    expect(page.locator("#orders")).to_contain_text("sent twice by mistake")
    expect(page.locator("#orders .mark.warn")).to_have_count(0)
    stage.wait_until(lambda: _shed(page, "train.results") == len(events))
    expect(page.locator("#ledger")).not_to_contain_text("does not add up")


def test_the_overview_refreshes_itself(page, stage):
    """Wall screens show it for days without a reload."""
    read(page)
    said = page.locator("#freshness")
    before = said.text_content()

    def moved() -> bool:
        stage.read_anew("overview")
        return said.text_content() != before

    stage.wait_until(moved)


def test_every_page_is_usable_by_keyboard(page):
    """Operators who use the console all day avoid the mouse."""
    read(page)
    for path, key in (("/explore", "e"), ("/dead-letters", "l"), ("/pipeline", "p"), ("/", "o")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(re.compile(f"{path}($|\\?)"))
        read(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).not_to_be_visible()


def test_pages_are_accessible_and_fit_a_phone(page, screenshots):
    """axe-core finds nothing serious, in the colours of either theme; nothing is wider than 390 px."""
    for path, name in PAGES.items():
        picture = name.lower().replace(" ", "-") + ("-of-a-topic" if "?" in path else "")
        page.goto(path)
        read(page)
        assert serious(page) == [], name
        page.screenshot(path=screenshots / f"{picture}-light.png")
        if path in DISTINCT:
            page.emulate_media(color_scheme="dark")
            assert serious(page, {"runOnly": ["color-contrast"]}) == [], name
            page.screenshot(path=screenshots / f"{picture}-dark.png")
            page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
        page.set_viewport_size(WIDE)


def test_a_page_reports_an_outage_of_clickhouse_and_its_end(page, stage):
    """Old figures must not look new."""
    _go(page, "Explore")
    banner = page.locator("#degraded")
    expect(banner).not_to_contain_text(AWAY)
    with absent(stage.stack.home, "clickhouse-0", "clickhouse-1"):
        page.get_by_label("Range", exact=True).select_option("7d")
        expect(banner).to_contain_text("ClickHouse does not answer")
        expect(page.locator("#numbers").get_by_role("button", name="Try again")).to_be_visible()
        stage.read_anew("overview")
        expect(banner).to_contain_text(AWAY)
        expect(banner).to_be_visible()

    def recovered() -> bool:
        stage.read_anew("overview")
        page.keyboard.press("r")
        read(page)
        return AWAY not in (banner.text_content() or "")

    stage.wait_until(recovered)
    assert sum(_numbers(page, "count")) > 0
