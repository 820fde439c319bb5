"""A refused row of `app.windows` comes back to the shard of its day, which holds its older versions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streams import App, Count, Record
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import VirtualClock
from streams.core.errors import ShardUnavailable
from streams.core.types import TopicPartition
from streams.engine.runtime.effects.refused_row import Owing, RefusedFact, fact_letter
from streams.operate.replay.run.sink_row import insert_fact, readable_row

DAY, DAY_MS = 20_000, 86_400_000
PLACE = TopicPartition("orders", 0), TopicPartition("orders.changelog", 0), 5, 9, "agent", "group"


class Order(Record):
    account: str
    ts: int


@pytest.fixture
def table():
    app = App("shop")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    return app.windows("sales", of=orders, by=("account",), size="10s", fold={"n": Count()}).table


def letter_of(table, account, day, first_days):
    row = {
        "account": account,
        "w": day * DAY_MS,
        "w_end": day * DAY_MS + 10_000,
        "part": 0,
        "closed": True,
        "n": 3,
        "epoch": 0,
        "ver": 7,
        "at": 1,
    }
    owing = Owing(*PLACE, first_days)
    letter = fact_letter(owing, RefusedFact(table.name, row, "refused"), 1, "row_refused")
    return letter.record.value


@pytest.mark.parametrize(("day", "number"), [(DAY - 1, 0), (DAY, 1), (DAY + 1, 1), (DAY + 2, 2)])
async def test_a_row_returns_to_where_its_partition_would_place_it(table, day, number):
    """On another shard it would count beside the row that it replaces."""
    shards = MemoryShards(2, VirtualClock(start_ms=DAY * DAY_MS), tables={table.name: table})
    view = shards.view()
    shards.add_shard(DAY - 1)  # its partition took it a day later
    shards.add_shard(DAY + 2)
    targets = SimpleNamespace(tables={table.name: table}, sinks={})
    for account in map(str, range(20)):
        value = letter_of(table, account, day, (DAY, DAY + 2))
        found = readable_row(targets, None, value)
        await insert_fact(view, found.target, found.row, found.first_days)
        wanted = shards.maps[number].shard_of_key(account)
        (stored,) = [row for row in shards.stored(table.name, wanted) if row["account"] == account]
        assert stored["n"] == 3
    assert len(shards.stored(table.name)) == 20


async def test_a_row_waits_for_a_server_that_says_its_maps(table):
    """By fewer maps it would go elsewhere."""
    shards = MemoryShards(2, VirtualClock(start_ms=DAY * DAY_MS), tables={table.name: table})
    targets = SimpleNamespace(tables={table.name: table}, sinks={})
    found = readable_row(targets, None, letter_of(table, "a", DAY, (DAY,)))
    with pytest.raises(ShardUnavailable, match="2 shard maps"):
        await insert_fact(shards, found.target, found.row, found.first_days)
    assert shards.stored(table.name) == []
