"""`dia tables windows`: an operator's order about held windows, and its refusals."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.core.types import TopicPartition
from streams.engine.runtime.offsets.close_order import read_close_orders
from streams.operate.topics.topics import wanted_topics

APP = """
from streams import App, Count, Record

class Visit(Record):
    tenant_id: str
    page: str
    ts: int

app = App("acme")
visits = app.topic("visits", value_type=Visit, key_field="tenant_id", time_field="ts", partitions=2)
clicks = app.topic("clicks", value_type=Visit, key_field="tenant_id", time_field="ts", partitions=2)

def tell(*closed):
    pass

counts = app.Table("counts", default=int, on_window_close=tell).tumbling(60, expires=0)
app.windows("pages", of=clicks, by=("tenant_id",), size=60, fold={"n": Count()}, on_window_close=tell)

@app.agent(visits)
async def count(stream):
    async for visit in stream:
        counts[visit.tenant_id] += 1
"""
DROP = ["tables", "windows", "drop", "--reason", "bad rates", "--actor", "eve"]


@pytest.fixture
def dia(monkeypatch, tmp_path):
    """Runs a command on an app with windows."""
    (tmp_path / "held_app.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DIA_HOME", str(tmp_path / "home"))
    from held_app import app  # type: ignore[import-not-found] # written above

    made = MemoryBroker(VirtualClock())

    async def arrange() -> None:
        await (await made.admin()).create_topics(wanted_topics(app.topology))

    asyncio.run(arrange())
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    def run(*arguments):
        return main(["--app", "held_app:app", *arguments])

    async def read(topic):
        tps = [TopicPartition(topic, number) for number in range(2)]
        return await read_close_orders(await made.admin(), app.group, tps)

    run.orders = lambda topic: asyncio.run(read(topic))
    return run


@pytest.mark.parametrize(("topic", "table"), [("visits", "counts"), ("clicks", "pages")])
def test_an_order_stands_in_each_partition(dia, capsys, topic, table):
    """Of an agent's table and of `app.windows`: the worker of any host finds it."""
    assert dia(*DROP, "--topic", topic, "--table", table, "--tenant", "t", "--yes") == 0
    said = capsys.readouterr()
    assert (
        f"held windows of table {table} of tenant t become dead letters in {topic}.dlq" in said.err
    )
    orders = dia.orders(topic)
    assert sorted(tp.partition for tp in orders) == [0, 1]
    assert {(one.tenant, one.actor, one.reason, one.untried) for one in orders.values()} == {
        ("t", "eve", "bad rates", False)
    }
    assert dia("tables", "windows", "list", "--json") == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["partition"], row["table"]) for row in listed] == [(0, table), (1, table)]


def test_one_partition_and_windows_without_a_call_can_be_named(dia):
    """The smallest order that ends a call that never returns."""
    chosen = ["--topic", "visits", "--table", "counts", "--partition", "1", "--untried", "--yes"]
    assert dia(*DROP, *chosen) == 0
    [(tp, order)] = dia.orders("visits").items()
    assert (tp.partition, order.untried, order.tenant) == (1, True, None)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--topic", "visits", "--table", "pages"], 2, "no on_window_close: those of counts do"),
        (["--topic", "nowhere", "--table", "counts"], 2, "no agent reads nowhere"),
        (
            ["--topic", "visits", "--table", "counts"],
            5,
            "held windows of table counts of every tenant",
        ),
    ],
)
def test_an_invalid_order_is_refused(dia, capsys, arguments, code, sentence):
    """An order about the wrong table would do nothing, without an error."""
    assert dia(*DROP, *arguments) == code
    assert sentence in capsys.readouterr().err
    assert dia.orders("visits") == {}
