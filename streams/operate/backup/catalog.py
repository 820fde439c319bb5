"""The backups of a destination, and which of them are whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from streams.core.command_errors import NotFoundThere
from streams.core.errors import RefusedBySafety
from streams.operate.backup import manifest as manifests
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.manifest import BackupManifest, ManifestDamaged

_NAME: Final = re.compile(r"(\d{8}T\d{6}Z)-(full|incremental)")
_MOMENT: Final = "%Y%m%dT%H%M%SZ"


class BackupState(Enum):
    WHOLE = "whole"
    INCOMPLETE = "incomplete"
    """without a manifest: it is being made, or its making ended early"""
    DAMAGED = "damaged"
    """its manifest, a part, or a backup that it builds on, is missing or not as written"""


@dataclass(frozen=True, slots=True)
class KnownBackup:
    name: str
    state: BackupState
    manifest: BackupManifest | None = None
    """of a whole one; of a damaged one, if it can be read"""
    why: str = ""

    @property
    def whole(self) -> bool:
        return self.state is BackupState.WHOLE

    @property
    def incomplete(self) -> bool:
        return self.state is BackupState.INCOMPLETE

    @property
    def begun_ms(self) -> int:
        """From its name, which other folders cannot have."""
        return begun_ms(self.name)


def name_of(begun_ms: int, *, full: bool) -> str:
    moment = datetime.fromtimestamp(begun_ms / 1000, UTC).strftime(_MOMENT)
    return f"{moment}-{'full' if full else 'incremental'}"


def begun_ms(name: str) -> int:
    """Raises `ValueError` for the name of something else."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(name)
    moment = datetime.strptime(found[1], _MOMENT).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def catalog(destination: BackupDestination) -> list[KnownBackup]:
    """Newest first. Raises `DependencyUnreachable`."""
    destination.check()
    published = [name for name in destination.manifests() if _NAME.fullmatch(name)]
    read = {name: _read(destination, name) for name in published}
    found = [_judged(name, read) for name in published]
    found += [
        KnownBackup(name, BackupState.INCOMPLETE, why="it has no manifest")
        for name in destination.started()
        if _NAME.fullmatch(name) and name not in read
    ]
    return sorted(found, key=lambda one: one.name, reverse=True)


def newest(backups: Sequence[KnownBackup], now_ms: int) -> KnownBackup | None:
    """The newest whole one of ``backups``, which are newest first. One from the future, by a clock that was set
    back, comes behind all others: later ones have earlier names."""
    whole = [one for one in backups if one.whole]
    return next((one for one in whole if one.begun_ms <= now_ms), whole[0] if whole else None)


def chain(backups: Sequence[KnownBackup], name: str, now_ms: int) -> list[BackupManifest]:
    """The manifest of a whole backup, and those that it builds on, newest first. ``name`` "": of
    the `newest`. Raises `NotFoundThere`, and `RefusedBySafety` for one that is not whole."""
    by_name = {one.name: one for one in backups}
    if not name:
        found_there = newest(backups, now_ms)
        if found_there is None:
            raise NotFoundThere("there is no whole backup. `dia backup create` makes one.")
        name = found_there.name
    if name not in by_name:
        raise NotFoundThere(f"there is no backup {name}. `dia backup list` shows them.")
    found = []
    while name:
        one = by_name[name]
        if not one.whole or one.manifest is None:
            raise RefusedBySafety(
                f"backup {name} is {one.state.value}: {one.why}. Take another one of `dia backup list`."
            )
        found.append(one.manifest)
        name = one.manifest.base
    return found


def _read(destination: BackupDestination, name: str) -> BackupManifest | str:
    """The manifest, or why there is none to use."""
    try:
        found = manifests.decode(destination.manifest(name))
    except (ManifestDamaged, FileNotFoundError) as error:
        return f"its manifest is damaged: {error}"
    if found.name != name:
        return f"its manifest is that of {found.name}"
    for part in found.parts:
        index = destination.index(name, part.shard)
        if index is None or manifests.sha256(index) != part.index_sha256:
            what = "is missing" if index is None else "is not as it was written"
            return f"the part of shard {part.shard} {what}"
    return found


def _judged(name: str, read: Mapping[str, BackupManifest | str]) -> KnownBackup:
    mine = read[name]
    if isinstance(mine, str):
        return KnownBackup(name, BackupState.DAMAGED, why=mine)
    base = mine.base
    while base:
        found = read.get(base, f"backup {base} is missing")
        if isinstance(found, str):
            why = f"it builds on {base}: {found}"
            return KnownBackup(name, BackupState.DAMAGED, mine, why)
        base = found.base
    return KnownBackup(name, BackupState.WHOLE, mine)
