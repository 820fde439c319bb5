"""The recount of an app's windows finds exactly the rows that the engine wrote, for any order of
records, refusals, repeats, late records and crashes."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from streams import App, Count, Distinct, Last, Min, Quantiles, Record, Sum, TopK, Variance
from streams.testing import SETTINGS, AppTester
from tests.depth import cases
from tests.recounted import recounted

NOW_MS = 1_760_000_000_000
START_MS = NOW_MS - 600_000
NEVER_IDLE = replace(SETTINGS, idle_close_s=1e9)


class Order(Record):
    account: str
    amount: float
    pieces: int | None
    id: str
    ts: int


FOLD = {
    "n": Count(), "total": Sum("amount"), "pieces": Sum("pieces"), "var": Variance("amount"),
    "low": Min("pieces"), "last": Last("amount"), "q": Quantiles("amount", at=(0.5, 0.99)),
    "ids": Distinct("id"), "top": TopK("id", k=1, capacity=2),
}  # fmt: skip
ORDERS = st.builds(
    Order,
    account=st.sampled_from(["a", "b", "c"]),
    amount=st.floats(-1e6, 1e6, width=32),
    pieces=st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
    id=st.sampled_from([f"o{number}" for number in range(9)]),
    ts=st.integers(START_MS, START_MS + 40_000),
)
ACTS = st.sampled_from(["settle", "settle", "crash", "move", "rebalance"])
STEPS = st.lists(st.tuples(st.lists(ORDERS | st.just(b"{"), max_size=8), ACTS), max_size=6)


def _app(ids: str, late: str) -> App:
    app = App("acme")
    orders = app.topic(
        "orders", value_type=Order, key_field="account", time_field="ts", partitions=2
    )
    options = {"of": orders, "by": ("account",), "fold": FOLD, "ids": ids, "late": late}
    app.windows("tumbling", size=5, grace=3, **options)
    app.windows("hopping", size=9, step=2, grace=1, **options)
    app.windows("sessions", gap=3, grace=2, **options)
    return app


@settings(max_examples=cases(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, ids=st.sampled_from(["", "id"]), late=st.sampled_from(["dead_letter", "drop"]))
def test_the_recount_equals_what_the_engine_wrote(steps, ids, late):
    """Bit for bit except sums of floats; including every dead letter and the ledger's counts."""
    app = _app(ids, late)
    with AppTester(app, settings=NEVER_IDLE, now_ms=NOW_MS) as tester:
        for some, act in steps:
            for order in some:
                key = b"a" if isinstance(order, bytes) else order.account.encode()
                value = (
                    order if isinstance(order, bytes) else app.topics["orders"].codec.encode(order)
                )
                tester._run(tester._append("orders", key, value, ()))
            getattr(tester, act)()
        found = recounted(tester, app.agents["orders-windows"])
        assert found.findings == []
        assert (found.doubtful, found.notes) == (0, [])
        closed = sum(row["closed"] for name in app.clickhouse_tables.keys() & {"tumbling", "hopping", "sessions"}
                     for row in tester.rows(name))  # fmt: skip
        assert found.judged >= closed
