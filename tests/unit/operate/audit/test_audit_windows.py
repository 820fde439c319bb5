"""Recount of an app's windows: no finding for right rows, exact findings for wrong ones, and notes
on what the log does not show.
"""

from __future__ import annotations

from dataclasses import replace

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
from streams.core.rows.row_json import row_json
from streams.core.rows.targets import Targets
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.window_audit import put_back
from streams.operate.audit.window_rows import IN_DLQ
from streams.testing import SETTINGS
from tests.recounted import recounted

NOW_MS = 1_760_000_000_000
HOUR_MS = NOW_MS // 3_600_000 * 3_600_000 - 3_600_000
"""Start of the first window: long enough ago that event times move the watermark."""
NEVER_IDLE = replace(SETTINGS, idle_close_s=1e9)


class Order(Record):
    account: str
    item: str = "pen"
    amount: float = 1.0
    pieces: int = 1
    paid: bool = False
    coupon: str | None = None
    id: str | None = None
    ts: int


EVERY = {
    "n": Count(), "total": Sum("amount"), "pieces": Sum("pieces"), "mean": Mean("amount"),
    "var": Variance("amount"), "sd2": Variance("pieces", sample=True), "low": Min("amount"),
    "high": Max("paid"), "first": First("item"), "last": Last("coupon"), "q": Quantiles("amount"),
    "items": Distinct("item"), "top": TopK("item", k=2, capacity=3), "coupons": Distinct("coupon"),
}  # fmt: skip


def _app(**options):
    app = App("acme")
    orders = app.topic(
        "orders", value_type=Order, key_field="account", time_field="ts", partitions=2
    )
    for name, windows in options.items():
        app.windows(name, of=orders, by=("account",), **{"fold": EVERY, "grace": 2, **windows})
    return app, orders, app.agents["orders-windows"]


def _order(second, account="a", **fields):
    return Order(account=account, ts=HOUR_MS + int(second * 1000), **fields)


@pytest.fixture
def tested(app_tester):
    return lambda app, settings=NEVER_IDLE: app_tester(app, settings=settings, now_ms=NOW_MS)


def _send_some(tester, orders, seconds, accounts=("a", "b", "c")):
    for number, second in enumerate(seconds):
        account = accounts[number % len(accounts)]
        coupon = "ten" if number % 3 else None
        order = _order(
            second, account, item=f"item {number % 5}", amount=number * 1.5 - 4, pieces=number,
            paid=number % 2 == 0, coupon=coupon, id=f"o{number % 11}",
        )  # fmt: skip
        tester.send(orders, order)


SHAPES = {
    "tumbling": {"size": 5},
    "hopping": {"size": 9, "step": 3},
    "sessions": {"gap": 4},
    "dropping": {"size": 7, "late": "drop"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_right_rows_give_no_finding(tested, shape):
    """All aggregators, closed and open windows, late records, and values that no window holds."""
    app, orders, agent = _app(**{shape: SHAPES[shape]})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 4, 3, 8, 2, 12, 11, 9, 18, 1, 17, 30, 12, 29, 31, 30.5])
    tester.send(orders, b"{")
    tester.send(orders, _order(31, item="x" * 40_000))
    tester.crash()
    found = recounted(tester, agent)
    assert found.findings == []
    assert found.judged > 3
    # Open sessions have no row.
    assert (found.doubtful, found.open) == (0, 3 if shape == "sessions" else 0)
    assert {letter.code for letter in tester.dead_letters} >= {"invalid_json", "value_refused"}


def test_repeats_count_once_and_conflicts_never(tested):
    """The recount decides by ids from the log alone, as the engine does."""
    app, orders, agent = _app(windows={"size": 60, "ids": "id"})
    tester = tested(app)
    for order in (_order(1, id="x"), _order(1, id="x"), _order(2, id="x"), _order(3), _order(3)):
        tester.send(orders, order)
    assert [letter.code for letter in tester.dead_letters] == ["idempotency_conflict"]
    assert recounted(tester, agent).findings == []


@pytest.mark.parametrize("column", ["n", "total", "pieces", "mean", "var", "sd2", "low", "high",
                                    "first", "last", "q_50", "items", "top", "top_n"])  # fmt: skip
