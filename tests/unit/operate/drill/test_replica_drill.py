"""A drill of a lost replica in memory: what it compares, reports and leaves alone."""

from __future__ import annotations

import pytest

from streams.connect.sinks.backups.memory import MemoryBackups
from streams.core.clock import VirtualClock
from streams.core.command_errors import BackupFailed
from streams.operate.drill.replica_drill import ReplicaDrill
from tests.backups import LEDGER, M1, TABLES

DAY = 20251129
NOW_MS = 1_764_460_800_000


class Shard:
    """Three replicas of one shard, each with the same rows; the first one counts as lost."""

    def __init__(self):
        self.gone, self.first, self.second = (
            MemoryBackups(TABLES, url=f"replica-{number}") for number in range(3)
        )
        self.arriving = []
        """rows that reach the replica that is copied, one in each copy of a table"""
        self.skipped = None
        for number in range(4):
            self.put(M1, f"{number}", self.gone, self.first, self.second)
        self.put(LEDGER, "g", self.gone, self.first, self.second)

    def put(self, form, key, *replicas, ver=1, day=DAY):
        row = {"day": day, "n": 3} if form is M1 else {"grp": key}
        for replica in replicas:
            replica.put(form.name, key, ver=ver, **row)

    def copy(self, form):
        if self.arriving:
            self.put(M1, self.arriving.pop(), self.first)
        for key, row in self.first.rows[form.name].items():
            if key != self.skipped:
                self.gone.scratch["copy"][form.name][key] = row

    def drill(self, kept_days=None):
        return ReplicaDrill(
            shard=2,
            gone=self.gone,
            others=[self.first, self.second],
            behind_s=1.5,
            copy=self.copy,
            kept_days={"m1_local": kept_days},
            scratch="copy",
            clock=VirtualClock(NOW_MS),
            check=lambda: None,
            say=lambda text: None,
        ).run()


def test_a_lost_replica_comes_back_from_another_one():
    """The record says how long, how far the others were behind, and that nothing was lost."""
    shard = Shard()
    record = shard.drill()
    assert (record.name, record.rows, record.rpo_s, record.lost) == ("replica-2", 5, 1.5, {})
    assert shard.gone.scratch == {}


@pytest.mark.parametrize(
    ("form", "key", "ver", "holders", "lost"),
    [
        (M1, "new", 1, (), {"m1": 1}),
        (M1, "0", 2, (), {"m1": 1}),
        (LEDGER, "new", 1, (), {"ledger": 1}),
        (M1, "new", 1, ("second",), {}),
    ],
    ids=["a row", "a newer version", "a fact", "a row that another one has"],
)
def test_rows_that_only_the_lost_replica_has_are_named(form, key, ver, holders, lost):
    """An insert without a quorum leaves such rows; the engine has forgotten them."""
    shard = Shard()
    shard.put(form, key, shard.gone, *(getattr(shard, one) for one in holders), ver=ver)
    assert shard.drill().lost == lost


def test_rows_that_may_have_expired_are_not_lost():
    """Replicas delete expired rows at different moments."""
    shard = Shard()
    old = 20251001
    shard.put(M1, "old", shard.gone, day=old)
    assert shard.drill(kept_days=30).lost == {}
    assert shard.drill().lost == {"m1": 1}


def test_rows_that_arrive_during_the_copy_are_no_difference():
    """The shard goes on; a copy has what was there at some moment between."""
    shard = Shard()
    shard.arriving = ["late"]
    assert shard.drill().lost == {}


def test_a_copy_that_lacks_a_row_is_no_good_drill():
    """The last good one stays, and grows old until the alert; no copy is left."""
    shard = Shard()
    shard.skipped = "1"
    with pytest.raises(BackupFailed, match=r"differs from it: m1_local .*2025-11-29"):
        shard.drill()
    assert shard.gone.scratch == {}
