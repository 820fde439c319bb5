"""`app.windows` on the real engine in memory: rows, late records, closing, crashes, invalid input."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import faust
import msgspec
import pytest

from streams import (
    App,
    ClosedWindow,
    Count,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Quantiles,
    Record,
    Sum,
    TopK,
    Variance,
)
from streams.core.errors import UsageError
from streams.engine.windows.aggregated import aggregate_table
from streams.testing import SETTINGS, AppTester, NotAtRest

NOW_MS = 1_760_000_000_000
MINUTE_MS = NOW_MS // 3_600_000 * 3_600_000 - 3_600_000
"""Start of the window of the first event: long enough ago that its time moves the watermark."""


class Order(Record):
    account: str
    region: int = 0
    item: str = "pen"
    amount: float = 1.0
    discount: float | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    ts: int


def _app(name="acme", **topic):
    app = App(name)
    options = {"key_field": "account", "time_field": "ts", "partitions": 2, **topic}
    return app, app.topic("orders", value_type=Order, **options)


def _order(second, account="a", **fields):
    return Order(account=account, ts=MINUTE_MS + int(second * 1000), **fields)


def _rows(tester, name, *columns):
    """Rows as tuples: seconds since the first window, whether the row is final, and ``columns``."""
    return sorted(
        ((row["w"] - MINUTE_MS) / 1000, row["closed"], *(row[column] for column in columns))
        for row in tester.rows(name)
    )


@pytest.fixture
def tested(app_tester):
    return lambda app: app_tester(app, now_ms=NOW_MS)


def test_every_aggregator_has_its_columns(tested):
    """The values do not depend on batch boundaries, a crash or a move to another host."""
    app, orders = _app()
    app.windows(
        "per_minute",
        of=orders,
        by=("account", "region"),
        size="1m",
        fold={
            "n": Count(), "total": Sum("amount"), "regions": Sum("region"), "mean": Mean("amount"),
            "var": Variance("amount"), "low": Min("amount"), "high": Max("region"),
            "first": First("item"), "last": Last("amount"), "q": Quantiles("amount", at=(0.5, 0.999)),
            "items": Distinct("item"), "top": TopK("item", k=1), "saved": Sum("discount"),
        },
    )  # fmt: skip
    tester = tested(app)
    acts = (tester.crash, tester.move, tester.rebalance, tester.settle)
    for number, act in enumerate(acts):
        item = "pen" if number else "cup"
        tester.send(orders, _order(number, region=3, amount=float(number), item=item))
        act()
    (row,) = tester.rows("per_minute")
    assert (row["account"], row["region"], row["closed"]) == ("a", 3, False)
    assert (row["w"], row["w_end"]) == (MINUTE_MS, MINUTE_MS + 60_000)
    assert (row["n"], row["total"], row["regions"], row["mean"], row["var"]) == (
        4,
        6,
        12,
        1.5,
        1.25,
    )
    assert (row["low"], row["high"], row["first"], row["last"]) == (0.0, 3, "cup", 3.0)
    assert row["q_50"] == pytest.approx(1, rel=0.011)
    assert row["q_99_9"] == pytest.approx(2, rel=0.011)
    assert (row["items"], row["top"], row["top_n"], row["saved"]) == (2, ["pen"], [3], None)


def test_a_window_closes_once_and_calls_its_function_in_that_commit(tested):
    """Windows close by newer events and by silence, once each, also after a crash."""
    app, orders = _app()
    alerts = app.topic("alerts")

    def tell(window: ClosedWindow) -> None:
        alerts.send_soon(key=window.key["account"], value=[window.start_ms, window.values["n"]])

    app.windows(
        "per_minute", of=orders, by=["account"], size=60, grace=timedelta(seconds=5),
        fold={"n": Count()}, on_window_close=tell,
    )  # fmt: skip
    tester = tested(app)
    for second in (0, 30, 59, 64):
        tester.send(orders, _order(second))
    tester.crash()
    assert _rows(tester, "per_minute", "n") == [(0, False, 3), (60, False, 1)]
    tester.send(orders, _order(65))
    tester.crash()
    assert _rows(tester, "per_minute", "n") == [(0, True, 3), (60, False, 2)]
    tester.advance(600)
    tester.move()
    assert _rows(tester, "per_minute", "n") == [(0, True, 3), (60, True, 2)]
    sent = [(one.key, one.value) for one in tester.outputs(alerts)]
    assert sent == [("a", [MINUTE_MS, 3]), ("a", [MINUTE_MS + 60_000, 2])]


def test_many_keys_are_closed_in_several_commits(tested):
    """Commits stay small when many keys end with one window; each key is closed once."""
    app, orders = _app(partitions=1)
    ends = app.topic("ends", partitions=1)

    def tell(window):
        ends.send_soon(key=window.key["account"], value=window.values["n"])

    app.windows(
        "hops", of=orders, by=("account",), size=60, step=30, grace=0, fold={"n": Count()},
        on_window_close=tell,
    )  # fmt: skip
    with patch.object(aggregate_table, "CLOSED_ROWS_MAX", 3):
        tester = tested(app)
        for number in range(10):
            tester.send(orders, _order(number, account=f"account {number}"))
        tester.send(orders, _order(61))
        assert _rows(tester, "hops", "n") == [
            *[(-30, True, 1)] * 10, *[(0, True, 1)] * 10, (30, False, 1), (60, False, 1)
        ]  # fmt: skip
        tester.move()
    assert Counter(one.key for one in tester.outputs(ends)) == {
        f"account {number}": 2 for number in range(10)
    }


def test_hopping_windows_share_their_records(tested):
    """A record counts in each open window that contains it, and in no closed one."""
    app, orders = _app()
    app.windows(
        "hops", of=orders, by=("account",), size="60s", step="20s", grace=0, fold={"n": Count()}
    )
    tester = tested(app)
    for second in (0, 10, 50, 65, 45):
        tester.send(orders, _order(second))
    assert _rows(tester, "hops", "n") == [
        (-40, True, 2), (-20, True, 2), (0, True, 3), (20, False, 3), (40, False, 3), (60, False, 1),
    ]  # fmt: skip


def test_a_record_between_two_sessions_merges_them(tested):
    """A record between two sessions merges them; the rows follow when the session ends."""
    app, orders = _app()
    app.windows("visits", of=orders, by=("account",), gap="30s", grace="60s", fold={"n": Count()})
    tester = tested(app)
    for second in (0, 45, 20, 200):
        tester.send(orders, _order(second))
        tester.crash()
    assert _rows(tester, "visits", "n", "account") == [(0, True, 3, "a")]
    (row,) = tester.rows("visits")
    assert row["w_end"] == MINUTE_MS + 45_000
    assert tester.dead_letters == []


@pytest.mark.parametrize("late", ["dead_letter", "drop"])
def test_a_late_record_is_dead_lettered_or_dropped_as_configured(tested, late):
    """Either the dead letters, with the record's bytes, or a drop that is counted as handled."""
    app, orders = _app()
    app.windows(
        "per_minute", of=orders, by=("account",), size=60, grace=0, late=late, fold={"n": Count()}
    )
    tester = tested(app)
    for second in (0, 61, 59):
        tester.send(orders, _order(second))
    assert _rows(tester, "per_minute", "n") == [(0, True, 1), (60, False, 1)]
    dead = [letter.code for letter in tester.dead_letters]
    assert dead == (["window_closed"] if late == "dead_letter" else [])
    (ledger,) = tester.rows("ledger")
    assert (ledger["read"], ledger["applied"], ledger["dead"]) == (3, 3 - len(dead), len(dead))


