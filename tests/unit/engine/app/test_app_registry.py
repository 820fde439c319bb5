"""An app with a schema registry on the engine: behaviour during an outage of the registry."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from streams import App, Avro, JsonSchema, Record, Sum, Topic
from streams.core.errors import SchemaPending, SchemaRefused
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
    """One agent that counts and forwards; with ``swallows`` it catches every exception."""
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


def _unavailable_for(tester, times):
    """The registry does not answer the next ``times`` requests."""
    real, left = tester.registry._answer, [times]

    def answer():
        left[0] -= 1
        tester.registry.away = left[0] >= 0
        real()

    tester.registry._answer = answer
    return left


@pytest.mark.parametrize("swallows", [False, True])
def test_an_outage_of_the_registry_delays_and_loses_no_record(app_tester, swallows):
    """Reads and writes both wait: no record is dead-lettered, lost or sent twice, even where the
    agent catches the exception of the registry.
    """
    bank = _bank(swallows=swallows)
    tester = app_tester(bank.app)
    left = _unavailable_for(tester, 9)
    for amount in (1.0, 2.0):
        tester.send(bank.orders, Order(account="a", amount=amount))
    assert left[0] < 0, "the outage was not reached"
    assert tester.table("totals") == {"a": 3.0}
    assert [sent.value.amount for sent in tester.outputs(bank.told)] == [1.0, 2.0]
    assert tester.dead_letters == []


def test_a_batch_agent_that_catches_every_exception_loses_no_record_in_an_outage(app_tester):
    """`Scope.send` waits for the registry too: the agent dead-lettered the record instead, though nothing was wrong with it."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    told = app.topic(
        "told", value_type=Order, key_field="account", codec=JsonSchema(register=True), partitions=1
    )

    @app.batch_agent(orders)
    def forward(batch, scope):
        for index, order in enumerate(batch.events):
            try:
                scope.send(told, value=order)
            except Exception as error:  # noqa: BLE001 - what the test is about
                scope.dead_letter(batch.row(index), "order_refused", str(error), order.account)
            else:
                scope.count(applied=1)

    tester = app_tester(app)
    left = _unavailable_for(tester, 5)
    for amount in (1.0, 2.0):
        tester.send(orders, Order(account="a", amount=amount))
    assert left[0] < 0, "the outage was not reached"
    assert tester.dead_letters == []
    assert [sent.value.amount for sent in tester.outputs(told)] == [1.0, 2.0]


def _waiting(app_tester, place):
    """The app, its tester with one order that waits for the registry, and the order's partition."""
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
def test_the_status_names_the_reason_of_a_waiting_partition(app_tester, place):
    """The status directs the operator to the registry instead of the agent."""
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
    """Operators shed during a long outage. The shed order must not wait for the registry: otherwise
    the old record is folded once the registry answers.
    """
    bank, tester, held = _waiting(app_tester, place)
    tester._run(_shed_all(tester, held))
    tester._run(asyncio.sleep(20))
    assert held.next_offset == 1
    assert (held.waits_for == "") == (place == "reading"), (
        "only the agent that sends still waits for the registry"
    )
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
    """The registry already knows the codec's own schema."""
    number = tester.registry.put(codec.writer)
    with pytest.raises(SchemaPending) as pending:
        codec.source.by_id([number])
    await pending.value.obtain()


def test_a_schema_that_the_registry_refuses_stops_the_partition(app_tester):
    """The app writes a schema that its readers do not accept: an operator decides."""
    bank = _bank(register=False)
    tester = app_tester(bank.app)
    with pytest.raises(NotAtRest, match="schema_refused") as stopped:
        tester.send(bank.orders, Order(account="a", amount=1.0))
    assert isinstance(stopped.value.__cause__, SchemaRefused)
    assert tester.table("totals") == {}


def test_a_batch_agent_may_write_with_a_registry(app_tester):
    """The engine folds the batch again from the log once it knows the schema id."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", codec=Avro(), partitions=1)
    told = app.topic("told", value_type=Order, key_field="account", codec=Avro(subject="told"))

    @app.batch_agent(orders)
    def tell(batch: EventBatch, scope):
        for order in batch.events:
            scope.send(told, "a", order)
        scope.count(applied=len(batch))

    tester = app_tester(app)
    _unavailable_for(tester, 3)
    for amount in (1.0, 2.0):
        tester.send(orders, Order(account="a", amount=amount))
    assert [sent.value.amount for sent in tester.outputs(told)] == [1.0, 2.0]
    assert tester.dead_letters == []


def test_a_group_by_keeps_the_codec_of_its_topic(app_tester):
    """A repartitioned topic holds events in their original encoding."""
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
    """A background task holds no event; its send completes when the broker has the record."""
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
def test_a_closing_window_sends_once_the_registry_answers(app_tester, swallows):
    """A window has no agent to run again: the partition reopens with the window open, then closes
    it and sends its records.
    """
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
    _unavailable_for(tester, 4)
    begin_ms = tester.now_ms // 10_000 * 10_000
    for amount in (1.0, 2.0):
        tester.send(orders, Timed(account="a", amount=amount, ts=begin_ms))
    tester.advance(60)
    assert [sent.value for sent in tester.outputs(told)] == [Order(account="a", amount=3.0)]
    assert [row["total"] for row in tester.rows("sales")] == [3.0]
    assert tester.dead_letters == []
