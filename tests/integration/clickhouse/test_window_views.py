"""`dia query series` and Explore on windows of an app of its own: on two real shards, against what its events
say."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from streams import (
    App,
    Count,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Quantiles,
    Record,
    Sum,
    TopK,
    Variance,
)
from streams.connect.broker.partitioner import partition_of
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.connect.sinks.window_views.read import read
from streams.connect.sinks.window_views.view import Question, WindowPoints, WindowView
from streams.core.clock import SystemClock
from streams.core.rows.clickhouse_table import MOVED
from streams.core.settings import Settings
from streams.dev.local.stack import StackStatus
from streams.engine.app.window_views import window_views
from streams.engine.runtime.effects.effects import rows_by_shard
from streams.testing import AppTester

pytestmark = pytest.mark.stack

DATABASE = "any_windows"
SECONDS = 180
# The shops "a" and "d" are in different ones of two partitions.
BEGIN_S = 1_760_000_000 - 2 * SECONDS
"""before the clock of `AppTester` begins: events from the future are refused"""
ERROR = 0.01


class Sale(Record):
    shop: str
    lane: int
    item: str
    amount: float
    ts: int


def shop() -> App:
    app = App("shop")
    sales = app.topic("sales", value_type=Sale, key_field="shop", time_field="ts", partitions=2)
    fold = {
        "n": Count(),
        "from": Sum("amount"),
        "lo": Min("amount"),
        "hi": Max("amount"),
        "mean": Mean("amount"),
        "var": Variance("amount"),
        "q": Quantiles("amount", at=(0.5, 0.99), error=ERROR),
        "items": Distinct("item"),
        "begun": First("item"),
        "ended": Last("item"),
        "top": TopK("item", k=1),
    }
    app.windows("fixed", of=sales, by=("shop", "lane"), size="10s", roll_ups=("1m",), fold=fold)
    app.windows("hopping", of=sales, by=("shop", "lane"), size="10s", step="5s", fold=fold)
    app.windows("lanes", of=sales, by=("lane",), size="10s", keys="any", fold=fold)
    return app


class Stored(NamedTuple):
    settings: Settings
    views: Any
    sales: list[Sale]


@pytest.fixture(scope="module")
def stored(stack: StackStatus) -> Iterator[Stored]:
    """The rows that the engine makes of random sales, on the shards of their keys."""
    app = shop()
    settings = Settings(
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=str(stack.clickhouse_password_file),
        clickhouse_database=DATABASE,
    )
    rng = random.Random(5)
    with AppTester(app) as tester:
        sales = [
            Sale(
                shop=rng.choice("ad"), lane=rng.randrange(2), item=rng.choice("xyz"),
                amount=rng.randrange(-400, 4000) / 4, ts=(BEGIN_S + at) * 1000 + rng.randrange(900),
            )
            for at in range(SECONDS) for _ in range(rng.randrange(4))
        ]  # fmt: skip
        sales.sort(key=lambda one: one.ts)
        for sale in sales:
            tester.send(app.topics["sales"], sale)
        rows = {name: tester.rows(name) for name in ("fixed", "fixed_1m", "hopping", "lanes")}
    for server in schema.servers(settings, app.clickhouse_tables):
        server.migrator.apply()
        server.replica.close()
    _insert(settings, app, rows)
    yield Stored(settings, window_views(app, settings), sales)
    for server in schema.servers(settings, app.clickhouse_tables):
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


def _insert(settings: Settings, app: App, rows: dict[str, list[Any]]) -> None:
    async def insert() -> None:
        shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
        for name, found in rows.items():
            table = app.clickhouse_tables[name]
            columns = {
                column: [row[column] for row in found]
                for column in table.types
                if column not in ("at", MOVED)
            }
            for chunk in rows_by_shard(table, columns, shards.shard_of_key):
                await shards.insert(chunk.shard, [chunk])
        await shards.close()

    asyncio.run(insert())


def ask(stored: Stored, name: str, step_s: int, **key: Any) -> WindowPoints:
    view: WindowView = stored.views[name]
    start_s, stop_s = BEGIN_S - 60, BEGIN_S + SECONDS + 60
    grain = view.grain_for(start_s, stop_s, step_s * 1000, BEGIN_S)
    given = {one: str(value) for one, value in key.items()}
    question = Question(view.key_of(given), grain, start_s, stop_s, step_s * 1000)
    figures = view.figures_in(grain, step_s * 1000)
    return read(stored.settings, view.reading(question, figures))


def expected(sales: Sequence[Sale], step_s: int, size_s: int, **key: Any) -> dict[int, list[Sale]]:
    """The sales of one key in each window that begins every ``step_s``, in log order."""
    found: dict[int, list[Sale]] = {}
    for one in sales:
        if any(getattr(one, name) != value for name, value in key.items()):
            continue
        last = one.ts // 1000 // step_s * step_s
        for start in range(last, last - size_s, -step_s):
            found.setdefault(start, []).append(one)
    return dict(sorted(found.items()))


def _judge(points: WindowPoints, wanted: dict[int, list[Sale]], names: Sequence[str]) -> None:
    assert list(points.columns["t"]) == [*wanted]
    for at, some in enumerate(wanted.values()):
        row = {name: points.columns[name][at] for name in names}
        amounts = sorted(one.amount for one in some)
        truth = {
            "n": len(some), "fold.from": sum(amounts), "lo": amounts[0], "hi": amounts[-1],
            "mean": pytest.approx(statistics.fmean(amounts)), "items": len({one.item for one in some}),
            "var": pytest.approx(statistics.pvariance(amounts), abs=1e-6),
            "begun": some[0].item, "ended": some[-1].item,
            "q_50": _within(amounts, 0.5), "q_99": _within(amounts, 0.99),
        }  # fmt: skip
        for name in names:
            if name in truth:
                assert row[name] == truth[name], (name, points.columns["t"][at])
        if "top" in names:
            counts = [one.item for one in some]
            assert row["top_n"] == [max(map(counts.count, "xyz"))]
            assert counts.count(row["top"][0]) == row["top_n"][0]


def _within(amounts: list[float], rank: float) -> Any:
    return pytest.approx(amounts[int(rank * (len(amounts) - 1))], rel=ERROR, abs=1e-9)


ALL = (
    *("n", "fold.from", "lo", "hi", "mean", "var", "q_50", "q_99"),
    *("items", "begun", "ended", "top", "top_n"),
)


@pytest.mark.parametrize(
    ("name", "step_s", "size_s"), [("fixed", 10, 10), ("fixed", 60, 60), ("hopping", 5, 10)]
)
def test_each_window_has_the_figures_of_its_events(
    stored: Stored, name: str, step_s: int, size_s: int
) -> None:
    """Ten-second windows, their roll-up, and windows that overlap: every aggregator, every key."""
    for shop_ in "ad":
        for lane in range(2):
            key = {"shop": shop_, "lane": lane}
            wanted = expected(stored.sales, step_s, size_s, **key)
            _judge(ask(stored, name, step_s, **key), wanted, ALL)


def test_a_step_of_several_windows_has_the_figures_of_all_its_events(stored: Stored) -> None:
    """Half minutes have no table: what merges is exact, and the rest is left out."""
    points = ask(stored, "fixed", 30, shop="a", lane=1)
    names = ("n", "fold.from", "lo", "hi", "begun", "ended")
    assert [*points.columns] == ["t", "closed", *names]
    _judge(points, expected(stored.sales, 30, 30, shop="a", lane=1), names)


def test_a_window_in_two_partitions_is_one_point(stored: Stored) -> None:
    """With keys="any" each partition has a row: sums are of both, and no percentile is that of one."""
    points = ask(stored, "lanes", 10, lane=1)
    wanted = expected(stored.sales, 10, 10, lane=1)
    _judge(points, wanted, ("n", "fold.from", "lo", "hi"))
    both = [len({partition_of(one.shop.encode(), 2) for one in some}) for some in wanted.values()]
    assert max(both) == 2
    for figure in ("q_99", "items", "begun", "top"):
        assert [value is None for value in points.columns[figure]] == [n == 2 for n in both]


def test_names_are_those_of_the_stored_keys(stored: Stored) -> None:
    """What the page offers can be asked."""
    view = stored.views["fixed"]
    found: set[Any] = set()
    for server in schema.servers(stored.settings, {}):
        found |= {row[0] for row in server.replica.query(*view.names(1, {0: ["a"]}, 100))[1]}
        server.replica.close()
    assert found == {0, 1}
