"""An app whose schemas are in a registry, on the engine: what an outage of the registry costs."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from streams import App, Avro, JsonSchema, Record, Sum, Topic
from streams.core.errors import SchemaPending, SchemaRefused
from streams.core.types import OutboundRecord, TopicPartition
from streams.engine.agents.agent import EventBatch
from streams.operate.shed.shed_admin import give_orders, plan
from streams.testing import NotAtRest


class Order(Record):
    account: str
    amount: float = 0.0


class Timed(Order):
    ts: int = 0


class Bank(NamedTuple):
    app: App
    orders: Topic
    told: Topic


def _bank(*, swallows=False, register=True):
    """One agent that counts and sends on; ``swallows``: it also catches every exception."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", codec="avro", partitions=1)
    told = app.topic(
        "told", value_type=Order, key_field="account", codec=JsonSchema(register=register)
    )
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            totals[order.account] += order.amount
            try:
                await told.send(value=order)
            except Exception:
                if not swallows:
                    raise

    return Bank(app, orders, told)


def _away_until_asked(tester, times):
    """The registry gives no answer to the next ``times`` questions."""
    real, left = tester.registry._answer, [times]

    def answer():
        left[0] -= 1
        tester.registry.away = left[0] >= 0
        real()

    tester.registry._answer = answer
    return left


@pytest.mark.parametrize("swallows", [False, True])
def test_an_outage_of_the_registry_costs_patience_and_no_record(app_tester, swallows):
    """Reading and writing both wait; nothing is dead-lettered, lost or told twice, also where the
    agent catches the exception that says so."""
    bank = _bank(swallows=swallows)
    tester = app_tester(bank.app)
    left = _away_until_asked(tester, 9)
    for amount in (1.0, 2.0):
        tester.send(bank.orders, Order(account="a", amount=amount))
    assert left[0] < 0, "the outage was met"
    assert tester.table("totals") == {"a": 3.0}
    assert [sent.value.amount for sent in tester.outputs(bank.told)] == [1.0, 2.0]
    assert tester.dead_letters == []


def _waiting(app_tester, place):
    """The app, its tester with one order that waits for the registry, and the partition that holds it."""
    bank = _bank()
    tester = app_tester(bank.app)
    [held] = tester._process.worker.groups[0].partitions.values()
    if place == "writing":
        tester._run(_known(tester, bank.orders.codec))
    tester.registry.away = True
    value = tester._client_value(bank.orders, Order(account="a", amount=1.0))
    tester._run(tester._append("orders", b"a", value, ()))
    tester._run(asyncio.sleep(20))
    return bank, tester, held


@pytest.mark.parametrize("place", ["reading", "writing"])
def test_the_status_says_what_a_partition_waits_for(app_tester, place):
    """An operator must see the registry, and not look for a bug in the agent."""
    _, tester, held = _waiting(app_tester, place)
    assert held.waits_for.startswith("schema_registry_unavailable: ")
    assert not held.settled
    assert tester.table("totals") == {}
    tester.registry.away = False
    tester.settle()
    assert held.waits_for == ""
    assert tester.table("totals") == {"a": 1.0}
    assert tester.dead_letters == []


@pytest.mark.parametrize("place", ["reading", "writing"])
def test_old_records_can_be_shed_while_the_registry_is_away(app_tester, place):
    """A long outage is when an operator sheds: the order waited for the registry, which then let the first of the
    records be folded."""
    bank, tester, held = _waiting(app_tester, place)
    tester._run(_shed_all(tester, held))
    tester._run(asyncio.sleep(20))
    assert held.next_offset == 1
    assert (held.waits_for == "") == (place == "reading"), "a body asks on for what it sends"
    tester.registry.away = False
    tester.send(bank.orders, Order(account="a", amount=2.0))
    assert tester.table("totals") == {"a": 2.0}
    assert [sent.value.amount for sent in tester.outputs(bank.told)] == [2.0]
    assert tester.dead_letters == []


