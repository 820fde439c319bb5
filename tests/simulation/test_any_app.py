"""`dia simulate --app`: an exact app passes; one that keeps counts outside its tables fails."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest

from streams import JsonSchema, Protobuf, Record
from streams.dev.simulation.apps import any_app
from streams.dev.simulation.apps.any_app import check_app
from streams.dev.simulation.broken import field_times, owners
from streams.dev.simulation.broken.registry import VARIANTS
from streams.dev.simulation.history import NotSettled
from streams.dev.simulation.seeds import quiet
from streams.dev.simulation.world import Difference
from streams.engine.app.app import App
from tests.depth import cases
from tests.proto_types import Order as ProtoOrder

SEEDS_OF_A_GOOD_APP = cases(3)
CAUGHT_WITHIN = 8
BROKEN_CAUGHT_WITHIN = 60
TABLE_BYTES = 1 << 20
LONG = TABLE_BYTES // 8


class Order(msgspec.Struct):
    account: str
    amount: float
    ts: int


def _app(*, remembers: bool) -> App:
    """An app that counts orders and sends the counts; ``remembers``: in a dictionary, which is lost
    with its process."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    told = app.topic("told")
    table = app.Table("table", default=int)
    windows = app.Table("windows", default=int, on_window_close=lambda key, value: told.send_soon(
        key=key[0], value=["closed", *key, value]
    )).tumbling(10, expires=300)  # fmt: skip
    memory: dict[str, int] = {}

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            if order.amount > 95:
                raise ValueError("too much")
            memory[order.account] = memory.get(order.account, 0) + 1
            table[order.account] += 1
            windows[order.account] += 1
            number = memory[order.account] if remembers else table[order.account]
            await told.send(key=order.account, value=[order.account, number])
            await second.cast(order.account, key=order.account)

    seen = app.Table("seen", default=int)

    @app.agent(value_type=str)
    async def second(accounts):
        async for account in accounts:
            seen[account] += 1

    return app


def test_an_exact_app_is_exact_under_faults():
    """Two agents, a table each, closing windows, dead letters, and a topic between the agents."""
    quiet()
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_app(remembers=False), seed)


def test_an_app_with_state_outside_its_tables_is_caught():
    """State in a process's memory counts an event twice when it runs again."""
    quiet()

    def histories():
        for seed in range(CAUGHT_WITHIN):
            check_app(_app(remembers=True), seed)

    with pytest.raises(Difference, match="sent under faults"):
        histories()


class Told(Record):
    account: str
    amount: float
    note: str | None = None


def _registered_app() -> App:
    """Avro in, JSON Schema and Protobuf out, and an agent that catches its send's exceptions."""
    app = App("acme")
    orders = app.topic("orders", value_type=Told, key_field="account", codec="avro")
    told = app.topic("told", value_type=Told, key_field="account", codec=JsonSchema())
    proto = app.topic("proto", value_type=ProtoOrder, key_field="account", codec=Protobuf())
    table = app.Table("table", default=float)

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            table[order.account] += order.amount
            await proto.send(value=ProtoOrder(account=order.account, amount=order.amount))
            with suppress(Exception):  # as users write it
                await told.send(value=order)

    @app.agent(proto)
    async def read(stream):
        async for order in stream:
            await told.send(value=Told(account=order.account, amount=-order.amount))

    return app


@pytest.mark.timeout(300)
def test_an_outage_of_the_schema_registry_changes_nothing():
    """The registry is unavailable in a third of the steps: waiting records are processed later, and
    none is refused."""
    quiet()
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_registered_app(), seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", VARIANTS)
def test_an_engine_that_treats_an_outage_as_an_answer_is_caught(name):
    """Each of these variants loses, refuses or holds back good records."""
    quiet()

    def histories():
        for seed in range(BROKEN_CAUGHT_WITHIN):
            check_app(_registered_app(), seed)

    with VARIANTS[name](), pytest.raises((Difference, NotSettled, AssertionError)):
        histories()


class Dated(msgspec.Struct):
    account: str
    amount: float
    ts: int

    @property
    def at_s(self) -> float:
        """Large amounts get a date in the future."""
        return self.ts / 1000 + (60 if self.amount > 80 else 0)


def _app_by_field() -> App:
    """Windows by a field of the event; writes of future-dated events are refused."""
    app = App("acme")
    orders = app.topic("orders", value_type=Dated, key_field="account", time_field="ts")
    windows = app.Table("windows", default=int, keys="any").tumbling(10, expires=10)
    windows = windows.relative_to_field("at_s")

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            windows["k" * 40_000 if order.amount > 80 else order.account] += 1

    return app


def test_windows_by_a_field_are_exact_under_faults():
    """A refused event does not advance the event time, whichever process reads on."""
    quiet()
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_app_by_field(), seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", field_times.VARIANTS)
def test_an_engine_that_keeps_the_time_of_refused_events_is_caught(name):
    """Then the closing of windows depends on where a process died."""
    quiet()

    def histories():
        for seed in range(BROKEN_CAUGHT_WITHIN):
            check_app(_app_by_field(), seed)

    with field_times.VARIANTS[name](), pytest.raises((Difference, NotSettled)):
        histories()


class Note(msgspec.Struct):
    tenant_id: str
    text: str
    ts: int


def _app_of_full_tables() -> App:
    """Each close writes an eighth of what a table holds."""
    app = App("acme")
    notes = app.topic("notes", value_type=Note, key_field="tenant_id", time_field="ts")
    told = app.topic("told")
    past = app.Table("past", default=str)

    def on_close(key, value):
        name, (begin, _) = key
        past[name, int(begin)] = "x" * LONG
        told.send_soon(key=name, value=[name, begin, value])

    windows = app.Table("windows", default=int, on_window_close=on_close).tumbling(6, expires=4)

    @app.agent(notes)
    async def count(stream):
        async for note in stream:
            windows[note.tenant_id] += 1

    return app


@pytest.fixture
def small_tables(monkeypatch):
    small = replace(any_app._SETTINGS, max_table_bytes=TABLE_BYTES)
    monkeypatch.setattr(any_app, "_SETTINGS", small)


def test_closes_beyond_a_share_are_refused_alike_under_faults(small_tables):
    """Which ones follows from the log: a restart between an event and the close changes no owner."""
    quiet()
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_app_of_full_tables(), seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", owners.VARIANTS)
def test_an_engine_that_loses_owners_is_caught(name, small_tables):
    """A restart would give a tenant more room, or a close stop the partition."""
    quiet()

    def histories():
        for seed in range(BROKEN_CAUGHT_WITHIN):
            check_app(_app_of_full_tables(), seed)

    with owners.VARIANTS[name](), pytest.raises((Difference, NotSettled)):
        histories()
