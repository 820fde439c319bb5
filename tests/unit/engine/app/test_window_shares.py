"""Open windows of `app.windows` are shared between tenants: one tenant cannot use the room of all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams import App, Count, Record
from streams.testing import SETTINGS, NotAtRest

NOW_MS = 1_760_000_000_000
MINUTE_MS = NOW_MS // 3_600_000 * 3_600_000 - 3_600_000
"""start of the window of the first event"""
MANY = 600
"""more states than the least `max_table_bytes` has room for, as `LARGE` ones"""
LARGE = {f"n{column}": Count() for column in range(40)} | {"n": Count()}
SHAPES = {
    "tumbling": {"size": "1m", "grace": "1m"},
    "hopping": {"size": "2m", "step": "1m", "grace": "1m"},
    "sessions": {"gap": "1m", "grace": "1m"},
}


class Visit(Record):
    tenant_id: str
    page: str
    id: str
    ts: int


class Order(Record):
    account: str
    page: str
    ts: int


@pytest.fixture
def tested(app_tester):
    def start(app):
        settings = replace(SETTINGS, max_table_bytes=1 << 20)
        return app_tester(app, settings=settings, now_ms=NOW_MS)

    return start


def _app(*shapes, **options):
    app = App("acme")
    options = {"by": ("tenant_id", "page"), "fold": LARGE} | options
    visits = app.topic(
        "visits", value_type=Visit, key_field="tenant_id", time_field="ts", partitions=1
    )
    for name in shapes:
        app.windows(name, of=visits, **SHAPES[name], **options)
    return app, visits


def _visit(tenant, page, second=0):
    return Visit(
        tenant_id=tenant, page=page, id=f"{tenant} {page}", ts=MINUTE_MS + int(second * 1000)
    )


def _sends(tester, topic, events):
    """Appends all events first, so that one batch holds many."""
    for event in events:
        key = getattr(event, topic.key_field).encode()
        tester._run(tester._append(topic.name, key, topic.codec.encode(event), ()))
    tester.settle()


def _counts(tester, table, tenant):
    rows = [row for row in tester.rows(table) if row["tenant_id"] == tenant]
    return {row["page"]: row["n"] for row in rows}


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_beyond_a_share_are_refused_and_stop_no_other_tenant(tested, shape):
    """One tenant must not fill the window states of a partition and stop it for all."""
    app, visits = _app(shape)
    tester = tested(app)
    _sends(tester, visits, [_visit("hostile", f"h{n}", n / 30) for n in range(MANY)])
    refused = [letter.code for letter in tester.dead_letters]
    assert set(refused) == {"over_quota"}
    assert 0 < len(refused) < MANY
    _sends(tester, visits, [_visit("victim", "v", 30), _visit("victim", "v", 31)])
    _sends(tester, visits, [_visit("hostile", "h0", 32), _visit("hostile", "one more", 32)])
    _sends(tester, visits, [_visit("last", "end", 600)])
    assert _counts(tester, shape, "victim") == {"v": 2}
    assert _counts(tester, shape, "hostile")["h0"] == 2, (
        "an event for an existing window was refused"
    )
    assert len(_counts(tester, shape, "hostile")) == MANY - len(refused)
    assert len(tester.dead_letters) == len(refused) + 1


@pytest.mark.parametrize("act", ["go on", "crash", "move"])
def test_a_refused_record_counts_once_windows_have_closed(tested, act):
    """A closed window returns its share. A refusal stores no id, so a replay is not a duplicate."""
    app, visits = _app("tumbling", ids="id")
    tester = tested(app)
    _sends(tester, visits, [_visit("hostile", f"h{n}") for n in range(MANY)])
    again = _visit("hostile", "again", 100)
    _sends(tester, visits, [again])
    letter = tester.dead_letters[-1]
    assert (letter.code, letter.value) == ("over_quota", visits.codec.encode(again))
    assert "DIA_MAX_TABLE_BYTES" in letter.message
    if act != "go on":
        getattr(tester, act)()
    _sends(tester, visits, [_visit("victim", "v1", 150)])
    before = len(tester.dead_letters)
    tester.send(visits, letter.value, key="hostile")
    tester.send(visits, letter.value, key="hostile")
    _sends(tester, visits, [_visit("victim", "v2", 600)])
    assert _counts(tester, "tumbling", "hostile")["again"] == 1
    assert len(tester.dead_letters) == before


def test_a_record_that_one_table_refuses_counts_in_no_table(tested):
    """Otherwise a replay of its dead letter would count twice in the other tables."""
    app = App("acme")
    visits = app.topic(
        "visits", value_type=Visit, key_field="tenant_id", time_field="ts", partitions=1
    )
    app.windows(
        "pages", of=visits, by=("tenant_id", "page"), size="1m", roll_ups=("1h",), fold=LARGE
    )
    app.windows("all", of=visits, by=("tenant_id",), size="1m", fold=LARGE)
    tester = tested(app)
    # The table of hours fills first, while windows of minutes close.
    for minute in range(5):
        events = [_visit("hostile", f"h{minute} {n}", 60 * minute) for n in range(MANY // 5)]
        _sends(tester, visits, events)
    _sends(tester, visits, [_visit("victim", "v", 301)])
    refused = len(tester.dead_letters)
    assert 0 < refused < MANY
    _sends(tester, visits, [_visit("victim", "v", 1000)])
    for table in ("pages", "pages_1h", "all"):
        rows = [row for row in tester.rows(table) if row["tenant_id"] == "hostile"]
        assert sum(row["n"] for row in rows) == MANY - refused, table
    assert {letter.code for letter in tester.dead_letters} == {"over_quota"}
    assert _counts(tester, "pages_1h", "victim") == {"v": 2}


def test_after_a_restart_the_next_tenant_finds_room(tested):
    """After a restart the tenants of the stored windows are unknown, so no tenant is charged for
    them.
    """
    app, visits = _app("tumbling")
    tester = tested(app)
    _sends(tester, visits, [_visit("hostile", f"h{n}") for n in range(MANY)])
    tester.move()
    _sends(tester, visits, [_visit("hostile", f"g{n}") for n in range(MANY)])
    _sends(tester, visits, [_visit("victim", "v", 1)])
    assert _counts(tester, "tumbling", "victim") == {"v": 1}


def test_events_without_a_tenant_are_not_refused(tested):
    """An app without tenants stops at the bound and loses no record."""
    app = App("acme")
    orders = app.topic(
        "orders", value_type=Order, key_field="account", time_field="ts", partitions=1
    )
    app.windows("paid", of=orders, by=("account", "page"), size="1m", fold=LARGE)
    tester = tested(app)
    events = [Order(account="a", page=str(n), ts=MINUTE_MS) for n in range(MANY)]
    with pytest.raises(NotAtRest, match="state_limit"):
        _sends(tester, orders, events)
    assert tester.dead_letters == []


def test_a_full_table_does_not_refuse_records_that_are_late_for_it(tested):
    """A full table must not refuse records that are late for it, since it drops them anyway."""
    app, visits = _app("tumbling", late="drop")
    app.windows("long", of=visits, by=("tenant_id",), size="1h", fold={"n": Count()}, grace="1h")
    tester = tested(app)
    _sends(tester, visits, [_visit("hostile", f"h{n}", 600) for n in range(MANY)])
    _sends(tester, visits, [_visit("victim", "v", 1)])
    assert _counts(tester, "tumbling", "victim") == {}
    assert [row["n"] for row in tester.rows("long") if row["tenant_id"] == "victim"] == [1]


class Guest(Record):
    tenant_id: str | None = None
    page: str
    ts: int


@pytest.mark.parametrize("act", [None, "move"])
@pytest.mark.parametrize("shape", SHAPES)
def test_events_that_leave_out_their_tenant_have_one_share(tested, shape, act):
    """They stopped the partition of the tenants that are named, `state_limit`."""
    app = App("acme")
    guests = app.topic("guests", value_type=Guest, key_field="page", time_field="ts", partitions=1)
    app.windows(shape, of=guests, by=("page",), **SHAPES[shape], fold=LARGE)
    tester = tested(app)
    times = [MINUTE_MS + 33 * n for n in range(MANY)]
    _sends(tester, guests, [Guest(page=f"g{n}", ts=ts) for n, ts in enumerate(times)])
    if act is not None:
        getattr(tester, act)()
    refused = [letter.code for letter in tester.dead_letters]
    assert set(refused) == {"over_quota"}
    assert "events without a tenant have their share" in tester.dead_letters[0].message
    _sends(tester, guests, [Guest(tenant_id="victim", page="v", ts=MINUTE_MS + 30_000)] * 2)
    _sends(tester, guests, [Guest(tenant_id="last", page="end", ts=MINUTE_MS + 600_000)])
    assert {row["page"]: row["n"] for row in tester.rows(shape)}["v"] == 2
    assert {letter.code for letter in tester.dead_letters} == {"over_quota"}