async def _shed_all(tester, held):
    broker, clock = tester._world.broker, tester._world.clock
    plans = await plan(broker, "acme-group", [held.tp], clock.now_ms() + 1000)
    await give_orders(broker, clock, plans, "o-1", "eve", "too old")


async def _known(tester, codec):
    """The registry answered for the codec's own schema before."""
    number = tester.registry.put(codec.writer)
    with pytest.raises(SchemaPending) as pending:
        codec.source.by_id([number])
    await pending.value.obtain()


def test_a_schema_that_the_registry_refuses_stops_the_partition(app_tester):
    """What the app writes is not what its readers agreed on: an operator decides."""
    bank = _bank(register=False)
    tester = app_tester(bank.app)
    with pytest.raises(NotAtRest, match="schema_refused") as stopped:
        tester.send(bank.orders, Order(account="a", amount=1.0))
    assert isinstance(stopped.value.__cause__, SchemaRefused)
    assert tester.table("totals") == {}


def test_a_batch_agent_may_write_with_a_registry(app_tester):
    """Its batch is folded again from the log, once the id is known."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", codec=Avro(), partitions=1)
    told = app.topic("told", value_type=Order, key_field="account", codec=Avro(subject="told"))

    @app.batch_agent(orders)
    def tell(batch: EventBatch, scope):
        for order in batch.events:
            place = TopicPartition("told", 0)
            scope.emit(OutboundRecord(place, b"a", told.codec.encode(order)))
        scope.count(applied=len(batch))

    tester = app_tester(app)
    _away_until_asked(tester, 3)
    for amount in (1.0, 2.0):
        tester.send(orders, Order(account="a", amount=amount))
    assert [sent.value.amount for sent in tester.outputs(told)] == [1.0, 2.0]
    assert tester.dead_letters == []


def test_a_group_by_keeps_the_codec_of_its_topic(app_tester):
    """Events lie under their other key as they came."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, codec="avro")
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def count(stream):
        async for order in stream.group_by("account"):
            totals[order.account] += order.amount

    tester = app_tester(app)
    for key in ("x", "y"):
        tester.send(orders, Order(account="a", amount=1.5), key=key)
    assert tester.table("totals") == {"a": 3.0}
    assert tester.dead_letters == []


def test_a_background_task_writes_once_the_registry_answers(app_tester):
    """It waits for nobody's event; its send is done when the broker has it."""
    app = App("acme")
    told = app.topic("told", value_type=Order, key_field="account", codec="avro")

    @app.agent(told)
    async def read(stream):
        async for _ in stream:
            pass

    @app.task
    async def tell():
        await told.send(value=Order(account="a", amount=1.0))

    tester = app_tester(app)
    assert [sent.value.account for sent in tester.outputs(told)] == ["a"]


@pytest.mark.parametrize("swallows", [False, True])
def test_a_window_that_closes_tells_once_the_registry_answers(app_tester, swallows):
    """`app.windows` has no agent that could run again: its partition opens anew, the window is still open,
    and closes with what it tells."""
    app = App("acme")
    orders = app.topic("orders", value_type=Timed, key_field="account", time_field="ts")
    told = app.topic("told", value_type=Order, key_field="account", codec="avro")

    def tell(window):
        try:
            told.send_soon(value=Order(account="a", amount=window.values["total"]))
        except Exception:
            if not swallows:
                raise

    app.windows(
        "sales", of=orders, by=("account",), size="10s", grace="1s",
        fold={"total": Sum("amount")}, on_window_close=tell,
    )  # fmt: skip
    tester = app_tester(app)
    _away_until_asked(tester, 4)
    begin_ms = tester.now_ms // 10_000 * 10_000
    for amount in (1.0, 2.0):
        tester.send(orders, Timed(account="a", amount=amount, ts=begin_ms))
    tester.advance(60)
    assert [sent.value for sent in tester.outputs(told)] == [Order(account="a", amount=3.0)]
    assert [row["total"] for row in tester.rows("sales")] == [3.0]
    assert tester.dead_letters == []