def test_late_records_stop_no_partition(app_tester):
    """Late, well-formed records of a producer that was offline do not count as poison."""
    app, orders = _app(partitions=1)
    app.windows("per_minute", of=orders, by=("account",), size=60, fold={"n": Count()})
    settings = replace(SETTINGS, poison_min_records=5, poison_min_tenants=1)
    tester = app_tester(app, settings=settings, now_ms=NOW_MS)
    tester.send(orders, _order(600))
    for second in range(20):
        tester.send(orders, _order(second))
    assert Counter(letter.code for letter in tester.dead_letters) == {"window_closed": 20}


def test_a_record_is_folded_into_all_windows_or_none(tested):
    """The record is late for one of two windows. If the other counted it, a replay of the dead
    letter would count it twice.
    """
    app, orders = _app()
    app.windows("short", of=orders, by=("account",), size=10, grace=0, fold={"n": Count()})
    app.windows("long", of=orders, by=("account",), size=600, fold={"n": Count()})
    assert list(app.agents) == ["orders-windows"]
    tester = tested(app)
    for second in (0, 11, 5):
        tester.send(orders, _order(second))
    assert [letter.code for letter in tester.dead_letters] == ["window_closed"]
    assert sum(row["n"] for row in tester.rows("long")) == 2


def test_an_event_that_is_sent_twice_counts_once(tested):
    """By its id, also after a move. The same id with another payload is a dead letter and counts in
    no window.
    """
    app, orders = _app()
    app.windows(
        "per_minute", of=orders, by=("account",), size=60, ids="item",
        fold={"n": Count(), "total": Sum("amount")},
    )  # fmt: skip
    tester = tested(app)
    for item in ("x", "y", "x", "z", "y"):
        tester.send(orders, _order(0, item=item))
        tester.move()
    tester.send(orders, _order(0, item="x", amount=5.0))
    assert _rows(tester, "per_minute", "n", "total") == [(0, False, 3, 3.0)]
    assert [letter.code for letter in tester.dead_letters] == ["idempotency_conflict"]
    (ledger,) = tester.rows("ledger")
    counts = {name: ledger[name] for name in ("read", "applied", "duplicates", "dead")}
    assert counts == {"read": 6, "applied": 3, "duplicates": 2, "dead": 1}


