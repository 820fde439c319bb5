"""A ring of bytes in memory that a training shares with its sender.

The training alone moves ``written`` and the sender alone ``read``: counts of all bytes so far, each
one aligned word. A machine may show the sender a new count before the bytes that it counts. So the
sender takes what it saw at its reading before, and frees it at its next one: between two readings it
sleeps, and a store takes no such time to arrive. The sender says its status in one of two places in
turn, so the training reads one that is not written."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Final

RING_BYTES: Final = 4 << 20
"""200,000 points: 20 s at 10,000 points a second, which is more than the start of a sender takes."""
STATUS_BYTES: Final = 4096
_WRITTEN, _READ, _ENDED, _SAID = range(4)
"""_SAID: twice the bytes of the last status, plus its place"""
_WORDS_BYTES: Final = 4 * 8
_HEAD_BYTES: Final = _WORDS_BYTES + 2 * STATUS_BYTES


def shared_file(size: int) -> int:
    """The descriptor of memory for a ring of ``size`` bytes, which a child may inherit."""
    file = os.memfd_create("dia-training-ring")
    os.truncate(file, _HEAD_BYTES + size)
    return file


class Ring:
    """In the memory of ``file``, which both processes map; its pages are there from the start."""

    def __init__(self, file: int) -> None:
        size = os.fstat(file).st_size
        memory = memoryview(mmap.mmap(file, size, mmap.MAP_SHARED | mmap.MAP_POPULATE))
        self._words = memory[:_WORDS_BYTES].cast("Q")
        self._statuses = memory[_WORDS_BYTES:_HEAD_BYTES]
        self._content = memory[_HEAD_BYTES:]
        self._size = size - _HEAD_BYTES
        self._seen = self._taken = 0

    @property
    def ended(self) -> bool:
        """The sender reads no more."""
        return self._words[_ENDED] != 0

    def end(self) -> None:
        self._words[_READ] = max(self._words[_READ], self._taken)
        self._words[_ENDED] = 1

    def say(self, status: bytes) -> None:
        """``status``: `STATUS_BYTES` at most, of the sender alone."""
        place = 1 - (self._words[_SAID] & 1)
        at = place * STATUS_BYTES
        self._statuses[at : at + len(status)] = status
        self._words[_SAID] = len(status) << 1 | place

    def said(self) -> bytes:
        """The last status; empty before the first."""
        said = self._words[_SAID]
        at = (said & 1) * STATUS_BYTES
        return bytes(self._statuses[at : at + (said >> 1)])

    def write(self, record: bytes) -> bool:
        """False: no room. Memory only: no system call, no lock; of one thread at a time."""
        written = self._words[_WRITTEN]
        end = written + len(record)
        if end - self._words[_READ] > self._size:
            return False
        at = written % self._size
        room = self._size - at
        if len(record) <= room:
            self._content[at : at + len(record)] = record
        else:
            self._content[at:] = record[:room]
            self._content[: len(record) - room] = record[room:]
        self._words[_WRITTEN] = end
        return True

    def read(self, most: int) -> Iterator[bytes]:
        """What was written before the reading before this one, at most ``most`` bytes at a time."""
        self._words[_READ] = self._taken
        ready, self._seen = self._seen, self._words[_WRITTEN]
        while self._taken < ready:
            end = min(ready, self._taken + most)
            yield self._between(self._taken, end)
            self._taken = end

    def unread(self) -> bytes:
        """What no reading returned; for the training, once the sender has ended."""
        return self._between(self._words[_READ], self._words[_WRITTEN])

    def _between(self, start: int, end: int) -> bytes:
        at, size = start % self._size, end - start
        first = bytes(self._content[at : at + size])
        return first + bytes(self._content[: size - len(first)])
