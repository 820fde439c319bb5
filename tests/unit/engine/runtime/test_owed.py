"""The rows of one commit all have its version, so a commit holds one row for each key."""

from __future__ import annotations

from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.row_sink import DeclaredSink
from streams.core.rows.targets import Targets
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.owed import Owed
from streams.engine.state.outbox import Outbox

BALANCES = ClickHouseTable(
    name="balances",
    columns={"account": "String", "day": "UInt32", "amount": "Float64"},
    order_by=("account", "day"),
    shard_by=("account",),
)
LINES = DeclaredSink(
    name="lines",
    columns={"account": "String", "amount": "Float64"},
    open=lambda declared, settings: None,
)


def _owed(target, rows, names=()):
    """The rows of the next commit, as they are in the outbox."""
    targets = Targets({"balances": BALANCES}, {"lines": LINES})
    owed, outbox = Owed(), Outbox()
    for at, row in enumerate(rows):
        found, fitted = targets.fitted(target, row)
        owed.fact(found, fitted, names[at] if names else None)
    owed.settle(outbox, epoch=0, seq=7, now_ms=0)
    outbox.delta(7)
    return [row for effect in outbox.take_fresh() for row in effects.rows_in(*effect[::2])]


def _balance(account, amount, day=1):
    return {"account": account, "day": day, "amount": amount}


def test_a_commit_holds_the_newest_row_of_a_key():
    """Both rows would have the same version: a replay of the older one, after a refusal, would
    replace the newer one.
    """
    rows = [_balance("a", 1.0), _balance("b", 5.0), _balance("a", 2.0), _balance("a", 3.0, day=2)]
    found = _owed("balances", rows)
    assert [(row["account"], row["day"], row["amount"]) for row in found] == [
        ("a", 1, 2.0),
        ("b", 1, 5.0),
        ("a", 2, 3.0),
    ]


def test_the_newest_row_of_a_key_may_have_a_name():
    """A row with a name and one without may have the same key."""
    found = _owed("balances", [_balance("a", 1.0), _balance("a", 2.0)], names=["a", None])
    assert [row["amount"] for row in found] == [2.0]


def test_a_commit_holds_all_equal_rows_of_a_sink():
    """A sink has no keys."""
    found = _owed("lines", [{"account": "a", "amount": 1.0}] * 2)
    assert len(found) == 2


def test_windows_of_a_day_are_owed_until_their_shard_has_them():
    """A move of the day waits for them: their rows would have the key that its map gives."""
    table = ClickHouseTable(
        name="sold",
        columns={"account": str, "w": "DateTime64(3, 'UTC')"},
        order_by=("account", "w"),
        shard_by=("account",),
        day_of="w",
    )
    tables, owed, outbox = {"sold": table, "balances": BALANCES}, Owed(), Outbox()

    def owes(day):
        everywhere = owed.owes(tables, outbox, day, day)
        assert everywhere or not effects.owes_days(tables, outbox.owed(), day, day)
        return everywhere

    owed.fact(table, {"account": "a", "w": 3 * 86_400_000}, None)
    owed.fact(BALANCES, _balance("a", 1.0, day=4 * 86_400_000), None)
    assert (owes(3), owes(4)) == (True, False)
    owed.settle(outbox, epoch=0, seq=7, now_ms=0)
    assert (owes(2), owes(3)) == (False, True)
    outbox.delta(7)
    assert owes(3)
    for effect in outbox.take_fresh():
        outbox.acknowledged(effect.key, effect.seq)
    outbox.delta(8)
    assert not owes(3)
