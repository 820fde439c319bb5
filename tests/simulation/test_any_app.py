"""`dia simulate --app`: an app that is exact passes, one that keeps its counts beside its tables does not."""

from __future__ import annotations

import msgspec
import pytest

from streams.app import App
from streams.simulation.any_app import check_app
from streams.simulation.difference import Difference
from streams.simulation.seeds import quiet

SEEDS_OF_A_GOOD_APP = 3
CAUGHT_WITHIN = 8


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
