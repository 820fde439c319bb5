"""Explore in a browser, on in-memory parts: comparisons, rankings, and the question behind a chart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import WIDE
from tests.browser.memory_console import (
    METRIC,
    MODEL,
    OTHER_METRIC,
    TENANT,
    MemoryConsole,
    admin_page,
    look,
)
from tests.browser.pages import PHONE, read, serious, usable


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[MemoryConsole]:
    made = MemoryConsole(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def page(console, browser) -> Iterator[Page]:
    with admin_page(console, browser) as opened:
        yield opened


def test_the_question_behind_a_chart_is_copied_for_other_programs(page, console):
    """A name with a quote in it must not break out of a statement or of a shell."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    look(page, console, "/explore")
    copied = {}
    for name in ("SQL", "curl", "dia query"):
        page.locator("#copy summary").click()
        page.get_by_role("button", name=name, exact=True).click()
        copied[name] = page.evaluate("navigator.clipboard.readText()")
        page.locator("h1").click()
    assert f"FROM minutes\nWHERE tenant = '{TENANT}'" in copied["SQL"]
    assert "now() - INTERVAL 1 HOUR" in copied["SQL"]
    assert f"/api/range?tenant={TENANT}&model={MODEL}" in copied["curl"]
    assert copied["dia query"].startswith(f"dia query series --tenant {TENANT} --model {MODEL}")
    page.locator("#copy summary").click()
    page.get_by_label("Alert of").select_option("p95")
    page.get_by_label("Bound of the alert").fill("250.5")
    page.get_by_role("button", name="Alert as SQL").click()
    alert = page.evaluate("navigator.clipboard.readText()")
    assert "max(p95) AS furthest\nFROM minutes" in alert
    assert f"tenant = '{TENANT}'" in alert
    assert alert.endswith("GROUP BY model, metric\nHAVING furthest > 250.5")
    page.get_by_role("button", name="Alert rule of Grafana").click()
    rule = json.loads(page.evaluate("navigator.clipboard.readText()"))["groups"][0]["rules"][0]
    query, threshold = rule["data"]
    assert (query["model"]["rawSql"], query["datasourceUid"]) == (alert, "dia-clickhouse")
    [condition] = threshold["model"]["conditions"]
    assert condition["evaluator"] == {"type": "gt", "params": [250.5]}
    assert serious(page) == []
    hostile = page.evaluate(
        """async () => {
          const own = [...document.querySelectorAll("script[type=module]")].map((one) => one.src)[0];
          const at = new URL("/static/" + own.split("/static/")[1].split("/")[0] + "/queries.js", own);
          const { sqlOf, commandOf } = await import(at);
          const { alertRule, alertSql } = await import(String(at).replace("queries.js", "alert.js"));
          const asked = { tenant: "o'x\\\\", metric: "m", model: ["a b"] };
          const dimensions = ["model", "metric"].map((name) => ({ name, column: name, kind: "str" }));
          const view = { name: "m1", tenant: true, dimensions, tables: [{ name: "m1", width_s: 60 }] };
          const alert = { figure: "count", beyond: "below", bound: "1" };
          const priced = { ...asked, model: ["$a"] };
          return [sqlOf(view, asked, "m1", ["count"]), commandOf(view, asked), alertSql(view, asked, alert),
            alertRule(view, priced, alert)];
        }"""
    )
    assert "tenant = 'o\\'x\\\\'" in hostile[0]
    assert "--tenant 'o'\\''x\\' --model 'a b'" in hostile[1]
    assert "tenant = 'o\\'x\\\\'" in hostile[2]
    assert hostile[2].endswith("HAVING furthest < 1")
    assert "'$$a'" in hostile[3], "Grafana reads one $ as the start of a variable"