def test_a_wrong_column_is_found_and_its_window_named(tested, column):
    """Each column in turn is changed a little."""
    app, orders, agent = _app(windows={"size": 5})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 2, 3, 4, 20, 21, 22], accounts=("a",))
    (row,) = [row for row in _stored(tester, "windows") if row["w"] == HOUR_MS]
    row[column] = _other(row[column])
    (finding,) = recounted(tester, agent).findings
    assert finding.check == "window: column " + column.removesuffix("_n").removesuffix("_50")
    assert finding.place.topic == "orders"
    assert finding.place.window.startswith("windows a 20")
    assert finding.place.offsets == "0-4"


def _stored(tester, table):
    """The stored rows, which the test changes."""
    servers = tester._world.shards._servers
    return [row for one in servers for copy in one.replicas for row in copy.tables[table].values()]


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "!"
    if isinstance(value, list):
        return [*map(_other, value)]
    return "ten!" if value is None else value + 1


def test_a_lost_row_and_an_unexplained_row_are_found(tested):
    """A row that a shard lost, and a row without records."""
    app, orders, agent = _app(windows={"size": 5})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 20], accounts=("a",))
    (row,) = [row for row in _stored(tester, "windows") if row["w"] == HOUR_MS]
    row["w"] -= 5000
    row["w_end"] -= 5000
    lost = [finding.meaning for finding in recounted(tester, agent).findings]
    assert lost == [
        "no record that counts lies in this window",
        "2 events lost: the window has no row",
    ]


def test_a_row_that_is_not_final_is_behind_until_its_window_is_closed(tested):
    """The row of an open window may be older than its state. A closed window has one final row."""
    app, orders, agent = _app(windows={"size": 5})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 20], accounts=("a",))
    closed, live = sorted(_stored(tester, "windows"), key=lambda row: row["w"])
    live["n"] = 0
    assert recounted(tester, agent)[:3] == ([], 1, 1)
    live["n"] = 2
    assert [f.check for f in recounted(tester, agent).findings] == ["window: column n"]
    live["n"], total = 1, live["total"]
    live["total"] += 1
    assert [f.check for f in recounted(tester, agent).findings] == ["window: column total"]
    live["total"], closed["closed"] = total, False
    assert [f.check for f in recounted(tester, agent).findings] == ["window: closed"]
    closed["closed"], live["n"], live["closed"] = True, 0, True
    assert [f.check for f in recounted(tester, agent).findings] == ["window: column n"]


def test_a_window_that_silence_may_have_closed_is_not_judged(tested):
    """A record after the silence is dropped if the window was closed, which the log does not show."""
    settings = replace(SETTINGS, idle_close_s=5.0)
    app, orders, agent = _app(windows={"size": 5, "late": "drop", "grace": 0})
    tester = tested(app, settings)
    now_s = (tester.now_ms - HOUR_MS) / 1000
    tester.send(orders, _order(now_s))
    tester.advance(60)
    tester.send(orders, _order(now_s + 1))
    found = recounted(tester, agent)
    assert (found.findings, found.doubtful) == ([], 1)


def test_windows_with_deleted_records_are_not_judged(tested):
    """Windows that may lack records are omitted, and the notes give the deleted offsets."""
    app, orders, agent = _app(windows={"size": 5})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 2, 20, 21], accounts=("a",))
    (tp,) = [tp for tp in tester._world.broker.partitions() if tp.topic == "orders"
             and tester._world.broker.log(tp).readable()]  # fmt: skip
    tester._run(_trim(tester, tp, 2))
    found = recounted(tester, agent)
    assert (found.findings, found.judged) == ([], 0)
    assert any("offsets 0 to 1 are gone" in note for note in found.notes)


async def _trim(tester, tp, offset):
    admin = await tester._world.broker.admin()
    await admin.delete_records({tp: offset})
    await admin.close()


def test_a_codec_that_reads_a_record_differently_each_time_is_named(tested):
    """Such a recount proves nothing, so it reports no wrong row."""
    count = iter(range(1000))

    def upcast(old):
        return _order(1, old.account, pieces=next(count))

    app = App("acme")
    orders = app.topic(
        "orders", versions={1: Account, 2: Order}, upcasters={1: upcast}, key_field="account",
        time_field="ts", partitions=1,
    )  # fmt: skip
    app.windows("windows", of=orders, by=("account",), size=5, fold={"pieces": Sum("pieces")})
    tester = tested(app)
    tester.send(orders, b'{"account": "a"}', key="a")
    assert recounted(tester, app.agents["orders-windows"]).unsteady == 1


class Account(Record):
    account: str


