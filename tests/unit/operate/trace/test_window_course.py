"""A window's figures before and after the commit of an event: exact, or not told."""

from __future__ import annotations

import random
from collections import defaultdict

from agents.app import app as built_in
from streams import App, Count, Max, Record, Sum
from streams.operate.trace import window_course
from streams.testing import SETTINGS, AppTester
from tests.traced import traced


class Order(Record):
    id: str
    account: str
    amount: float
    ts: int


app = App("shop")
orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts", partitions=1)
app.windows(
    "sales",
    of=orders,
    by=("account",),
    size="1m",
    grace="30s",
    fold={"n": Count(), "total": Sum("amount"), "most": Max("amount")},
    ids="id",
)


def _course(tester, name):
    report = traced(tester, name)
    [one] = report.records
    [window] = one.windows
    assert window.course is not None, report
    return window.course


def test_every_event_of_a_window_is_shown_between_two_states():
    """The sums before and after a commit are those of the events up to it, for every event."""
    rng = random.Random(5)
    with AppTester(app) as tester:
        ts, sums, said = tester.now_ms, defaultdict(float), {}
        for number in range(30):
            account, amount = rng.choice(["ada", "bob"]), float(rng.randrange(1, 9))
            before = sums[account]
            tester.send(orders, Order(id=f"o-{number}", account=account, amount=amount, ts=ts))
            tester.advance(0.5)
            sums[account] += amount
            said[f"o-{number}"] = before, sums[account]
        for name, (before, after) in said.items():
            course = _course(tester, name)
            assert (course.before or {}).get("total", 0.0) == before, name
            assert course.after["total"] == after, name


def test_a_window_that_an_event_began_did_not_exist_before():
    """ "Unknown" and "was not there" are two answers."""
    with AppTester(app) as tester:
        tester.send(orders, Order(id="o-1", account="ada", amount=2.0, ts=tester.now_ms))
        tester.advance(2)
        course = _course(tester, "o-1")
        assert course.before == {}
        assert (course.after["n"], course.after["total"], course.after["most"]) == (1, 2.0, 2.0)
        words = [step.what for step in _steps(tester, "o-1")]
        assert words[-4:] == ["before", "after", "now", "row"]


def _steps(tester, name):
    from streams.operate.trace.timeline import timeline

    [one] = traced(tester, name).records
    return timeline(one)


def test_the_minute_of_a_series_is_told_too():
    """The windows of the built-in app are stored as segments of columns."""
    with AppTester(built_in, settings=SETTINGS) as tester:
        event = {"tenant_id": "acme", "model_id": "m", "metric": "auc", "ts": tester.now_ms}
        for number in range(3):
            value = {**event, "event_id": f"e-{number}", "value": 0.5 + number}
            tester.send("model.metrics", value, key="acme")
            tester.advance(1)
        first, last = _course(tester, "e-0"), _course(tester, "e-2")
        assert (first.before, first.after["count"], first.after["max"]) == ({}, 1, 0.5)
        assert (last.before["count"], last.before["mean"]) == (2, 1.0)
        assert (last.after["count"], last.after["mean"], last.after["max"]) == (3, 1.5, 2.5)
        [one] = traced(tester, "e-2", owner="acme").records
        assert one.windows[0].course is not None


def test_a_state_that_lies_too_far_back_is_unknown_and_not_empty(monkeypatch):
    """A search has a bound, and a bound that is reached proves nothing."""
    with AppTester(app) as tester:
        ts = tester.now_ms
        tester.send(orders, Order(id="o-1", account="ada", amount=2.0, ts=ts))
        tester.advance(0.5)
        for number in range(5):
            tester.send(orders, Order(id=f"x-{number}", account="bob", amount=1.0, ts=ts))
            tester.advance(0.5)
        tester.send(orders, Order(id="o-2", account="ada", amount=3.0, ts=ts))
        tester.advance(0.5)
        course = _course(tester, "o-2")
        assert (course.before["total"], course.after["total"]) == (2.0, 5.0)
        monkeypatch.setattr(window_course, "BACK_MAX", 2)
        course = _course(tester, "o-2")
        assert (course.before, course.after["total"]) == (None, 5.0)
