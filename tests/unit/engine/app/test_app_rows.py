"""Rows of a user's app (ClickHouse tables and sinks), through crashes on the real engine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.operational_tables import OPERATIONAL
from streams.engine.app.app import App


class Order(msgspec.Struct):
    account: str
    amount: float


def _unused(declared, settings):
    raise AssertionError("a tester opens no sink of the app")


@pytest.fixture
def app():
    made = App("acme")
    orders = made.topic("orders", value_type=Order, key_field="account")
    sales = made.clickhouse_table(
        "sales",
        columns={"account": "LowCardinality(String)", "amount": float, "off": "UInt64"},
        order_by=("account", "off"),
        shard_by=("account",),
        in_epoch=True,
    )
    lines = made.sink("lines", columns={"account": str, "amount": float}, open=_unused)

    @made.agent(orders)
    async def record(stream):
        async for event in stream.events():
            row = {"account": event.value.account, "amount": event.value.amount}
            stream.fact(sales, {**row, "off": event.message.offset})
            stream.fact(lines, row)

    return made


def test_rows_reach_a_table_and_a_sink_once_each(app, app_tester):
    """At every crash point."""
    tester = app_tester(app)
    for number, act in enumerate((tester.crash, tester.move, tester.rebalance, tester.crash)):
        tester.send("orders", Order("a", float(number)))
        act()
    wanted = [("a", float(number)) for number in range(4)]
    for target in ("sales", "lines"):
        found = sorted((row["account"], row["amount"]) for row in tester.rows(target))
        assert found == wanted, target
    assert {row["epoch"] for row in tester.rows("sales")} == {0}


def test_a_row_with_a_name_that_is_not_text_dead_letters_its_event(app_tester):
    """If only the commit validated the name, it would fail and stop the partition."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account")
    lines = app.sink("lines", columns={"account": str}, open=_unused)
    totals = app.Table("totals", default=float)

    @app.agent(orders)
    async def record(stream):
        async for order in stream:
            totals[order.account] += order.amount
            stream.fact(lines, {"account": order.account}, name=["a"] if order.amount < 0 else "a")

    tester = app_tester(app)
    tester.send("orders", Order("a", -1.0))
    tester.send("orders", Order("a", 2.0))
    assert [letter.code for letter in tester.dead_letters] == ["row_unfit"]
    assert (tester.table("totals"), len(tester.rows("lines"))) == ({"a": 2.0}, 1)


def test_a_row_that_does_not_fit_its_table_dead_letters_its_event(app_tester):
    """The event leaves no effect, and the next event is processed."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account")
    counts = app.clickhouse_table(
        "counts",
        columns={"account": str, "n": "UInt8"},
        order_by=("account",),
        shard_by=("account",),
    )

    @app.agent(orders)
    async def count(stream):
        async for order in stream:
            stream.fact(counts, {"account": order.account, "n": int(order.amount)})

    tester = app_tester(app)
    tester.send(orders, Order("a", 256.0))
    tester.send(orders, Order("b", 255.0))
    assert [letter.code for letter in tester.dead_letters] == ["row_unfit"]
    assert [(row["account"], row["n"]) for row in tester.rows(counts)] == [("b", 255)]


@pytest.mark.parametrize("name", ["sales", "lines", "ledger", "m1"])
def test_two_targets_of_one_name_are_refused(app, name):
    """Rows are routed by target name."""
    columns = {"account": str}
    with pytest.raises(UsageError, match=f"table or sink named {name} already"):
        app.clickhouse_table(name, columns=columns, order_by=("account",), shard_by=("account",))
    with pytest.raises(UsageError, match=f"table or sink named {name} already"):
        app.sink(name, columns=columns, open=_unused)


def test_commands_know_the_targets_that_an_app_declares(app):
    """Migrations, the audit and the replay of refused rows read these names from the topology."""
    assert isinstance(app.clickhouse_tables["sales"], ClickHouseTable)
    assert set(app.topology.targets.tables) == {*OPERATIONAL, "sales"}
    assert set(app.topology.targets.sinks) == {"lines"}


@pytest.mark.parametrize(
    ("name", "columns", "why"),
    [
        ("two words", {"a": str}, "cannot be called"),
        ("lines2", {"ver": int}, "is the commit's"),
        ("lines2", {"a": Path}, "no column type"),
    ],
)
def test_an_invalid_sink_is_refused_at_its_declaration(app, name, columns, why):
    """The declaration fails, not the first row."""
    with pytest.raises(UsageError, match=why):
        app.sink(name, columns=columns, open=_unused)
