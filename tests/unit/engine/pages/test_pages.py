"""Pages of an app on the engine: reads, answers and refusals."""

from __future__ import annotations

import asyncio

import pytest

from streams import App, Record
from streams.connect.access.refusals import (
    BadRequest,
    Forbidden,
    KeyNotLocal,
    NotCommitted,
    PageFailed,
    UnknownResource,
)
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import UnsupportedByDia, UsageError
from streams.engine.pages import page_tables
from streams.engine.pages.desk import FORWARDED, PageDesk
from streams.engine.streams.page import PageRequest, PageResponse


class Order(Record):
    account: str
    amount: float = 0.0


def _bank():
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=4)
    totals = app.Table("totals", default=float)
    seen = app.SetTable("seen")

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += order.amount
            seen[order.account].add(int(order.amount))

    @app.page("/totals/{account}/")
    @app.table_route(table=totals, match_info="account")
    async def total(web, request, account):
        return web.json({account: totals[account], "there": account in totals})

    @app.page("/totals")
    async def every(web, request):
        return web.json(dict(sorted(totals.items())))

    @app.page("/order", methods=["POST"])
    async def order(web, request):
        await orders.send(value=Order(**await request.json()))
        return web.text("sent", status=202)

    @app.page("/wrong")
    async def wrong(web, request):
        if "write" in request.query:
            totals["a"] = 7.0
        if "change" in request.query:
            seen["a"].add(99)
            return web.text(str(sorted(seen["a"])))
        return {"no": "answer"}

    return app, orders, totals


def test_a_page_shows_what_the_tables_hold(app_tester):
    """All partitions of the process are read; an absent key gives the default."""
    app, orders, _ = _bank()
    tester = app_tester(app)
    for account, amount in (("a", 1.0), ("b", 2.0), ("a", 0.5)):
        tester.send(orders, Order(account=account, amount=amount))
    assert tester.page("/totals/a/").body == b'{"a":1.5,"there":true}'
    assert tester.page("/totals/x/").body == b'{"x":0.0,"there":false}'
    assert tester.page("/totals").body == b'{"a":1.5,"b":2.0}'
    tester.crash()
    assert tester.page("/totals/a/").body == b'{"a":1.5,"there":true}'


def test_a_page_of_a_key_follows_it_into_a_larger_source(app_tester):
    """Producers send the key to the partition of the new count, and its page showed the old one's value until
    the worker was restarted."""
    app, orders, _ = _bank()
    requests = app.topic("requests", value_type=Order, key_field="account", partitions=4)

    @app.agent(requests)
    async def accept(stream):
        async for order in stream:
            await orders.send(value=order)

    tester = app_tester(app)
    tester.send(requests, Order(account="a", amount=1.0))
    keys = map(str, range(99))
    moved = next(
        key for key in keys if partition_of(key.encode(), 4) != partition_of(key.encode(), 8)
    )

    async def grow():
        admin = await tester._world.broker.admin()
        names = [name for name in await admin.describe_topics() if "orders" in name]
        await admin.create_partitions(dict.fromkeys(names, 8))

    tester._run(grow())
    tester.rebalance()
    tester.send(orders, Order(account=moved, amount=5.0))
    # An agent that sends since before the change spreads keys as producers do.
    tester.send(requests, Order(account=moved, amount=1.0))
    assert tester.page(f"/totals/{moved}/").body == b'{"%s":6.0,"there":true}' % moved.encode()


def test_a_page_sends_as_a_client_does(app_tester):
    """The record is delivered before the page answers; the agent counts it like any record."""
    app, _, _ = _bank()
    tester = app_tester(app)
    answered = tester.page("/order", method="POST", body=b'{"account":"a","amount":3}')
    assert (answered.status, answered.body) == (202, b"sent")
    tester.settle()
    assert tester.table("totals") == {"a": 3.0}


@pytest.mark.parametrize(
    ("path", "method", "error"),
    [
        ("/nothing", "GET", UnknownResource),
        ("/totals/a", "GET", UnknownResource),
        ("/totals", "POST", BadRequest),
        ("/order", "GET", BadRequest),
        ("/wrong", "GET", PageFailed),
    ],
)
def test_an_unknown_page_is_refused(app_tester, path, method, error):
    """A page that returns nothing is an error of the app, which the log names."""
    app, _, _ = _bank()
    with pytest.raises(error):
        app_tester(app).page(path, method=method)


def test_a_page_changes_no_table(app_tester):
    """Only events change tables, in their transaction; a set changed in place is refused as well."""
    app, orders, _ = _bank()
    tester = app_tester(app)
    tester.send(orders, Order(account="a", amount=1.0))
    with pytest.raises(PageFailed, match="TableMisused"):
        tester.page("/wrong", query={"write": "1"})
    assert tester.page("/wrong", query={"change": "1"}).body == b"[1]"
    tester.settle()
    assert tester.table("seen") == {"a": {1}}


def test_a_page_that_reads_windows_is_told_what_to_read(app_tester, capsys):
    """Faust's pages read them; the log said that the page "cannot time_ms it"."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    counts = app.Table("counts", default=int).tumbling(60)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            counts[order.account] += 1

    @app.page("/now")
    async def now(web, request):
        return web.json(counts["a"].now())

    with pytest.raises(PageFailed, match="TableMisused"):
        app_tester(app).page("/now")
    told = " ".join(capsys.readouterr().out.split())
    assert "a page does not read windows, which table 'counts' has" in told


def test_a_page_does_not_see_the_middle_of_an_event(app_tester):
    """Staged writes may be dropped, and an agent may wait for hours in the middle of an event."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    totals = app.Table("totals", default=float)
    seen = []

    @app.page("/totals/{account}")
    async def total(web, request, account):
        return web.json([totals[account], totals.get("b", -1.0), len(totals)])

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += order.amount
            totals["b"] = 9.0
            await asyncio.sleep(1.0)
            seen.append((await _desk(tester).answer(PageRequest("GET", "/totals/a"))).body)

    tester = app_tester(app)
    for _ in range(2):
        tester.send(orders, Order(account="a", amount=1.0))
    assert seen == [b"[0.0,-1.0,0]", b"[1.0,9.0,2]"]


