"""`app.windows(roll_ups=...)`: longer windows of the same records."""

from __future__ import annotations

import pytest

from streams import App, ClosedWindow, Count, Distinct, Record
from streams.core.errors import UsageError

NOW_MS = 1_760_000_000_000
HOUR_MS = NOW_MS // 3_600_000 * 3_600_000 - 3_600_000


class Order(Record):
    account: str
    item: str = "pen"
    ts: int


def _app():
    app = App("acme")
    return app, app.topic("orders", value_type=Order, key_field="account", time_field="ts")


def _order(second, item="pen"):
    return Order(account="a", item=item, ts=HOUR_MS + second * 1000)


def _rows(tester, name, *columns):
    return sorted(
        ((row["w"] - HOUR_MS) / 1000, row["closed"], *(row[column] for column in columns))
        for row in tester.rows(name)
    )


def test_roll_ups_are_longer_windows_of_the_same_records(app_tester):
    """Each roll-up is exact for all aggregators, also those that do not add up. The function for
    closed windows runs for the shortest windows only.
    """
    app, orders = _app()
    told = app.topic("told")

    def tell(window: ClosedWindow) -> None:
        told.send_soon(key="k", value=window.end_ms - window.start_ms)

    app.windows(
        "sold", of=orders, by=("account",), size="1m", roll_ups=("5m", 3600), grace=0,
        fold={"n": Count(), "items": Distinct("item")}, on_window_close=tell,
    )  # fmt: skip
    tester = app_tester(app, now_ms=NOW_MS)
    for minute, item in enumerate(["pen", "cup", "pen", "pen"]):
        tester.send(orders, _order(60 * minute, item=item))
        tester.crash()
    tester.send(orders, _order(600))
    assert _rows(tester, "sold", "n", "items")[:2] == [(0, True, 1, 1), (60, True, 1, 1)]
    assert _rows(tester, "sold_5m", "n", "items") == [(0, True, 4, 2), (600, False, 1, 1)]
    assert _rows(tester, "sold_1h", "n", "items") == [(0, False, 5, 2)]
    assert {sent.value for sent in tester.outputs(told)} == {60_000}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 60, "roll_ups": (90,)}, "multiples of their size, 60 s; 90 s is not"),
        ({"size": 60, "roll_ups": (60,)}, "60 s is not"),
        ({"size": 60, "roll_ups": ("1h", 3600)}, "3600 s is not"),
        ({"size": 60, "step": 30, "roll_ups": ("1h",)}, "only tumbling windows have roll_ups"),
        ({"gap": 60, "roll_ups": ("1h",)}, "only tumbling windows"),
        ({"size": 60, "roll_ups": ("1h", "2d")}, "must be 1 s to 1 d"),
    ],
)
def test_an_invalid_roll_up_is_refused_and_none_is_declared(options, said):
    """This holds also if the first of several roll-ups is valid."""
    app, orders = _app()
    with pytest.raises(UsageError, match=said):
        app.windows("sold", of=orders, by=("account",), fold={"n": Count()}, **options)
    assert "sold" not in app.clickhouse_tables
    assert not app.agents


def test_a_roll_up_with_a_name_in_use_is_refused_and_none_is_declared():
    """Two tables cannot share a name."""
    app, orders = _app()
    app.sink("sold_1h", columns={"id": str}, open=lambda *_: None)
    with pytest.raises(UsageError, match="sold_1h"):
        app.windows(
            "sold", of=orders, by=("account",), size=60, roll_ups=("1h",), fold={"n": Count()}
        )
    assert "sold" not in app.clickhouse_tables
    assert not app.agents
