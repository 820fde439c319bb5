"""Loses one replica of a shard on a copy: says what only that replica has, has a scratch database on its server
take all rows from another one, and compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streams.connect.sinks.backups.server import BackupServer
from streams.connect.sinks.backups.stored_table import NO_ROWS, RowDigest, StoredTable
from streams.core.clock import Clock
from streams.core.command_errors import BackupFailed
from streams.operate.backup.comparison import differences, recorded, said, unexpired
from streams.operate.drill.record import DrillRecord


@dataclass(slots=True, kw_only=True)
class ReplicaDrill:
    """``gone`` is the replica that counts as lost, ``others`` are the rest of its shard, at least one: the
    first of them is copied, and is ``behind_s`` behind. ``copy`` has the scratch database take the rows of a
    table. ``kept_days``: as in `BackedUp.tables`."""

    shard: int
    gone: BackupServer
    others: Sequence[BackupServer]
    behind_s: float
    copy: Callable[[StoredTable], None]
    kept_days: Mapping[str, int | None]
    scratch: str
    clock: Clock
    check: Callable[[], None]
    say: Callable[[str], None]

    def run(self) -> DrillRecord:
        """Raises `BackupFailed` where the copy is not as the replica that it was taken from."""
        forms = self.others[0].tables()
        began_ms = self.clock.now_ms()
        lost = {form.name.removesuffix("_local"): self._alone(form, began_ms) for form in forms}
        self.say("the rows of the replica are compared; another one is copied")
        began_s = self.clock.monotonic()
        self.gone.make_scratch(self.scratch, forms)
        try:
            rows = sum(self._copied(form) for form in forms)
            copied_s = self.clock.monotonic() - began_s
        finally:
            self.gone.drop_scratch(self.scratch)
        return DrillRecord(
            procedure="replica",
            shard=self.shard,
            backup="",
            began_ms=began_ms,
            rows=rows,
            restore_s=copied_s,
            rebuild_s=0.0,
            rpo_s=self.behind_s,
            lost={table: missing for table, missing in lost.items() if missing},
        )

    def _alone(self, form: StoredTable, now_ms: int) -> int:
        """Rows that no other replica has, or only an older version of. The others are read later, so a row that
        reaches them meanwhile is not among these."""
        self.check()
        here = self.gone.digests(form)
        there = [other.digests(form) for other in self.others]
        held = unexpired(recorded(form, here, here), self.kept_days.get(form.name), now_ms)
        return sum(
            min(_missing(one, other.get(bucket, NO_ROWS)) for other in there)
            for bucket, one in held.settled.items()
        )

    def _copied(self, form: StoredTable) -> int:
        """How many rows."""
        self.check()
        source = self.others[0]
        before = source.digests(form)
        self.copy(form)
        expected = recorded(form, before, source.digests(form))
        found = self.gone.digests(form, self.scratch)
        if wrong := list(differences(self.shard, expected, found)):
            raise BackupFailed(
                f"a copy of {source.url} differs from it: {said(wrong)}. Rows of a lost replica would not come "
                "back whole. If rows expired meanwhile, run the drill again."
            )
        return sum(one.rows for one in found.values())


def _missing(here: RowDigest, there: RowDigest) -> int:
    """Rows of a bucket; at least one where a version is older."""
    return max(here.rows - there.rows, int(int(here.versions) > int(there.versions)))
