"""The in-memory `Store`: what was flushed survives the object, as a disk survives a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from streams.core.errors import StoreUnusable
from streams.core.types import TopicPartition
from streams.engine.state.memory_files import MemoryFiles

Entries = dict[bytes, bytes]
_BUFFER_WRITES = 3
"""A store flushes the older of two buffers of so many writes when the younger one is full."""


class MemoryStore:
    """One partition's entries over a dict that outlives it. A store that is not closed, as in a
    process that was killed, leaves there what was flushed."""

    def __init__(self, on_disk: Entries, files: MemoryFiles) -> None:
        self.files = files
        self.on_disk = on_disk
        """what a kill -9 leaves"""
        self._entries = dict(on_disk)
        self._unflushed: deque[list[tuple[bytes, bytes | None]]] = deque()
        self._written = 0
        self._open = True

    @property
    def written_to(self) -> int:
        return self._written

    @property
    def flushed_to(self) -> int:
        return self._written - len(self._unflushed)

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return self._entries.get(key)

    def items(self, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        self._check()
        return [(k, v) for k, v in sorted(self._entries.items()) if k.startswith(prefix)]

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        self._check()
        batch = list(entries)  # all or nothing, also where the caller's iterator fails
        _apply(batch, self._entries)
        self._unflushed.append(batch)
        self._written += 1
        if len(self._unflushed) >= 2 * _BUFFER_WRITES:
            self._flush(_BUFFER_WRITES)

    def flush(self) -> None:
        self._check()
        self._flush(len(self._unflushed))

    def close(self) -> None:
        self._flush(len(self._unflushed))
        self._open = False

    def lose(self) -> None:
        """Its process was killed, or has lost the folder: nothing reaches the disk any more."""
        self.on_disk = {}

    def _flush(self, writes: int) -> None:
        for _ in range(writes):
            _apply(self._unflushed.popleft(), self.on_disk)

    def _check(self) -> None:
        if not self._open:
            raise StoreUnusable("this store is closed")


def _apply(batch: Iterable[tuple[bytes, bytes | None]], entries: Entries) -> None:
    for key, value in batch:
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value


class MemoryDisk:
    """A `StoreFactory` whose partitions live as long as it does: one host's state folder.

    A process that opens a partition that is still open here replaces a process that was killed: the
    store of the killed one is lost.
    """

    def __init__(self) -> None:
        self.folders: dict[TopicPartition, Entries] = {}
        """what is on disk"""
        self.files: dict[TopicPartition, MemoryFiles] = {}
        self.unusable: set[TopicPartition] = set()
        self.stores: dict[TopicPartition, MemoryStore] = {}
        """of each partition the one that was opened last"""

    def __call__(self, tp: TopicPartition, fresh: bool) -> MemoryStore:
        if fresh:
            self.unusable.discard(tp)
            self.folders[tp] = {}
            self.files[tp] = MemoryFiles()
        if tp in self.unusable:
            raise StoreUnusable(f"the state folder of {tp} is corrupt")
        if (left := self.stores.get(tp)) is not None:
            left.lose()
        files = self.files.setdefault(tp, MemoryFiles())
        store = self.stores[tp] = self._opened(self.folders.setdefault(tp, {}), files)
        return store

    def _opened(self, on_disk: Entries, files: MemoryFiles) -> MemoryStore:
        return MemoryStore(on_disk, files)
