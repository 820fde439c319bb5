"""The in-memory `Store`; flushed entries outlive the object, as a disk outlives a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from streams.core.errors import StoreUnusable
from streams.core.types import TopicPartition
from streams.engine.state.memory_files import MemoryFiles

Entries = dict[bytes, bytes]
_BUFFER_WRITES = 3
"""writes of one of two buffers; the older is flushed when the younger is full"""


class MemoryStore:
    """The entries of one partition. A store that is not closed (a killed process) leaves only
    flushed writes."""

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
        batch = list(entries)  # all or nothing, also if the caller's iterator raises
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
        """Stop reaching the disk: the process was killed or lost the folder."""
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
    """A `StoreFactory` with the state folder of one host.

    Opening a partition whose store is open models the restart of a killed process: the old store is
    lost.
    """

    def __init__(self) -> None:
        self.folders: dict[TopicPartition, Entries] = {}
        self.files: dict[TopicPartition, MemoryFiles] = {}
        self.unusable: set[TopicPartition] = set()
        self.stores: dict[TopicPartition, MemoryStore] = {}

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
