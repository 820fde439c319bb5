"""`dia simulate` of apps with windows: rows under faults equal those without, and engines with a
broken step of closing are caught."""

from __future__ import annotations

import asyncio
import random
from unittest.mock import patch

import msgspec
import pytest

from streams.core.errors import UsageError
from streams.dev.simulation.apps import any_app
from streams.dev.simulation.apps.any_app import check_app
from streams.dev.simulation.broken import growth as broken_growth
from streams.dev.simulation.broken import moves as broken_moves
from streams.dev.simulation.seeds import quiet
from streams.dev.simulation.world import Difference
from streams.engine.aggregates.distinct import Distinct
from streams.engine.aggregates.ends import First, Last
from streams.engine.aggregates.moments import Mean, Variance
from streams.engine.aggregates.quantiles import Quantiles
from streams.engine.aggregates.sums import Count, Sum
from streams.engine.aggregates.top_k import TopK
from streams.engine.app.app import App
from streams.engine.runtime.partition.held_closes import HeldCloses
from streams.engine.runtime.partition.window_partition import WindowPartition
from streams.engine.windows.aggregated import aggregate_table
from streams.engine.windows.aggregated.aggregate_table import AggregateTable
from streams.engine.windows.held_windows import HeldWindows
from tests.depth import cases
from tests.recounted import SimulatedRun, recount_all

SEEDS_OF_A_GOOD_APP = cases(3)
CAUGHT_WITHIN = 30


class Order(msgspec.Struct):
    account: str
    item: str
    amount: float
    pieces: int
    ts: int


class Click(msgspec.Struct):
    account: str
    id: int
    ts: int


FAILING_CLOSES = 0.3
"""share of calls; a later call of the same window succeeds"""


def _app() -> App:
    app = App("acme")
    drawn = random.Random("closes")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    told = app.topic("told")

    def tell(window):
        told.send_soon(key=window.key["account"], value=[window.start_ms, window.values["n"]])
        if drawn.random() < FAILING_CLOSES:
            raise ConnectionError("as drawn")

    app.windows(
        "tumbling",
        of=orders,
        by=("account", "item"),
        size=5,
        grace=2,
        fold={
            "n": Count(), "total": Sum("amount"), "mean": Mean("amount"),
            "var": Variance("amount"), "pieces": Sum("pieces"), "first": First("amount"),
            "last": Last("item"), "q": Quantiles("amount"), "different": Distinct("amount"),
            "top": TopK("pieces", k=1, capacity=2),
        },
        on_window_close=tell,
    )  # fmt: skip
    clicks = app.topic("clicks", value_type=Click, key_field="account", time_field="ts")
    app.windows("clicked", of=clicks, by=("account",), size=5, ids="id", fold={"n": Count()})
    app.windows("hopping", of=orders, by=("account",), size=9, step=3, fold={"n": Count()})
    app.windows("sessions", of=orders, by=("account",), gap=3, grace=1, fold={"n": Count()})
    return app


@pytest.mark.timeout(300)
@pytest.mark.parametrize("at_once", [2, aggregate_table.CLOSED_ROWS_MAX])
def test_windows_are_exact_under_faults(at_once):
    """Each row to the last bit of its sums, the sends of closing windows, and the ledgers; also if
    closing takes several commits, if `on_window_close` fails, and if a process dies between them."""
    quiet()
    with patch.object(aggregate_table, "CLOSED_ROWS_MAX", at_once):
        for seed in range(SEEDS_OF_A_GOOD_APP):
            check_app(_app(), seed)


@pytest.mark.timeout(300)
def test_a_deep_audit_finds_no_difference_after_faults(monkeypatch):
    """Operators ignore an audit that reports differences because processes died."""
    quiet()
    judged = []

    def result(app, world, written):
        for name in ("orders-windows", "clicks-windows"):
            found = asyncio.run(recount_all(SimulatedRun(world), app.agents[name]))
            assert found.findings == []
            assert (found.doubtful, found.notes) == (0, [])
            judged.append(found.judged)
        return _result(app, world, written)

    monkeypatch.setattr(any_app, "_result", result)
    for seed in range(SEEDS_OF_A_GOOD_APP):
        check_app(_app(), seed)
    assert min(judged) > 10


_result = any_app._result


