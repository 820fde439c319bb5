"""A drill of a lost shard in memory: what it keeps, refuses and leaves alone."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import VirtualClock
from streams.core.command_errors import BackupFailed
from streams.operate.drill.copied_shard import CopiedShard
from streams.operate.drill.copy_comparison import DayDifference, LostFacts
from streams.operate.drill.record import keep, kept, newest_ms, next_shard
from streams.operate.drill.shard_drill import ShardDrill, range_of
from streams.operate.rebuild.rebuild import RebuildReport
from tests.backups import DAY_S, Backups

DAY_MS = DAY_S * 1000


class Compared:
    """A comparison with a result that a test chooses."""

    def __init__(self, days=(), facts=(), windows=5):
        self._days, self._facts, self.windows = days, facts, windows

    def days(self):
        return iter(self._days)

    def facts(self, tables):
        assert tables == ["ledger_local"]
        return iter(self._facts)


class Drilled:
    """A drill of shard 1, a minute after its backup."""

    def __init__(self, folder, compared, report=None):
        self.backups = Backups(folder)
        self.backups.rows(3)
        made = self.backups.create()
        self.backups.clock.jump_wall(60_000)
        self.server = self.backups.servers[1]
        self.seen = []
        self.report = report or RebuildReport()
        self.drill = ShardDrill(
            destination=self.backups.destination,
            manifest=made,
            part=made.parts[1],
            server=self.server,
            scratch="copy",
            rebuilt=self._rebuilt,
            compared=cast(Any, compared),
            clock=self.backups.clock,
            check=lambda: None,
            say=lambda text: None,
        )

    async def _rebuilt(self):
        self.seen.append(dict(self.server.scratch["copy"]["m1_local"]))
        return self.report

    def run(self):
        return asyncio.run(self.drill.run())


def test_a_good_drill_says_how_long_how_old_and_what_is_lost(tmp_path):
    """These are RTO, RPO and the loss that an operator has to answer for."""
    lost = (LostFacts("ledger_local", 5, 3), LostFacts("sales_local", 2, 2))
    drilled = Drilled(tmp_path, Compared(facts=lost))
    record = drilled.run()
    assert (record.name, record.rows, record.rpo_s) == ("shard-1", 4, 60.0)
    assert record.lost == {"ledger": 2}
    assert drilled.seen == [drilled.server.rows["m1_local"]]
    assert drilled.server.scratch == {}


@pytest.mark.parametrize(
    ("compared", "report", "why"),
    [
        (Compared([DayDifference("m1", "2025-11-29", (3, 9, 1.0), (2, 6, 1.0))]), None, "6 events"),
        (Compared(windows=0), None, "no window"),
        (Compared(), RebuildReport(refused=["too large"]), "1 rows refused"),
    ],
)
def test_a_bad_drill_keeps_no_record_and_no_copy(tmp_path, compared, report, why):
    """The last good one stays, and grows old until the alert."""
    drilled = Drilled(tmp_path, compared, report)
    with pytest.raises(BackupFailed, match=why):
        drilled.run()
    assert drilled.server.scratch == {}


def test_records_are_those_of_the_last_good_drills(tmp_path):
    """The schedule takes the shard whose drill is oldest."""
    backups = Backups(tmp_path)
    record = Drilled(tmp_path / "other", Compared()).run()
    assert next_shard([], range(2), 0) == 0
    keep(backups.destination, record)
    later = msgspec.structs.replace(record, shard=0, began_ms=record.began_ms + 1)
    keep(backups.destination, later)
    (tmp_path / "drills" / "shard-7.json").write_text("{")
    found = kept(backups.destination)
    assert found == [later, record]
    now_ms = later.began_ms
    assert (newest_ms(found, "shard", now_ms), newest_ms(found, "backup", now_ms)) == (now_ms, None)
    assert (next_shard(found, range(2), now_ms), next_shard(found, range(3), now_ms)) == (1, 2)
    assert next_shard(found, [1, 2], now_ms, "replica") == 1
    # One by a clock that was ahead would hold up its shard's next drill for as long.
    assert newest_ms(found, "shard", now_ms - 1) == record.began_ms
    assert next_shard(found, range(2), now_ms - 1) == 0


def test_the_range_is_of_whole_days_around_the_backup(tmp_path):
    """A cut hour or day is refused."""
    made = Backups(tmp_path).create()
    first_s, end_s = range_of(made, made.began_ms + 3 * DAY_MS)
    assert (first_s % DAY_S, end_s % DAY_S) == (0, 0)
    assert first_s <= made.began_ms / 1000 - DAY_S
    assert end_s > made.began_ms / 1000 + 4 * DAY_S


async def test_rows_of_other_shards_are_not_written():
    """A drill changes nothing that readers see."""
    live = MemoryShards(2, VirtualClock(0))
    copied = CopiedShard(live, 1, cast(Any, None))
    rows: Any = ["a row", "another", "a third"]
    await copied.insert(0, [rows])
    await copied.roll_up(0, "h1", 0)
    await copied.insert(1, [])
    assert (copied.foreign, live.inserted_rows) == (3, 0)
