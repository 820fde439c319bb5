"""One start of an edge on one folder: its name, by which the broker tells its blocks from others'.

Every start draws a name. A block bears the name of the start that took it in, and a number that
rises within that name. A spool may hold blocks of another name, because the folder outlived a start
or is a copy. An edge ships them under that name. So two living edges on copies of one folder share
names only for the blocks that both of them have, and those have the same numbers.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

import msgspec

from streams.core.errors import SlotInUse, SpoolCorrupt
from streams.core.process.file_modes import private_folder

SPOOL_SUFFIX = ".spool"
"""Of the files that hold blocks, below the folder."""


class _Folder(msgspec.Struct, frozen=True):
    """The file: the name of the last start that connected under its own, "" before the first; and
    the checksum key of the spool's frames."""

    name: str
    seed: int


class EdgeRun:
    """A folder that is held by this process until `close`.

    ``name`` is that of this start; ``before`` that of the last start on this folder that may have
    left a transaction open, "" for none; ``seed`` is the checksum key of its frames. Raises
    `SlotInUse` when another process holds the folder and `SpoolCorrupt` when its file is unreadable.
    """

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
        """Before the first connection under ``name``, once ``before`` is fenced: the next start will
        fence this one."""
        self._write(self.name)

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def _write(self, name: str) -> None:
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(_Folder(name, self.seed)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        sync_folder(self._path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were created in ``folder`` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> _Folder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Folder)
    except FileNotFoundError:
        if any(path.parent.rglob(f"*{SPOOL_SUFFIX}")):
            raise SpoolCorrupt(
                f"{path} is missing, and without its checksum key what the spool beside it holds "
                "cannot be told from damage. Restore it, or move the folder away to go on without."
            ) from None
        return None
    except ValueError as error:
        raise SpoolCorrupt(
            f"{path} cannot be read: {error}. Move its folder away to go on without what it holds."
        ) from error


def _hold(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise SlotInUse(
            f"{folder} is held by another edge process. Stop it, or give this one another --home."
        ) from None
    return lock
