"""The in-memory `Store`: what `write` took survives the object, as a disk survives a process."""

from __future__ import annotations

from collections.abc import Iterable

from streams.core.errors import StoreUnusable
from streams.core.types import TopicPartition
from streams.engine.state.memory_files import MemoryFiles


class MemoryStore:
    """One partition's entries over a dict that outlives it."""

    def __init__(self, entries: dict[bytes, bytes], files: MemoryFiles) -> None:
        self.entries = entries
        self.files = files
        self._open = True

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return self.entries.get(key)

    def items(self, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        self._check()
        return [(k, v) for k, v in sorted(self.entries.items()) if k.startswith(prefix)]

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        self._check()
        for key, value in list(entries):  # all or nothing, also where the caller's iterator fails
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    def close(self) -> None:
        self._open = False

    def _check(self) -> None:
        if not self._open:
            raise StoreUnusable("this store is closed")


class MemoryDisk:
    """A `StoreFactory` whose partitions live as long as it does: one host's state folder."""

    def __init__(self) -> None:
        self.folders: dict[TopicPartition, dict[bytes, bytes]] = {}
        self.files: dict[TopicPartition, MemoryFiles] = {}
        self.unusable: set[TopicPartition] = set()

    def __call__(self, tp: TopicPartition, fresh: bool) -> MemoryStore:
        if fresh:
            self.unusable.discard(tp)
            self.folders[tp] = {}
            self.files[tp] = MemoryFiles()
        if tp in self.unusable:
            raise StoreUnusable(f"the state folder of {tp} is corrupt")
        files = self.files.setdefault(tp, MemoryFiles())
        return MemoryStore(self.folders.setdefault(tp, {}), files)