def test_a_late_event_leaves_no_id(tested):
    """The first event under the id was late; an event in time under the same id is counted."""
    app, orders = _app()
    app.windows(
        "per_minute", of=orders, by=("account",), size=60, grace=0, ids="item", fold={"n": Count()}
    )
    tester = tested(app)
    for second, item in ((0, "a"), (61, "b"), (59, "c"), (62, "c")):
        tester.send(orders, _order(second, item=item))
    assert _rows(tester, "per_minute", "n") == [(0, True, 1), (60, False, 2)]
    assert [letter.code for letter in tester.dead_letters] == ["window_closed"]


def test_all_windows_of_a_topic_have_the_same_ids():
    """An event counts in all windows of the topic or in none."""
    app, orders = _app()
    app.windows("one", of=orders, by=("account",), size=60, ids="item", fold={"n": Count()})
    with pytest.raises(UsageError, match="'other' have ids='', but others of orders have 'item'"):
        app.windows("other", of=orders, by=("account",), size=60, fold={"n": Count()})
    assert "other" not in app.clickhouse_tables


class Loose(faust.Record, serializer="json"):
    """A struct whose values are not validated."""

    account: str
    amount: float
    count: int = 0


def test_values_that_windows_cannot_hold_are_dead_letters(tested):
    """One dead letter each; the other records of the batch count."""
    app = App("acme")
    orders = app.topic("orders", value_type=Loose, key_field="account", partitions=1)
    app.windows(
        "per_minute", of=orders, by=("account",), size=60, grace=3600,
        fold={"total": Sum("amount"), "high": Max("count"), "items": Last("account")},
    )  # fmt: skip
    tester = tested(app)
    for value in (b'"much"', b"[1]", b"1e400", b"null"):
        tester.send(orders, b'{"account":"a","amount":%s}' % value, key="a")
    for number in (b"9223372036854775808", b"1.5", b"true"):
        tester.send(orders, b'{"account":"a","amount":1,"count":%s}' % number, key="a")
    tester.send(orders, b'{"account":["a"],"amount":1}', key="a")
    tester.send(orders, b'{"account":"%s","amount":1}' % (b"x" * 40_000), key="a")
    tester.send(orders, b'{"account":"a","amount":2,"count":7}', key="a")
    (row,) = tester.rows("per_minute")
    assert (row["total"], row["high"]) == (2.0, 7)
    assert len(tester.dead_letters) == 9
    codes = {letter.code for letter in tester.dead_letters}
    assert codes <= {"value_refused", "wrong_type", "non_finite", "key_mismatch"}
    assert "value_refused" in codes


def test_a_function_that_raises_is_an_error_of_the_apps_own_test(tested):
    """In production the window is held; a developer must not overlook it. The row is final all the same."""
    app, orders = _app()

    def tell(window):
        raise RuntimeError("no alert")

    app.windows(
        "per_minute", of=orders, by=("account",), size=60, grace=0, fold={"n": Count()},
        on_window_close=tell,
    )  # fmt: skip
    tester = tested(app)
    tester.send(orders, _order(0))
    with pytest.raises(
        NotAtRest, match=r"'per_minute' are held.*agent_failed: .* raised RuntimeError"
    ):
        tester.send(orders, _order(61))
    assert _rows(tester, "per_minute", "n") == [(0, True, 1), (60, False, 1)]


def test_windows_of_another_shape_are_refused_over_a_stored_state(tested):
    """The error has its own code; otherwise old and new shape would be mixed in one state."""
    app, orders = _app()
    size = {"per_minute": "1m"}

    def declare(app, orders):
        app.windows(
            "per_minute", of=orders, by=("account",), size=size["per_minute"], fold={"n": Count()}
        )

    declare(app, orders)
    tester = tested(app)
    tester.send(orders, _order(0))
    size["per_minute"] = "2m"
    other, topic = _app()
    declare(other, topic)
    tester._world.agents = tuple(other.agents.values())
    with pytest.raises(NotAtRest, match=r"table_changed.*size_ms=60000.*size_ms=120000"):
        tester.crash()


