"""One run of an edge on one folder; its name separates its batches from those of other runs.

Every start draws a name. A batch carries the name of the run that accepted it, and a number that
rises within that name. A spool may hold batches of another name, because its folder outlived a run
or is a copy; they are shipped under that name. So live edges on copies of one folder share names
only for batches that both have."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import IO

import msgspec

from streams.core.command_errors import SpoolCorrupt
from streams.core.errors import SlotInUse
from streams.core.process.atomic_file import write_atomically
from streams.core.process.file_lock import hold
from streams.core.process.file_modes import private_folder

SPOOL_SUFFIX = ".spool"
"""of the segment files below the folder"""


class _Folder(msgspec.Struct, frozen=True):
    """The name of the last run that connected under its own name ("" before the first), and the
    checksum key of the spool's frames."""

    name: str
    seed: int


class EdgeRun:
    """A folder that this process locks until `close`.

    ``before``: the last run on this folder that may have left a transaction open, "" for none;
    ``seed``: the checksum key of its frames. Raises `SlotInUse` when another process holds the
    folder and `SpoolCorrupt` when its file is unreadable."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._path = folder / "edge.json"
        self._lock = _hold(folder)
        try:
            known = _read(self._path)
        except SpoolCorrupt:
            self.close()
            raise
        self.name = secrets.token_hex(8)
        self.before = known.name if known else ""
        self.seed = known.seed if known else secrets.randbits(63)
        self._next = 0
        self._write(self.before)

    def take(self) -> int:
        """The next number of this name."""
        self._next += 1
        return self._next - 1

    def claim(self) -> None:
        """Record ``name`` before its first connection, after ``before`` is fenced: the next run
        fences it."""
        self._write(self.name)

    def close(self) -> None:
        self._lock.close()

    def _write(self, name: str) -> None:
        write_atomically(self._path, msgspec.json.encode(_Folder(name, self.seed)), durable=True)


def _read(path: Path) -> _Folder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Folder)
    except FileNotFoundError:
        if any(path.parent.rglob(f"*{SPOOL_SUFFIX}")):
            raise SpoolCorrupt(
                f"{path} is missing, and without its checksum key what the spool beside it holds "
                "cannot be verified. Restore it, or move the folder away to continue without it."
            ) from None
        return None
    except ValueError as error:
        raise SpoolCorrupt(
            f"{path} cannot be read: {error}. Restore it, or move its folder away to continue without its events."
        ) from error


def _hold(folder: Path) -> IO[str]:
    lock = hold(folder / "lock")
    if lock is None:
        raise SlotInUse(
            f"{folder} is held by another edge process. Stop it, or give this one another --home."
        )
    return lock