def _sent_on(on_window_close=None) -> App:
    """Windows without an event time, over the records that an agent sends."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    large = app.topic("large", value_type=Order, key_field="account")

    @app.agent(orders, sink=[large])
    async def pass_on(stream):
        async for order in stream:
            yield order

    clicks = app.topic("clicks", value_type=Click, key_field="account")
    fold = {"n": Count()}
    app.windows("clicked", of=clicks, by=("account",), size=5, fold=fold)
    app.windows(
        "sent", of=large, by=("account",), size=5, fold=fold, on_window_close=on_window_close
    )
    return app


def test_windows_by_append_time_of_an_agents_sends_are_not_compared():
    """Under faults, an agent sends later, so its records fall into other windows; that is no loss."""
    quiet()
    assert [check_app(_sent_on(), seed) for seed in range(3)] == [frozenset({"sent"})] * 3


def test_windowed_tables_by_append_time_of_an_agents_sends_are_not_compared():
    """They hold the same events under other windows."""
    quiet()
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    large = app.topic("large", value_type=Order, key_field="account")
    counts = app.Table("counts", default=int).tumbling(5)
    total = app.Table("total", default=int)

    @app.agent(orders, sink=[large])
    async def pass_on(stream):
        async for order in stream:
            yield order

    @app.agent(large)
    async def count(stream):
        async for order in stream:
            counts[order.account] += 1
            total[order.account] += 1

    assert [check_app(app, seed) for seed in range(3)] == [frozenset({"counts"})] * 3


def test_sends_of_such_windows_are_not_compared():
    """They may reach any part of the result."""
    quiet()
    with pytest.raises(UsageError, match="Give large a time_field"):
        check_app(_sent_on(on_window_close=lambda window: None), 0)


def _closed_again(self: WindowPartition) -> None:
    """The close of a window does not delete its state in the same commit: a restart closes it
    again."""
    _advance(self)
    for _, table in self._declared:
        table._gone.clear()


_advance = WindowPartition._advance
_delta = AggregateTable.delta


def _without_states(self: AggregateTable, seq: int):
    """A commit omits the windows that an earlier commit contains: later changes are lost with the
    process."""
    written = {*self._entries}
    for slot in [slot for slot in self._dirty if slot in written and seq % 2]:
        del self._dirty[slot]
    return _delta(self, seq)


def _late_by_the_batch(self: WindowPartition, batch):
    """Lateness is decided by the watermark after the batch."""
    before = _before_ms(self, batch)
    before[:] = max(before.max(initial=0), batch.event_ms.max(initial=0))
    return before


_before_ms = WindowPartition.before_ms


def _shown_from_memory(self: WindowPartition, seq, link):
    """The function of a closing window is called although rows are owed."""
    _owe(self, seq, link)
    for declared, table in self._declared:
        for window in table.take_early(1):
            if declared.on_window_close is not None:
                self._calls.close(declared, window)


_owe = WindowPartition._owe


def _held_in_memory(self: HeldWindows, items):
    """A restart does not know which calls failed."""
    del self, items


def _held_for_ever(self: HeldWindows, call):
    """A call that succeeds later stays in the state: a restart makes it again."""
    dirty = {**self._dirty}
    _remove(self, call)
    self._dirty = dirty


_remove = HeldWindows.remove


def _sent_by_a_failed_call(self: WindowPartition, record):
    """What a call sent before it failed joins the commit."""
    self._records.append(record)


def _given_up(self: HeldCloses, owner, window, *failure):
    """A window whose call failed is closed without it."""
    del self, owner, window, failure


GROWN = {**broken_growth.OF_APPS, **broken_moves.OF_APPS}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "broken",
    [
        patch.object(WindowPartition, "_advance", _closed_again),
        patch.object(AggregateTable, "delta", _without_states),
        patch.object(WindowPartition, "before_ms", _late_by_the_batch),
        patch.object(WindowPartition, "_owe", _shown_from_memory),
        patch.object(HeldWindows, "load", _held_in_memory),
        patch.object(HeldWindows, "remove", _held_for_ever),
        patch.object(WindowPartition, "emit", _sent_by_a_failed_call),
        patch.object(HeldCloses, "failed", _given_up),
        *(variant() for variant in GROWN.values()),
    ],
    ids=[
        "closed_again",
        "without_states",
        "late_by_the_batch",
        "shown_from_memory",
        "held_in_memory",
        "held_for_ever",
        "sent_by_a_failed_call",
        "given_up",
        *GROWN,
    ],
)
def test_a_broken_engine_is_caught(broken):
    """Planted bugs prove that the comparison can fail."""
    quiet()

    def histories():
        for seed in range(CAUGHT_WITHIN):
            check_app(_app(), seed)

    with broken, pytest.raises(Difference):
        histories()