def test_an_app_that_removes_a_window_goes_on(app_tester):
    """The state of the removed windows survives trimming of the changelog, and is used when they
    return.
    """
    apps = []
    for names in (("kept", "left"), ("kept",)):
        app, orders = _app(partitions=1)
        for name in names:
            app.windows(name, of=orders, by=("account",), size=60, grace="1d", fold={"n": Count()})
        apps.append(app)
    whole, part = apps
    settings = replace(SETTINGS, changelog_slack_bytes=200)
    tester = app_tester(whole, settings=settings, now_ms=NOW_MS)
    tester.send("orders", _order(0))
    tester._world.agents = tuple(part.agents.values())
    tester.crash()
    for second in range(30):
        tester.send("orders", _order(second))
    tester._world.agents = tuple(whole.agents.values())
    tester.move()
    tester.send("orders", _order(1))
    assert _rows(tester, "kept", "n") == [(0, False, 32)]
    assert _rows(tester, "left", "n") == [(0, False, 2)]


async def _no_function(window):
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"by": ("acount",)}, "has no field 'acount'.*account, region"),
        ({"fold": {"total": Sum("amuont")}}, "has no field 'amuont'"),
        ({"fold": {"total": Sum("item")}}, r"Sum\('item'\) takes fields of bool, float, int"),
        ({"fold": {"total": Sum("tags")}}, r"field 'tags' of Order is list\[str\]"),
        ({"by": ("account", "amount")}, "a key is made of str, int and bool"),
        ({"by": ("item",)}, "by account, which.*keys='any'"),
        ({"by": ()}, "by needs a field"),
        ({"fold": {}}, "fold an aggregator"),
        ({"size": 0}, "either size, or the gap"),
        ({"gap": 30}, "either size, or the gap"),
        ({"size": "2d"}, "must be 1 s to 1 d"),
        ({"step": 61}, "at most the size"),
        ({"step": 59.999}, "Make the size a multiple of the step"),
        ({"size": "soon"}, "not a length of time"),
        ({"grace": -1}, "not a length of time"),
        ({"ids": "identity"}, "has no field 'identity'"),
        ({"ids": "amount"}, "ids names 'amount', which is float"),
        ({"late": "keep"}, "neither 'dead_letter' nor 'drop'"),
        ({"fold": {"w": Count()}}, "two columns called 'w'"),
        ({"name": "m1"}, "has a ClickHouse table or sink named m1"),
        ({"name": "outbox"}, "the engine has a table of that name"),
        ({"name": "per-minute"}, "use letters, digits and _"),
        ({"on_window_close": _no_function}, "is `async def`"),
        (
            {"fold": {f"q{n}": Quantiles("amount", error=0.001) for n in range(3)}},
            "more than the .* bytes that a changelog entry holds",
        ),
    ],
)  # fmt: skip
def test_an_invalid_declaration_is_refused(options, why):
    """The error gives file and line, and nothing is registered."""
    app, orders = _app()
    whole = {"name": "per_minute", "by": ("account",), "size": 60, "fold": {"n": Count()}} | options
    with pytest.raises(UsageError, match=why):
        app.windows(whole.pop("name"), of=orders, **whole)
    assert not app.agents
    assert set(app.clickhouse_tables) == set(App("empty").clickhouse_tables)


def test_a_topic_has_one_agent():
    """Windows and an agent on one topic would both own its dead letters."""
    app, orders = _app()

    @app.agent(orders)
    async def count(stream):
        async for _ in stream:
            pass

    with pytest.raises(UsageError, match="both read orders"):
        app.windows("per_minute", of=orders, by=("account",), size=60, fold={"n": Count()})
    assert "per_minute" not in app.clickhouse_tables


def test_windows_by_any_key_have_a_row_for_each_partition(tested):
    """The app allows it by a setting: the rows of all partitions add up to the records sent."""
    app, orders = _app()
    app.windows(
        "items", of=orders, by=("item",), size=60, keys="any", fold={"n": Count()}, ttl_days=30
    )
    tester = tested(app)
    for number in range(8):
        tester.send(orders, _order(number, account=f"account {number}"))
    rows = tester.rows("items")
    assert {row["part"] for row in rows} == {0, 1}
    assert sum(row["n"] for row in rows) == 8


def test_rows_of_open_windows_wait_while_a_shard_is_spared(tested):
    """The rows arrive when the shard is no longer spared, without a new record."""
    app, orders = _app(partitions=1)
    app.windows("per_minute", of=orders, by=("account",), size=60, fold={"n": Count()})
    tester: AppTester = tested(app)
    (partition,) = tester._process.worker.groups[0].partitions.values()
    every = range(tester._world.shard_count)
    with patch.object(type(partition._handover), "spared", lambda _: every):
        value = orders.codec.encode(_order(0))
        tester._run(tester._append(orders.name, b"a", value, ()))
        tester._run(asyncio.sleep(5))
        assert tester.rows("per_minute") == []
    tester.settle()
    assert _rows(tester, "per_minute", "n") == [(0, False, 1)]