def test_an_answer_waits_for_the_commit_of_its_values(app_tester):
    """A crash before that commit would revert the shown value."""
    app, _, _ = _bank()
    tester = app_tester(app)
    [group] = tester._process.worker.groups
    committed = []

    async def asked():
        producer = tester._world.broker.plain_producer()
        await (await producer.send("orders", b"a", b'{"account":"a","amount":2.0}', ()))
        held = {one.tp.partition: one for one in group.partitions.values()}
        while not any(one.partition.state.tables["totals"].changed for one in held.values()):
            await tester._world.clock.sleep(0.001)
        before = sum(one.partition.state.link.seq for one in held.values())
        answered = await _desk(tester).answer(PageRequest("GET", "/totals/a/"))
        committed.append(sum(one.partition.state.link.seq for one in held.values()) - before)
        return answered

    answered = tester._run(asked())
    assert answered.body == b'{"a":2.0,"there":true}'
    assert committed == [1]


def test_without_the_commit_the_page_gives_no_answer(app_tester, monkeypatch):
    """If the partition moves or the broker is away, the page shows nothing."""
    monkeypatch.setattr(page_tables, "COMMIT_WAIT_S", 0.0)
    app, _, _ = _bank()
    tester = app_tester(app)
    for part in _parts(tester):
        part._dirty["a"] = None
    with pytest.raises(NotCommitted):
        tester.page("/totals/a/")
    for part in _parts(tester):
        part._dirty.clear()


def _parts(tester):
    [group] = tester._process.worker.groups
    return [one.partition.state.tables["totals"] for one in group.partitions.values()]


class Elsewhere:
    """Another worker, which answers."""

    def __init__(self):
        self.asked = []

    async def ask(self, place, request):
        self.asked.append((place, request.path))
        return PageResponse(b"there") if place.partition >= 0 else None

    async def where(self, place):
        return "It is on host b."


def _desk(tester, owners=None):
    worker, agents = tester._process.worker, tuple(tester.app.agents.values())
    clock = tester._world.clock
    return PageDesk(tester.app.own_pages, agents, worker.groups, worker.background, clock, owners)


def test_a_request_is_forwarded_to_the_owner_of_its_key_once(app_tester):
    """A forwarded request is not forwarded again: during a rebalance two workers could pass it back
    and forth.
    """
    app, _, _ = _bank()
    tester = app_tester(app)
    [group] = tester._process.worker.groups
    other, desk = Elsewhere(), None
    for held in group.partitions.values():
        held.phase = "restoring"
    desk = _desk(tester, other)
    assert tester._run(desk.answer(PageRequest("GET", "/totals/a/"))).body == b"there"
    [(place, path)] = other.asked
    assert (place.group, place.topic, path) == ("acme-group", "orders", "/totals/a/")
    sent_on = PageRequest("GET", "/totals/a/", headers={FORWARDED: "1"})
    with pytest.raises(KeyNotLocal, match="It is on host b"):
        tester._run(desk.answer(sent_on))
    with pytest.raises(KeyNotLocal):
        tester.page("/totals/a/")
    for held in group.partitions.values():
        held.phase = "ready"


def test_a_key_with_a_slash_has_its_page(app_tester):
    """A key is any text: without its encoded path, such a key had no page."""
    app, orders, _ = _bank()
    tester = app_tester(app)
    tester.send(orders, Order(account="a/b 1%", amount=2.0))
    asked = PageRequest("GET", "/totals/a/b 1%/", encoded="/totals/a%2Fb%201%25/")
    answered = tester._run(_desk(tester).answer(asked))
    assert answered.body == b'{"a/b 1%":2.0,"there":true}'


def test_a_token_of_one_tenant_is_refused_a_page_of_all_tenants(app_tester):
    """Unless the page declares that it shows only data of the token's tenant."""
    app, _, _ = _bank()

    @app.page("/mine", tenants=True)
    async def mine(web, request):
        return web.json(request.tenant)

    tester = app_tester(app)
    desk = _desk(tester)
    bound = PageRequest("GET", "/totals", tenant="t")
    with pytest.raises(Forbidden):
        tester._run(desk.answer(bound))
    assert tester._run(desk.answer(PageRequest("GET", "/mine", tenant="t"))).body == b'"t"'


@pytest.mark.parametrize(
    ("path", "match"),
    [("no/slash", "a path consists of"), ("/a/{b", "a path consists of"), ("/totals", "two pages")],
)
def test_an_invalid_page_is_refused_at_its_declaration(path, match):
    """The error is one sentence, and nothing is registered."""
    app, _, totals = _bank()
    before = app.own_pages
    with pytest.raises(UsageError, match=match):
        app.page(path)(_nothing)
    with pytest.raises(UnsupportedByDia, match="classes of views are not supported"):
        app.page("/view")(type("View", (), {}))
    with pytest.raises(UsageError, match="has no such part"):
        app.page("/x/{a}")(app.table_route(totals, match_info="b")(_nothing))
    with pytest.raises(UsageError, match="either match_info or query_param"):
        app.table_route(totals)
    with pytest.raises(UnsupportedByDia, match="has windows"):
        app.table_route(app.Table("w", default=int).tumbling(10, expires=60), match_info="a")
    assert app.own_pages == before


async def _nothing(web, request):
    return web.text("")
