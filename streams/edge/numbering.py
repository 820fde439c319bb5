"""The numbers of an edge's blocks, and the name under which the broker remembers how far they are.

A number is never given twice: numbers are taken from ranges whose end is on disk before the
first of them is used, so after a crash the next run begins behind all of the last one's.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

import msgspec

from streams.errors import SlotInUse, SpoolCorrupt

RANGE = 1 << 20
"""Numbers reserved by one write to disk."""


class _Reserved(msgspec.Struct, frozen=True):
    """The file: the name, the checksum key of the frames, and the end of what may have been used.
    One file, because a name without its numbers would skip what is new."""

    name: str
    seed: int
    end: int


class Numbering:
    """Numbers of one folder, held by one process at a time.

    ``name`` is how the broker knows it, ``seed`` the checksum key of its frames, ``first`` the
    first number of this run. Raises `SlotInUse` when another process holds the
    folder and `SpoolCorrupt` when its file is unreadable.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "numbers.json"
        self._lock = _hold(folder)
        try:
            known = _read(self._path)
        except SpoolCorrupt:
            self.close()
            raise
        self.name = known.name if known else secrets.token_hex(8)
        self.seed = known.seed if known else secrets.randbits(63)
        self.first = self._next = self._end = known.end if known else 0
        self._reserve()

    def take(self) -> int:
        if self._next == self._end:
            self._reserve()
        self._next += 1
        return self._next - 1

    def rename(self) -> None:
        """Be another edge to the broker: what it remembers of the old name no longer counts."""
        self.name = secrets.token_hex(8)
        self._write()

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def _reserve(self) -> None:
        self._end += RANGE
        self._write()

    def _write(self) -> None:
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(_Reserved(self.name, self.seed, self._end)))
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


def _read(path: Path) -> _Reserved | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Reserved)
    except FileNotFoundError:
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