def test_windows_that_are_declared_later_exclude_earlier_records(tested):
    """Otherwise each release with a new window would look like a loss."""
    app, orders, agent = _app(first={"size": 5})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 2, 6], accounts=("a",))
    newer, orders, agent = _app(first={"size": 5}, second={"size": 5})
    _release(tester, newer)
    _send_some(tester, orders, [7, 8, 21], accounts=("a",))
    tester.crash()
    assert {(row["w"] - HOUR_MS) // 1000 for row in tester.rows("first")} == {0, 5, 20}
    assert {(row["w"] - HOUR_MS) // 1000 for row in tester.rows("second")} == {5, 20}
    found = recounted(tester, agent)
    assert (found.findings, found.judged, found.doubtful) == ([], 5, 0)
    [lost] = [row for row in _stored(tester, "second") if row["w"] == HOUR_MS + 5000]
    lost["n"] += 1
    assert [f.check for f in recounted(tester, agent).findings] == ["window: column n"]


def _release(tester, app):
    """Start another version of the app."""
    tester._run(tester._process.kill())
    tester.app, world = app, tester._world
    world.agents = tuple(app.agents.values())
    world.shards = world.shards.with_tables(app.clickhouse_tables)
    world.targets = Targets(app.clickhouse_tables, {})
    tester._process = tester._start()
    tester.settle()


@pytest.mark.parametrize("late", ["dead_letter", "drop"])
def test_a_range_is_judged_without_reading_what_lies_before_it(tested, late):
    """The watermark and ids at the start of the range are unknown, so rows that depend on them are
    not reported.
    """
    settings = replace(NEVER_IDLE, dedupe_ttl_s=60, future_max_s=10)
    app, orders, agent = _app(windows={"size": 10, "step": 5, "ids": "id", "late": late})
    tester = tested(app, settings)
    begin_s = tester.now_ms // 1000
    for number in range(70):
        behind_s = 40 if number % 10 == 0 else number % 5
        ts = tester.now_ms - behind_s * 1000
        tester.send(orders, Order(account="a", id=f"o{number - number % 4}", ts=ts))
        tester.advance(2)
    whole = recounted(tester, agent)
    part = recounted(tester, agent, begin_s + 100)
    assert (whole.findings, part.findings) == ([], [])
    assert 5 < part.judged + part.doubtful < whole.judged
    assert part.judged > part.doubtful
    row = max(_stored(tester, "windows"), key=lambda row: (row["closed"], row["w"]))
    row["total"] += 1
    assert [f.check for f in recounted(tester, agent, begin_s + 100).findings] == [
        "window: column total"
    ]


def test_a_row_that_clickhouse_refused_counts_as_shown(tested):
    """The row is in the DLQ and not lost. The newest version counts; a row of a table without a
    required column is omitted.
    """
    app, orders, agent = _app(windows={"size": 5})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 20], accounts=("a",))
    row = next(row for row in tester.rows("windows") if row["closed"])
    table = agent.windows[0].table
    refused = RefusedRows(frozenset({"windows"}))
    refused.add("one", row_json("windows", row))
    refused.add("older", row_json("windows", {**row, "ver": row["ver"] - 1, "n": 1}))
    refused.add("lacks", row_json("windows", {k: v for k, v in row.items() if k != "total"}))
    refused.add("other", row_json("sales", row))
    assert len([*refused.rows(table)]) == 3
    shown = {}
    put_back(agent.windows[0], refused, row["part"], shown)
    ((place, (found,)),) = shown.items()
    assert place == (("a",), HOUR_MS, 0)
    assert (found.values["n"], found.closed, found.shard) == (2, True, IN_DLQ)
    refused.forget({"one", "older", "lacks"})
    assert [*refused.rows(table)] == []


@pytest.mark.parametrize(("then", "since"), [(2, 30), (30, 2)])
def test_another_grace_than_today_is_named_and_no_row_is_called_wrong(tested, then, since):
    """Records were accepted or refused by the grace of that time, which only the DLQ shows."""
    app, orders, agent = _app(windows={"size": 5, "grace": then})
    tester = tested(app)
    _send_some(tester, orders, [0, 1, 12, 2, 40, 3, 41], accounts=("a",))
    refused = len(tester.dead_letters)
    newer, orders, agent = _app(windows={"size": 5, "grace": since})
    _release(tester, newer)
    _send_some(tester, orders, [42], accounts=("a",))
    found = recounted(tester, agent)
    assert found.findings == []
    longer = since > then
    assert (refused, found.late_by_other_grace) == ((2, 1) if longer else (1, 0))
    assert bool(found.doubtful) is not longer
