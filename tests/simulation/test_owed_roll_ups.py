"""The checker of owed roll-ups distinguishes a recomputed hour from one that was not."""

from __future__ import annotations

from streams.dev.simulation.checks.owed_roll_ups import OwedRollUps
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.effects.effects import RollUp, roll_up_keys

HOUR = RollUp(0, "h1", 1_759_996_800)
[KEY] = [
    OUTBOX.prefix + key
    for key in roll_up_keys({(HOUR.shard, HOUR.start_s // 60)})
    if key[1:2] == b"\0"
]


def _owe(seq: int) -> list[tuple[bytes, bytes | None]]:
    return [(KEY, seq.to_bytes(8, "big"))]


CROSSED_OUT: list[tuple[bytes, bytes | None]] = [(KEY, None)]


def test_a_recomputation_that_began_later_settles_a_debt():
    """The order of a working partition."""
    owed = OwedRollUps()
    assert owed.follow(0, _owe(3)) is None
    owed.recomputing(HOUR)()
    assert owed.follow(0, CROSSED_OUT) is None


def test_an_unsettled_debt_is_reported():
    """A failed recomputation does not settle it, nor does one of another hour."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    owed.recomputing(HOUR)
    owed.recomputing(RollUp(0, "h1", HOUR.start_s + 3600))()
    assert "commit 3" in (owed.follow(0, CROSSED_OUT) or "")


def test_a_running_recomputation_does_not_settle_a_newer_debt():
    """It read its minutes before the newer ones were inserted."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    done = owed.recomputing(HOUR)
    owed.follow(0, _owe(5))
    done()
    assert "commit 5" in (owed.follow(0, CROSSED_OUT) or "")


def test_a_slow_recomputation_reopens_no_debt():
    """Two processes recompute one hour: what the faster one settled stays settled."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    slow = owed.recomputing(HOUR)
    owed.follow(0, _owe(5))
    owed.recomputing(HOUR)()
    slow()
    assert owed.follow(0, CROSSED_OUT) is None


def test_partitions_have_separate_debts():
    """A commit of one partition requests nothing for another."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    owed.recomputing(HOUR)()
    owed.follow(1, _owe(2))
    assert owed.follow(0, CROSSED_OUT) is None
    assert owed.follow(1, CROSSED_OUT) is not None


def test_after_a_gap_in_the_log_no_debt_is_reported():
    """A log trimmed between two checks may have held the entries that explain the rest."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    owed.forget(0)
    assert owed.follow(0, CROSSED_OUT) is None
