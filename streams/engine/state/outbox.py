"""Effects outside Kafka that are owed: written with the state, repeated until acknowledged.

An entry is put in the commit that decides the effect, handed to its target after that commit
(and again after every restart), and deleted in a later commit once the target acknowledged this
very version. Its version is the ``seq`` of the commit that wrote it, so an acknowledgement of
an older one deletes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.engine.state.table import Entry

_SEQ_BYTES = 8


class OwedEffect(NamedTuple):
    """One effect to hand to its target, and the version to name in the acknowledgement."""

    key: bytes
    seq: int
    value: bytes


class Outbox:
    """The `Table` of owed effects of one partition (protocol: streams/engine/state/table.py)."""

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
        """Bytes of the owed effects; the partition pauses above its bound."""
        return sum(len(value) for _, value in self._entries.values())

    @property
    def changed(self) -> bool:
        return bool(self._put or self._done)

    def put(self, key: bytes, value: bytes) -> None:
        """Owe ``value`` under ``key`` from the next commit on, replacing an older one."""
        self._put[key] = value

    def acknowledged(self, key: bytes, seq: int) -> bool:
        """The target has version ``seq``. False when another one is owed in its place."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != seq:
            return False
        self._done[key] = seq
        return key not in self._put

    def take_fresh(self) -> list[OwedEffect]:
        """The effects written by the last `delta` (or found by `load`): hand them over once its
        commit is true."""
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
    """The ``seq`` of the commit that wrote an entry, from its value in store and changelog."""
    return int.from_bytes(value[:_SEQ_BYTES], "big")


def body_of(value: bytes) -> bytes:
    """What an entry owes, from its value in store and changelog."""
    return value[_SEQ_BYTES:]
