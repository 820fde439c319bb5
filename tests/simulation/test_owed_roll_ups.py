"""The witness of what roll-ups are owed: it must know a debt that was met from one that was not."""

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


def test_a_debt_is_met_by_a_recomputation_that_began_later():
    """The order of a partition that works."""
    owed = OwedRollUps()
    assert owed.follow(0, _owe(3)) is None
    owed.recomputing(HOUR)()
    assert owed.follow(0, CROSSED_OUT) is None


def test_a_debt_that_nobody_met_is_seen():
    """A failed recomputation counts for nothing, and neither does another hour's."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    owed.recomputing(HOUR)
    owed.recomputing(RollUp(0, "h1", HOUR.start_s + 3600))()
    assert "commit 3" in (owed.follow(0, CROSSED_OUT) or "")


def test_a_recomputation_under_way_does_not_meet_a_newer_debt():
    """Its minutes were read before the newer ones were there."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    done = owed.recomputing(HOUR)
    owed.follow(0, _owe(5))
    done()
    assert "commit 5" in (owed.follow(0, CROSSED_OUT) or "")


def test_a_slow_recomputation_takes_nothing_back():
    """Two processes recompute one hour: what the quicker one met stays met."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    slow = owed.recomputing(HOUR)
    owed.follow(0, _owe(5))
    owed.recomputing(HOUR)()
    slow()
    assert owed.follow(0, CROSSED_OUT) is None


def test_partitions_owe_apart():
    """What one partition's commit asked for is not asked for by another's."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    owed.recomputing(HOUR)()
    owed.follow(1, _owe(2))
    assert owed.follow(0, CROSSED_OUT) is None
    assert owed.follow(1, CROSSED_OUT) is not None


def test_after_a_gap_nothing_is_held_against_a_partition():
    """A log that was trimmed between two looks may have held what explains the rest."""
    owed = OwedRollUps()
    owed.follow(0, _owe(3))
    owed.forget(0)
    assert owed.follow(0, CROSSED_OUT) is None
