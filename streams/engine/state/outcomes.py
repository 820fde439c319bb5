"""The table of outcomes by key, for repeated requests.

A key is tenant and idempotency key in full: without hashes none can collide. A later request
repeats the first one of its key if appended at most ``ttl`` after it and the first is not before
the request's horizon (streams/engine/state/log_time.py). A key can have several outcomes; a request
is judged by the last one *before its own offset*, so the verdict depends on the log alone.

An entry holds the outcomes of one commit: ``seq:u64 part:u16``, and msgpack of its `Remembered`
rows. It is deleted when its youngest row has expired.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from operator import attrgetter
from typing import Final, Protocol, TypeAlias

import msgspec

from streams.engine.state.shares import Shares
from streams.engine.state.sized_parts import sized_parts
from streams.engine.state.table import MAX_ENTRY_BYTES, Entry

_KEY: Final = struct.Struct(">QH")
_ROW_BYTES: Final = 400
"""memory of a row beside its body and names"""

JobKey: TypeAlias = tuple[str, str]
"""Tenant and idempotency key."""


class Remembered(msgspec.Struct, array_like=True, frozen=True, gc=False):
    tenant: str
    key: str
    payload: bytes
    offset: int
    append_ms: int
    log_ms: int
    body: bytes

    @property
    def identity(self) -> JobKey:
        return self.tenant, self.key

    @property
    def size_bytes(self) -> int:
        """Upper bound of the row's size in memory and in an entry."""
        return len(self.body) + 4 * (len(self.tenant) + len(self.key)) + _ROW_BYTES


class FirstRequest(Protocol):
    """Append time and log time of the first request of a key, running or finished."""

    @property
    def append_ms(self) -> int: ...

    @property
    def log_ms(self) -> int: ...


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Remembered]).decode


class Outcomes:
    def __init__(self, ttl_ms: int, max_bytes: int, quota: int = 0) -> None:
        self._ttl_ms = ttl_ms
        self._shares = Shares(max_bytes, quota)
        self._last: dict[JobKey, Remembered] = {}
        self._older: dict[JobKey, list[Remembered]] = {}
        """of keys with several outcomes, all but the last"""
        self._segments: dict[bytes, list[Remembered]] = {}
        self._fresh: list[Remembered] = []
        self._rewritten: dict[bytes, None] = {}
        self._horizon_ms = 0

    def __len__(self) -> int:
        return len(self._last) + sum(map(len, self._older.values()))

    @property
    def bytes_used(self) -> int:
        return self._shares.total

    def room(self, tenant: str) -> int:
        """Bytes of outcomes that the tenant may add (streams/engine/state/shares.py). Outcomes
        expire only as the prefix moves."""
        return self._shares.room(tenant)

    def before(self, identity: JobKey, offset: int) -> Remembered | None:
        """The last outcome of a key whose first request is before ``offset``."""
        last = self._last.get(identity)
        if last is None or last.offset < offset:
            return last
        older = [row for row in self._older.get(identity, ()) if row.offset < offset]
        return max(older, key=_offset, default=None)

    def remember(self, row: Remembered) -> None:
        """Keep an outcome from the next commit on."""
        self._add(row)
        self._fresh.append(row)

    def repeats(self, append_ms: int, horizon_ms: int, first: FirstRequest) -> bool:
        """Whether a request of this append time and horizon may repeat ``first``."""
        return append_ms - first.append_ms <= self._ttl_ms and first.log_ms >= horizon_ms

    def passed(self, horizon_ms: int) -> None:
        """Set the prefix's horizon: outcomes before it are no longer needed."""
        self._horizon_ms = horizon_ms

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            rows = _decode(value)
            self._segments[key] = rows
            for row in rows:
                self._add(row)

    def delta(self, seq: int) -> list[Entry]:
        entries: list[Entry] = [(key, None) for key in self._expired()]
        parts = sized_parts(self._fresh, attrgetter("size_bytes"), MAX_ENTRY_BYTES)
        for part, rows in enumerate(parts):
            key = _KEY.pack(seq, part)
            self._segments[key] = rows
            entries.append((key, _encode(rows)))
        entries += [(key, _encode(self._segments[key])) for key in self._rewritten]
        self._fresh, self._rewritten = [], {}
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        self._rewritten[key] = None

    def _expired(self) -> list[bytes]:
        gone: list[bytes] = []
        for key, rows in self._segments.items():
            if max(row.log_ms for row in rows) >= self._horizon_ms:
                break
            gone.append(key)
        for key in gone:
            for row in self._segments.pop(key):
                self._forget(row)
            self._rewritten.pop(key, None)
        return gone

    def _add(self, row: Remembered) -> None:
        self._shares.take(row.tenant, row.size_bytes)
        last = self._last.get(row.identity)
        if last is None:
            self._last[row.identity] = row
            return
        older, self._last[row.identity] = sorted((last, row), key=_offset)
        self._older.setdefault(row.identity, []).append(older)

    def _forget(self, row: Remembered) -> None:
        self._shares.give_back(row.tenant, row.size_bytes)
        older = self._older.pop(row.identity, [])
        if row in older:
            older.remove(row)
        elif older:
            self._last[row.identity] = newest = max(older, key=_offset)
            older.remove(newest)
        else:
            del self._last[row.identity]
        if older:
            self._older[row.identity] = older


def _offset(row: Remembered) -> int:
    return row.offset
