"""`dia simulate --app`: an app that is exact passes, one that keeps its counts beside its tables does not."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest

from streams import JsonSchema, Protobuf, Record
from streams.dev.simulation.any_app import check_app
from streams.dev.simulation.broken.registry import VARIANTS
from streams.dev.simulation.difference import Difference
from streams.dev.simulation.history import NotSettled
from streams.dev.simulation.seeds import quiet
from streams.engine.app.app import App
from tests.proto_types import Order as ProtoOrder

SEEDS_OF_A_GOOD_APP = 3
CAUGHT_WITHIN = 8
BROKEN_CAUGHT_WITHIN = 60


class Order(msgspec.Struct):
    account: str
    amount: float
    ts: int


def _app(*, remembers: bool) -> App:
    """Orders are counted and told; ``remembers``: in a dictionary, which dies with its process."""
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
    """Two agents, a table each, windows that close, dead letters, and a topic between them."""
    quiet()
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_app(remembers=False), seed)


def test_an_app_that_keeps_state_beside_its_tables_is_caught():
    """What a process remembers by itself is counted twice when its events run again."""
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
    """Avro in, JSON Schema and Protobuf out, and an agent that catches what its send raises."""
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
            with suppress(Exception):  # as people write it
                await told.send(value=order)

    @app.agent(proto)
    async def read(stream):
        async for order in stream:
            await told.send(value=Told(account=order.account, amount=-order.amount))

    return app


@pytest.mark.timeout(300)
def test_an_outage_of_the_schema_registry_changes_nothing():
    """It is away in a third of the steps: what waited comes through once, and nothing is refused."""
    quiet()
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_registered_app(), seed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", VARIANTS)
def test_an_engine_that_takes_an_outage_for_an_answer_is_caught(name):
    """Each of these loses, refuses or holds back good records."""
    quiet()

    def histories():
        for seed in range(BROKEN_CAUGHT_WITHIN):
            check_app(_registered_app(), seed)

    with VARIANTS[name](), pytest.raises((Difference, NotSettled, AssertionError)):
        histories()
