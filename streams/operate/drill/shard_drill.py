"""Loses a shard on a copy: restores its newest backup into a scratch database, rebuilds what the log
has beyond it, and compares the windows with those of the shard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.connect.sinks.backups.server import BackupServer
from streams.core.clock import Clock
from streams.core.command_errors import BackupFailed
from streams.operate.backup.comparison import differences, said
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.manifest import BackupManifest, ShardPart
from streams.operate.drill.copy_comparison import CopyComparison, DayDifference, LostFacts
from streams.operate.drill.record import DrillRecord
from streams.operate.rebuild.rebuild import RebuildReport

_DAY_S: Final = 86_400
_SHOWN: Final = 3


def range_of(manifest: BackupManifest, now_ms: int) -> tuple[int, int]:
    """The windows that are rebuilt, in whole days: from the day before the backup on. Late records
    of older windows that came after the backup stay lost, and the comparison names them."""
    first_s = (manifest.began_ms // 1000 // _DAY_S - 1) * _DAY_S
    return first_s, (now_ms // 1000 // _DAY_S + 2) * _DAY_S


@dataclass(slots=True)
class ShardDrill:
    """``server`` is that of the shard, ``scratch`` a database that the drill makes and drops.
    ``rebuilt`` rebuilds the windows of the copy."""

    destination: BackupDestination
    manifest: BackupManifest
    part: ShardPart
    server: BackupServer
    scratch: str
    rebuilt: Callable[[], Awaitable[RebuildReport]]
    compared: CopyComparison
    clock: Clock
    check: Callable[[], None]
    say: Callable[[str], None]
    differing: list[DayDifference] = field(default_factory=list)

    async def run(self) -> DrillRecord:
        """Raises `BackupFailed` where the copy is not as the shard, and errors of the rebuild."""
        self.server.make_scratch(self.scratch, [table.form for table in self.part.tables])
        try:
            return await self._on_the_copy()
        finally:
            self.server.drop_scratch(self.scratch)

    async def _on_the_copy(self) -> DrillRecord:
        began_ms, began_s = self.clock.now_ms(), self.clock.monotonic()
        self._restore()
        restored_s = self.clock.monotonic()
        self.say(f"restored in {restored_s - began_s:.0f} s; the log is folded again")
        report = await self.rebuilt()
        rebuilt_s = self.clock.monotonic()
        for note in report.notes:
            self.say(note)
        if report.refused or report.stale:
            raise BackupFailed(
                f"the rebuild of the copy of shard {self.part.shard} left {len(report.refused)} rows refused "
                f"and {len(report.stale)} hours and days that differ from their minutes."
            )
        self.check()
        self.differing = list(self.compared.days())
        self._refuse_differences()
        lost = [one for one in self.compared.facts(self._facts()) if one.rows]
        return DrillRecord(
            procedure="shard",
            shard=self.part.shard,
            backup=self.manifest.name,
            began_ms=began_ms,
            rows=sum(table.rows for table in self.part.tables),
            restore_s=restored_s - began_s,
            rebuild_s=rebuilt_s - restored_s,
            rpo_s=(began_ms - self.manifest.began_ms) / 1000,
            lost=_by_table(lost),
        )

    def _restore(self) -> None:
        source = self.destination.place(self.manifest.name, self.part.shard)
        for table in self.part.tables:
            self.check()
            self.server.restore(table.form.name, source, self.scratch)
            found = self.server.digests(table.form, self.scratch)
            wrong = list(differences(self.part.shard, table, found))
            if wrong:
                raise BackupFailed(
                    f"backup {self.manifest.name} differs from its manifest: {said(wrong)}. Make a full "
                    "one: `dia backup create --full`."
                )

    def _facts(self) -> list[str]:
        return [table.form.name for table in self.part.tables if not table.form.rolls_up]

    def _refuse_differences(self) -> None:
        if self.differing:
            shown = "; ".join(
                f"{one.table} {one.day}: {one.copy[1]} events in {one.copy[0]} windows for {one.shard[1]} in "
                f"{one.shard[0]}"
                for one in self.differing[:_SHOWN]
            )
            raise BackupFailed(
                f"a lost shard {self.part.shard} would not come back whole: {len(self.differing)} days differ: "
                f"{shown}. `dia audit --deep` says if it is the shard that is wrong."
            )
        if not self.compared.windows:
            raise BackupFailed(
                f"shard {self.part.shard} has no window that has been over for long enough to be compared. Try "
                "again later."
            )


def _by_table(lost: Sequence[LostFacts]) -> dict[str, int]:
    return {one.table.removesuffix("_local"): one.rows for one in lost}
