"""`app.Table(...).sliding(...)` on the real engine in memory, against an oracle that stores every
event.
"""

from __future__ import annotations

import random

import pytest

from streams import App, Record
from streams.core.errors import UnsupportedByDia, UsageError
from streams.testing import NotAtRest

NOW_MS = 1_760_000_000_000
BEGIN_MS = NOW_MS - 3_600_000
BEFORE_S, AFTER_S = 10, 2


class Order(Record):
    account: str
    amount: int
    ts: int


def _app(before=BEFORE_S, after=AFTER_S, expires=600, **options):
    app = App("acme")
    orders = app.topic(
        "orders", value_type=Order, key_field="account", time_field="ts", partitions=1
    )
    told = app.topic("told", partitions=1)
    spent = app.Table("spent", default=int, **options).sliding(before, after, expires)

    @app.agent(orders)
    async def watch(stream):
        async for order in stream:
            spent[order.account] += order.amount
            if order.amount == 13:
                raise ValueError("bad luck")
            now = spent[order.account]
            told.send_soon(
                key=order.account,
                value=[order.account in spent, now.value(), now.delta(5), len(spent.keys())],
            )

    return app


def _order(second, amount=1, account="a"):
    return Order(account=account, amount=amount, ts=BEGIN_MS + int(second * 1000))


@pytest.fixture
def tested(app_tester):
    return lambda app: app_tester(app, now_ms=NOW_MS)


@pytest.mark.parametrize("seed", range(4))
def test_a_value_covers_the_events_within_the_span(tested, seed):
    """The value of a key includes late events at their time and excludes failed events, also after
    crashes.
    """
    rng = random.Random(seed)
    tester = tested(_app())
    held, wanted = [], []
    for number in range(40):
        order = _order(number + rng.uniform(-6, 3), rng.choice([1, 2, 5, 13]), rng.choice("ab"))
        tester.send("orders", order)
        if order.amount != 13:
            held.append(order)
            mine = [one for one in held if one.account == order.account]

            def around(ts_ms, some):
                low, high = ts_ms - 1000 * BEFORE_S, ts_ms + 1000 * AFTER_S
                return [one for one in some if low <= one.ts <= high]

            sums = [sum(one.amount for one in around(order.ts - back, mine)) for back in (0, 5000)]
            wanted.append([True, *sums, len({one.account for one in around(order.ts, held)})])
        if rng.random() < 0.2:
            rng.choice([tester.crash, tester.move, tester.rebalance])()
    assert [sent.value for sent in tester.outputs("told")] == wanted
    assert {letter.code for letter in tester.dead_letters} <= {"agent_failed"}


def test_operations_are_discarded_when_no_event_can_read_them(tested):
    """The table holds the span plus its expiry; a later event is a dead letter."""
    tester = tested(_app(expires=5))
    for second in (0, 1, 2, 15.5, 100):
        tester.send("orders", _order(second))
    assert sorted(tester.table("spent")) == [("a", BEGIN_MS + 100_000)]
    tester.send("orders", _order(80))
    assert [letter.code for letter in tester.dead_letters] == ["window_closed"]


def test_operators_apply_in_the_order_of_event_time(tested):
    """An assignment discards earlier operations and keeps later ones."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    table = app.Table("table", default=int).sliding(100, 0, 100)
    told = app.topic("told", partitions=1)

    @app.agent(orders)
    async def watch(stream):
        async for order in stream:
            if order.amount > 0:
                table[order.account] = order.amount
            elif order.amount == 0:
                del table[order.account]
            else:
                table[order.account] *= -order.amount
            told.send_soon(key="a", value=table[order.account].value())

    tester = tested(app)
    for second, amount in ((0, 7), (2, -3), (1, 5), (3, 0), (4, 2)):
        tester.send(orders, _order(second, amount))
    assert [sent.value for sent in tester.outputs(told)] == [7, 21, 5, 0, 2]


def test_an_unsuitable_operand_dead_letters_its_own_event(tested):
    """The events that read the value afterwards must not fail."""
    app = App("acme")
    orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts")
    table = app.Table("table", default=int).sliding(100, 0, 100)

    @app.agent(orders)
    async def watch(stream):
        async for order in stream:
            table[order.account] += "much" if order.amount == 13 else order.amount
            table[order.account].value()

    tester = tested(app)
    for second, amount in ((0, 1), (1, 13), (2, 1)):
        tester.send(orders, _order(second, amount))
    assert len(tester.dead_letters) == 1
    assert len(tester.table("table")) == 2


def test_other_spans_are_refused_over_a_stored_state(tested):
    """A longer span would lack the operations that were discarded."""
    tester = tested(_app())
    tester.send("orders", _order(0))
    tester._world.agents = tuple(_app(before=20).agents.values())
    with pytest.raises(NotAtRest, match=r"table_changed.*before_ms=10000.*before_ms=20000"):
        tester.crash()


@pytest.mark.parametrize("spans", [(0, 0, 0), (10, -1, 0), (10, 0, -1)])
def test_invalid_spans_are_refused(spans):
    """The declaration raises."""
    with pytest.raises(UsageError, match=r"before .* ms. must be more than 0"):
        _app(*spans)


def test_a_table_without_a_default_is_refused():
    """The message says which default to give."""
    with pytest.raises(UsageError, match="default=int"):
        App("acme").Table("table").sliding(10, 0, 10)


def test_sliding_windows_do_not_close():
    """A sliding window never closes, so there is no callback."""
    with pytest.raises(UnsupportedByDia, match="needs windows that end"):
        _app(on_window_close=print)
