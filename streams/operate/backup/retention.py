"""Which backup is due, what it builds on, and which backups are no longer needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.core.settings import Settings
from streams.operate.backup.catalog import KnownBackup, newest
from streams.operate.backup.manifest import BackupManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """In seconds, as the settings of these names."""

    interval_s: float
    full_s: float
    keep_s: float
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> Retention:
        return cls(
            interval_s=settings.backup_interval_s,
            full_s=settings.backup_full_s,
            keep_s=settings.backup_keep_s,
            timeout_s=settings.backup_timeout_s,
        )

    def due(self, backups: Sequence[KnownBackup], now_ms: int) -> bool:
        """A backup from the future, by a clock that was set back, counts as none."""
        return not any(
            one.whole and 0 <= now_ms - one.begun_ms < self.interval_s * 1000 for one in backups
        )

    def base(self, backups: Sequence[KnownBackup], now_ms: int) -> BackupManifest | None:
        """What an incremental backup builds on: the newest whole one that is not from the future. None: a full
        one is due."""
        whole = [one for one in backups if one.whole and one.begun_ms <= now_ms]
        recent = [one for one in whole if now_ms - one.begun_ms < self.full_s * 1000]
        if not any(one.manifest is not None and not one.manifest.base for one in recent):
            return None
        return whole[0].manifest

    def expired(self, backups: Sequence[KnownBackup], now_ms: int) -> list[KnownBackup]:
        """Newest first, so that a backup goes before the one that it builds on.

        Kept are whole ones younger than ``keep_s``, the newest whole one, all that these build on,
        what may still be made, and damaged ones: an operator judges those."""
        manifests = {one.name: one.manifest for one in backups if one.manifest is not None}
        whole = [one for one in backups if one.whole]
        wanted = [one.name for one in whole if now_ms - one.begun_ms < self.keep_s * 1000]
        last = newest(backups, now_ms)
        wanted += [last.name] if last is not None else []
        wanted += [one.name for one in backups if one.manifest is not None and not one.whole]
        kept: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name and name not in kept:
                kept.add(name)
                found = manifests.get(name)
                wanted += [found.base] if found is not None else []
        return [
            one
            for one in backups
            if one.name not in kept and (one.whole or self._abandoned(one, now_ms))
        ]

    def _abandoned(self, one: KnownBackup, now_ms: int) -> bool:
        """Whether the process that made it has ended by its deadline, and so have its servers."""
        return one.incomplete and now_ms - one.begun_ms >= 2 * self.timeout_s * 1000
