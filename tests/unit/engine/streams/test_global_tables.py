"""`app.GlobalTable`: one agent writes it; all other agents and pages read it whole."""

from __future__ import annotations

import asyncio

import pytest

from streams import App, Record
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import TableMisused, UnsupportedByDia
from streams.core.types import TopicPartition
from streams.engine.runtime.global_view import FOLLOW_S, SAME_PARTITIONS_S, GlobalView
from streams.operate.reset.reset import look, open_epoch, reset


class Rate(Record):
    currency: str
    rate: float | None = None


class Order(Record):
    account: str
    currency: str
    amount: float = 1.0


CURRENCIES = ("EUR", "NOK", "USD", "JPY", "CHF")


def _shop():
    app = App("acme")
    changes = app.topic("changes", value_type=Rate, key_field="currency", partitions=4)
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=2)
    worth = app.topic("worth")
    rates = app.GlobalTable("rates", default=float)

    @app.agent(changes)
    async def keep(stream):
        async for change in stream:
            if change.rate is None:
                rates.pop(change.currency, None)
            else:
                rates[change.currency] = change.rate

    @app.agent(orders)
    async def convert(stream):
        async for order in stream:
            try:
                value = [order.amount * rates[order.currency], order.currency in rates]
            except Exception:  # noqa: BLE001 - as people write it
                value = ["no rate"]
            await worth.send(key=order.account, value=value)

    @app.page("/rates")
    async def page(web, request):
        return web.json(dict(sorted(rates.items())))

    return app, changes, orders, worth


def _values(tester, worth):
    return [sent.value for sent in tester.outputs(worth)]


def test_every_agent_and_page_reads_what_one_agent_wrote(app_tester):
    """The table covers all partitions after a short delay; an absent or deleted key gives the
    default.
    """
    app, changes, orders, worth = _shop()
    tester = app_tester(app)
    for number, currency in enumerate(CURRENCIES):
        tester.send(changes, Rate(currency=currency, rate=float(number + 2)))
    tester.send(changes, Rate(currency="USD"))
    tester.advance(2 * FOLLOW_S)
    for currency in CURRENCIES:
        tester.send(orders, Order(account="a", currency=currency))
    wanted = [[2.0, True], [3.0, True], [0.0, False], [5.0, True], [6.0, True]]
    assert _values(tester, worth) == wanted
    assert tester.page("/rates").body == b'{"CHF":6.0,"EUR":2.0,"JPY":5.0,"NOK":3.0}'
    assert tester.table("rates")["EUR"] == 2.0


def _held_back(monkeypatch):
    """Views read nothing from their logs until the returned event is set."""
    real, opened = GlobalView._catch_up, asyncio.Event()

    async def late(self, reader, logs):
        await opened.wait()
        await real(self, reader, logs)

    monkeypatch.setattr(GlobalView, "_catch_up", late)
    return opened


def test_events_wait_until_the_table_is_fully_read(app_tester, monkeypatch):
    """After a start the table is read from its changelogs. The agent waits, even if it catches
    every exception, and its status names the table.
    """
    app, changes, _orders, worth = _shop()
    tester = app_tester(app)
    tester.send(changes, Rate(currency="EUR", rate=2.0))
    opened = _held_back(monkeypatch)
    tester._run(tester._process.kill())
    tester._process = tester._start()
    tester._run(tester._append("orders", b"a", b'{"account":"a","currency":"EUR"}', ()))
    tester._run(asyncio.sleep(30))
    held = [
        one
        for group in tester._process.worker.groups
        for one in group.partitions.values()
        if one.waits_for
    ]
    assert [one.waits_for.partition(":")[0] for one in held] == ["global_table_pending"]
    assert _values(tester, worth) == []
    opened.set()
    tester.settle()
    assert _values(tester, worth) == [[2.0, True]]
    assert tester.dead_letters == []


def test_a_log_that_was_trimmed_is_read_anew(app_tester):
    """A reader that was behind must drop keys that were deleted in the missed part."""
    app, changes, _orders, _worth = _shop()
    tester = app_tester(app)
    tester.send(changes, Rate(currency="EUR", rate=2.0))
    tester.advance(2 * FOLLOW_S)
    [view] = tester._process.worker._views
    for part in view._parts.values():
        part.offset = -1  # > below every offset of the log
        part.content.follow([(b"\xa3OLD", b"\xcb" + bytes(8))])
    assert "OLD" in view
    tester.advance(2 * FOLLOW_S)
    assert view.keys() == ["EUR"]


