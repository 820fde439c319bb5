"""Owed effects outside Kafka (docs/protocols/outbox.md). The version of an effect is the ``seq`` of
the commit that wrote it; an acknowledgement of an older version deletes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streams.engine.state.table import Entry

_SEQ_BYTES = 8


class OwedEffect(NamedTuple):
    """An effect, and the version that its acknowledgement must name."""

    key: bytes
    seq: int
    value: bytes


class Outbox:
    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[int, bytes]] = {}
        self._put: dict[bytes, bytes] = {}
        self._done: dict[bytes, int] = {}
        self._rewritten: dict[bytes, None] = {}
        self._fresh: list[OwedEffect] = []

    def __len__(self) -> int:
        return len(self._entries) + len(self._put)

    @property
    def bytes_used(self) -> int:
        """Bytes of the owed effects; a bound of the partition."""
        return sum(len(value) for _, value in self._entries.values())

    @property
    def changed(self) -> bool:
        return bool(self._put or self._done)

    def owed(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, those of the next commit included; of a key, maybe two values."""
        yield from ((key, value) for key, (_, value) in self._entries.items())
        yield from self._put.items()

    def put(self, key: bytes, value: bytes) -> None:
        self._put[key] = value

    def acknowledged(self, key: bytes, seq: int) -> bool:
        """The target has version ``seq``. False if a newer version is owed."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != seq:
            return False
        self._done[key] = seq
        return key not in self._put

    def take_fresh(self) -> list[OwedEffect]:
        """Effects of the last `delta` or `load`; hand them over after its commit."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def delta(self, seq: int) -> list[Entry]:
        entries: list[Entry] = []
        for key in self._done:
            if key not in self._put:
                del self._entries[key]
                entries.append((key, None))
        self._done = {}
        for key, value in self._put.items():
            self._entries[key] = (seq, value)
            self._fresh.append(OwedEffect(key, seq, value))
            entries.append((key, seq.to_bytes(_SEQ_BYTES, "big") + value))
        for key in self._rewritten:
            if key in self._entries and key not in self._put:
                version, value = self._entries[key]
                entries.append((key, version.to_bytes(_SEQ_BYTES, "big") + value))
        self._put, self._rewritten = {}, {}
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        self._rewritten[key] = None

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            seq, body = version_in(value), body_of(value)
            self._entries[key] = (seq, body)
            self._fresh.append(OwedEffect(key, seq, body))


def version_in(value: bytes) -> int:
    return int.from_bytes(value[:_SEQ_BYTES], "big")


def body_of(value: bytes) -> bytes:
    return value[_SEQ_BYTES:]