def test_metrics_are_compared_beside_the_period_before(page, console):
    """Each choice is a step of the address, so a comparison is a link and Back undoes it."""
    look(page, console, f"/explore?tenant={TENANT}&metric={METRIC}&model={MODEL}")
    page.locator("#by-metric summary").click()
    page.get_by_role("checkbox", name=OTHER_METRIC).check()
    legend = page.locator("#chart-mean .u-legend")
    expect(legend).to_contain_text(METRIC)
    expect(legend).to_contain_text(OTHER_METRIC)
    page.get_by_label("Beside it").select_option("previous")
    expect(legend).to_contain_text(f"{METRIC}, before")
    assert f"metric={METRIC}&metric={OTHER_METRIC}" in page.url
    legend.get_by_text(METRIC, exact=True).click()
    expect(page.locator("#chart-mean .u-legend .u-series.u-off")).to_have_count(3)
    page.get_by_label("Axis").select_option("log")
    expect(page.locator("#chart-mean-title")).to_contain_text("logarithmic")
    assert "against=previous&axis=log" in page.url
    assert serious(page) == []
    page.go_back()
    read(page)
    assert "axis=log" not in page.url
    assert "against=previous" in page.url


def test_every_model_of_a_metric_is_ranked(page, console):
    """Eight models are drawn side by side; the worst of a thousand is found by its rank, which is a link to its
    charts. A shard that is away is an error, and no model an empty ranking."""
    look(page, console, f"/explore?tenant={TENANT}&metric={METRIC}&model={MODEL}")
    ranking = page.locator("#ranking")
    expect(ranking).to_be_hidden()
    page.get_by_label("Rank all by").select_option("mean")
    expect(ranking.locator("tbody tr").first).to_contain_text("slow")
    expect(ranking.locator("tbody tr").first).to_contain_text("7.25")
    page.get_by_label("First is").select_option("lowest")
    expect(ranking.locator("tbody tr").first).to_contain_text(MODEL)
    assert "rank=mean&order=lowest" in page.url
    usable(page, WIDE)
    page.emulate_media(color_scheme="dark")
    usable(page, PHONE)
    console.down = {1}
    page.get_by_label("Rank all by").select_option("p95")
    expect(ranking.get_by_role("button", name="Try again")).to_be_visible()
    console.down = set()
    ranking.get_by_role("button", name="Try again").click()
    ranking.get_by_role("link", name="slow").click()
    read(page)
    assert "model=slow" in page.url


def test_times_are_of_the_zone_that_the_reader_chose(console, browser):
    """An incident is remembered in local time. The choice stays in the browser, on every page, and what is copied
    or typed stays UTC."""
    with admin_page(console, browser, timezone_id="Asia/Kolkata") as page:
        look(page, console, f"/explore?tenant={TENANT}&metric={METRIC}&model={MODEL}")
        expect(page.locator("#numbers thead")).to_contain_text("Window (UTC)")
        page.get_by_role("button", name="Show local time").click()
        expect(page.locator("#numbers thead")).to_contain_text("Window (local)")
        expect(page.locator("#chart-mean .u-legend")).to_contain_text("local")
        page.get_by_label("Range").select_option("custom")
        expect(page.get_by_label("From (UTC)")).to_be_visible()
        look(page, console, "/")
        expect(page.locator("footer")).to_contain_text("what you type is UTC")
        expect(page.locator("#freshness")).to_contain_text("local")
        failed = page.locator("#failing time").first
        exact, shown = failed.evaluate("one => [one.dateTime, one.textContent]")
        there = datetime.fromisoformat(exact).astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert shown == f"{there:%Y-%m-%d %H:%M:%S}"
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert serious(page) == []
        page.get_by_role("button", name="Show UTC").click()
        expect(page.locator("#freshness")).to_contain_text("UTC")


def test_one_of_many_tenants_is_found_by_a_part_of_its_name(page, console):
    """A list of ten thousand cannot be read through. A linked tenant stays chosen while others are searched."""
    console.tenants = [TENANT, *(f"customer-{number:04}" for number in range(300))]
    page.set_viewport_size(PHONE)
    look(page, console, f"/explore?tenant={TENANT}")
    tenant, search = page.get_by_label("Tenant", exact=True), page.get_by_label("Search tenants")
    expect(tenant.locator("option").last).to_have_text("201 more: search for them")
    search.fill("0299")
    expect(tenant.locator("option")).to_have_text([TENANT, "customer-0299"])
    expect(tenant).to_have_value(TENANT)
    search.press("Enter")
    read(page)
    expect(tenant).to_have_value("customer-0299")
    expect(page).to_have_url(re.compile("tenant=customer-0299"))
    search.fill("nobody")
    search.press("Enter")
    expect(tenant.locator("option")).to_have_text(["customer-0299"])
    usable(page, PHONE, WIDE)