@pytest.mark.parametrize("meanwhile", [0, 40], ids=["shorter", "longer again"])
def test_a_log_that_lost_its_end_is_read_anew(app_tester, monkeypatch, meanwhile):
    """The leader lost the end and an operator reset the writer: the log is shorter than the reader
    knows, or has grown past that again. In both cases it holds other commits.
    """
    app, changes, _orders, _worth = _shop()
    tester = app_tester(app)
    world = tester._world
    number = partition_of(b"EUR", 4)
    lost = next(f"X{n}" for n in range(99) if partition_of(b"X%d" % n, 4) == number)
    for rate in range(20):
        tester.send(changes, Rate(currency=lost, rate=float(rate)))
    tester.advance(2 * FOLLOW_S)
    opened = _held_back(monkeypatch)
    writer = app.agents["keep"]
    log = world.broker.log(TopicPartition(writer.source.changelog(writer.group), number))
    log.lose_tail(log.start_offset)

    async def renew():
        found = await look(world.broker, writer.group, writer.source, number, world.targets)
        await reset(world.broker, world.clock, open_epoch(found, resume_at_start=False))
        await asyncio.sleep(30.0)

    tester._run(renew())
    for rate in [*range(meanwhile), 99]:
        tester.send(changes, Rate(currency="EUR", rate=float(rate)))
    opened.set()
    tester.advance(2 * FOLLOW_S)
    [view] = tester._process.worker._views
    assert (view["EUR"], view.keys()) == (99.0, ["EUR"])


def test_a_log_with_an_earlier_end_removes_no_key(app_tester):
    """A new leader may not know the end yet, so the reader must keep its data."""
    app, changes, _orders, _worth = _shop()
    tester = app_tester(app)
    for rate in range(3):
        tester.send(changes, Rate(currency="EUR", rate=float(rate)))
    tester.advance(2 * FOLLOW_S)
    writer, number = app.agents["keep"], partition_of(b"EUR", 4)
    log = tester._world.broker.log(TopicPartition(writer.source.changelog(writer.group), number))
    log.lose_tail(log.readable().offsets[1])
    tester.advance(4 * FOLLOW_S)
    [view] = tester._process.worker._views
    assert view["EUR"] == 2.0


def test_a_key_that_moved_has_the_value_of_its_new_partition(app_tester):
    """The old partition's changelog still holds the key and is read first; the new one wins."""
    app, changes, _orders, _worth = _shop()
    tester = app_tester(app)
    broker = tester._world.broker
    currency = next(one for one in CURRENCIES if partition_of(one.encode(), 8) >= 4)
    tester.send(changes, Rate(currency=currency, rate=1.0))

    async def grow():
        writer = app.agents["keep"]
        admin = await broker.admin()
        companions = (writer.source.changelog(writer.group), writer.source.dlq)
        await admin.create_partitions(dict.fromkeys((writer.source.name, *companions), 8))
        await admin.close()

    tester._run(grow())
    tester.crash()
    tester.send(changes, Rate(currency=currency, rate=2.0))
    tester.advance(SAME_PARTITIONS_S + 2 * FOLLOW_S)
    [view] = tester._process.worker._views
    assert (view[currency], view.keys()) == (2.0, [currency])


def test_an_agent_that_only_reads_it_changes_nothing(app_tester):
    """The first agent that names the table writes it; another writer would cover one partition
    only.
    """
    app, _changes, _orders, _worth = _shop()
    rates = next(iter(app.agents["keep"].owned))
    other = app.topic("other", value_type=Rate, key_field="currency", partitions=1)

    @app.agent(other)
    async def meddle(stream):
        async for change in stream:
            rates[change.currency] = 7.0

    tester = app_tester(app)
    with pytest.raises(AssertionError, match=r"table_misused.*only agent keep writes"):
        tester.send(other, Rate(currency="EUR"))
    assert tester.table("rates") == {}


def test_unsupported_uses_of_a_global_table_are_refused():
    """The declaration fails; outside a worker the table cannot be read."""
    app, *_ = _shop()
    rates = next(iter(app.agents["keep"].owned))
    with pytest.raises(UnsupportedByDia, match="has no windows"):
        rates.tumbling(10, expires=60)
    with pytest.raises(TableMisused, match="of a worker only"):
        rates.get("EUR")
