"""Closed windows of `app.windows` whose `on_window_close` failed: what the next call is given
(docs/protocols/held_closes.md).

    key      MessagePack of [name of the windows, key, start in ms]
    value    MessagePack of [owner, end in ms, columns of the row]

``owner``: a tenant, "" for none, nil for several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from streams.core.topics.topic import TENANT_MAX_CHARS
from streams.engine.state.key_owners import Owner
from streams.engine.state.shares import Holdings, room
from streams.engine.state.table import MAX_ENTRY_BYTES, Entry

_OF_SEVERAL = "\0" * (TENANT_MAX_CHARS + 1)
"""longer than any tenant's name"""
_ENTRY_BYTES_IN_MEMORY = 600
"""of the objects around a key and a value"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class WindowCall(NamedTuple):
    """A window by name, key and start, and the columns of its row, as MessagePack."""

    name: str
    key: tuple[Any, ...]
    start_ms: int
    end_ms: int
    owner: Owner
    packed: bytes

    @property
    def values(self) -> Mapping[str, Any]:
        values: dict[str, Any] = _decode(self.packed)
        return values

    @property
    def raw(self) -> bytes:
        return _encode((self.name, self.key, self.start_ms))


class HeldWindows:
    """Of one partition. The owners of entries share ``bound`` bytes by the rule of shares.py."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._calls: dict[bytes, WindowCall] = {}
        self._dirty: dict[bytes, None] = {}
        self._held = Holdings()
        self._total = 0

    def __iter__(self) -> Iterator[WindowCall]:
        return iter([*self._calls.values()])

    def __len__(self) -> int:
        return len(self._calls)

    def fits(self, call: WindowCall) -> bool:
        """Whether the owner's share has room for it, and an entry."""
        size = _bytes_of(call)
        held = self._held[_account(call.owner)]
        return len(call.packed) <= MAX_ENTRY_BYTES // 2 and size <= room(
            self._bound, 0, self._total, held
        )

    def put(self, call: WindowCall) -> None:
        self._enter(call)
        self._dirty[call.raw] = None

    def remove(self, call: WindowCall) -> None:
        raw = call.raw
        if self._calls.pop(raw, None) is not None:
            self._count(call, -_bytes_of(call))
            self._dirty[raw] = None

    def _enter(self, call: WindowCall) -> None:
        self._calls[call.raw] = call
        self._count(call, _bytes_of(call))

    def _count(self, call: WindowCall, size: int) -> None:
        self._held.give_back(_account(call.owner), -size)
        self._total += size

    # --- `Table` -----------------------------------------------------------------------------

    @property
    def bytes_used(self) -> int:
        return self._total

    @property
    def changed(self) -> bool:
        return bool(self._dirty)

    def delta(self, seq: int) -> list[Entry]:
        dirty, self._dirty = self._dirty, {}
        return [(raw, self._written(raw)) for raw in dirty]

    def _written(self, raw: bytes) -> bytes | None:
        call = self._calls.get(raw)
        return None if call is None else _encode((call.owner, call.end_ms, call.packed))

    def rewrite(self, key: bytes, value: bytes) -> None:
        if key in self._calls:
            self._dirty[key] = None

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for raw, value in items:
            name, key, start_ms = _decode(raw)
            owner, end_ms, packed = _decode(value)
            self._enter(WindowCall(name, tuple(key), start_ms, end_ms, owner, packed))


def _account(owner: Owner) -> str:
    return _OF_SEVERAL if owner is None else owner


def _bytes_of(call: WindowCall) -> int:
    return _ENTRY_BYTES_IN_MEMORY + 2 * len(call.raw) + len(call.packed)
