"""A table of windows of one partition: the states of all aggregators by key and live window
(docs/protocols/windows.md). The common part of `AggregateWindows` and `SessionWindows`.

    ""       MessagePack of the declaration
    c0       MessagePack of [closed, done, after]: windows that end by the event time ``closed`` take no
             record; rows are owed of those that end by ``done``, and of the next one up to key ``after``
    c1       MessagePack of the offset of the first folded record: windows may be declared on an old topic
    key      MessagePack of [key, start in milliseconds]; the value: [last, state, state...],
             the states sorted by the names of their aggregators

Laws (tests/properties/test_aggregate_window_laws.py): which records are late, and every closed row,
depend on the log alone, not on batches, commits and restarts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.errors import StateLimit, TableChanged
from streams.core.topics.topic import TENANT_MAX_CHARS
from streams.engine.aggregates.aggregate import Additions, Aggregate, FieldType, FieldValues, Slots
from streams.engine.aggregates.window_states import Row, WindowStates
from streams.engine.state.runs import distinct
from streams.engine.state.table import Entry
from streams.engine.state.table_values import key_bytes, key_of, text_bytes
from streams.engine.windows.aggregated.state_owners import StateOwners
from streams.engine.windows.aggregated.state_shares import Added, Begins, ShareCheck, Tenants
from streams.engine.windows.aggregated.window_keys import BatchKeys, Key, KeyNumbers

NEVER_MS = 1 << 62
_DAY_MS = 86_400_000
CLOSED_ROWS_MAX = 20_000
_DECLARATION = b""
_CLOSED = b"\xc0"
BEGUN = b"\xc1"
"""key of the entry with the offset since which the windows exist"""
_KEY_BYTES_IN_MEMORY = 500
"""one live window: dictionary slots, and its place in `LiveKeys`"""
_KEY_COPIES = 3
"""of a key's texts: the key itself, and its bytes in the table and in `LiveKeys`"""
_KEYS_SLACK, _KEYS_SLACK_BYTES = 1000, 1 << 24
"""keys without a live window that are not worth a search for them"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class WindowRow(NamedTuple):
    """A window of one key and its row. ``end_ms``: the end of a fixed window, or the time of a
    session's last event."""

    key: Key
    start_ms: int
    end_ms: int
    row: Row


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Records of a batch in log order, as parallel columns.

    ``before_ms`` is the watermark before each record; it never falls.
    """

    keys: BatchKeys
    times_ms: NDArray[np.int64]
    offsets: NDArray[np.int64]
    before_ms: NDArray[np.int64]
    fields: Mapping[str, FieldValues]
    tenants: Tenants

    def __len__(self) -> int:
        return len(self.times_ms)

    def take(self, rows: NDArray[np.int64]) -> WindowBatch:
        return WindowBatch(
            self.keys.take(rows),
            self.times_ms[rows],
            self.offsets[rows],
            self.before_ms[rows],
            {name: values.take(rows) for name, values in self.fields.items()},
            self.tenants.take(rows),
        )

    def additions(self, slots: Slots) -> Additions:
        return Additions(slots, self.times_ms, self.offsets, self.fields)


class AggregateTable(ABC):
    """``declaration`` must be the one under which the state was written. ``tenant_at``: which part of a
    key is the tenant, if any. ``named``: events of the topic may name one."""

    def __init__(
        self,
        name: str,
        fold: Mapping[str, Aggregate],
        types: Mapping[str, FieldType],
        grace_ms: int,
        declaration: Mapping[str, Any],
        max_bytes: int = 1 << 62,
        tenant_at: int | None = None,
        named: bool = True,
    ) -> None:
        self.name = name
        self.closed_ms = -NEVER_MS
        """windows that end by this time take no record"""
        self._room = CLOSED_ROWS_MAX
        """keys that the next commit may still close"""
        self._states = WindowStates(fold, types)
        self._numbers = KeyNumbers()
        self._owners = StateOwners(max_bytes, in_key=tenant_at is not None, named=named)
        self._unweighed: list[Slots] = []
        """slots whose states grew since `_weigh`"""
        self._grown_at_most = 0
        """bytes that these grew by at most"""
        self._tenant_at = tenant_at
        self._grace_ms = grace_ms
        self._declaration = dict(declaration)
        self._written_declaration = False
        self._begun: int | None = None
        self._written_begun = False
        self._closed_rows: list[WindowRow] = []
        self._closed_moved = False
        self._dirty: dict[int, None] = {}
        self._entries: dict[int, bytes] = {}
        """changelog key of each slot that has an entry"""
        self._gone: dict[bytes, None] = {}
        """changelog keys of removed windows"""
        self._rewritten: list[tuple[Key, int]] = []
        """key and start of windows whose entries the next commit writes again"""

    def __len__(self) -> int:
        return len(self._states)

    @property
    def bytes_used(self) -> int:
        self._weigh()
        return self._owners.total

    def check_bound(self) -> None:
        """Raises `StateLimit`."""
        if self._owners.total + self._grown_at_most <= self._owners.bound:
            return
        if self.bytes_used > self._owners.bound:
            raise StateLimit(
                f"windows {self.name!r} hold {len(self)} states of one partition, some "
                f"{self.bytes_used} bytes: more than DIA_MAX_TABLE_BYTES={self._owners.bound}. Use a "
                f"shorter grace, fewer keys or more partitions, or raise it."
            )

    # --- C1 ----------------------------------------------------------------------------------

    @abstractmethod
    def late(self, times_ms: NDArray[np.int64], before_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which records are too late for all their windows."""

    def suffices(self, records: int, batch: WindowBatch) -> bool:
        """Whether no tenant can exceed its share by this many records of ``batch``. True for none."""
        begun = records * self._empty_bytes + _KEY_COPIES * batch.keys.text_bytes
        grown = self._states.adds_at_most(records, batch.fields)
        if not records or self._owners.suffice(begun + grown + self._grown_at_most):
            return True
        self._weigh()
        return self._owners.suffice(begun + grown)

    def share_check(self, batch: WindowBatch, rows: NDArray[np.int64], *, sure: bool) -> ShareCheck:
        """Judges which of ``rows``, at least one and none of them late, add to states beyond their
        tenant's share. ``sure``: all that are not refused will be folded."""
        self._weigh()
        some = batch.take(rows)
        begins, slots = self._begins(some, sure)
        keys = some.keys.tuples()
        distinct_keys = [*dict.fromkeys(keys)]
        sizes = dict(zip(distinct_keys, self._begun_bytes(distinct_keys), strict=True))
        begun = [sizes[key] for key in keys]
        added = Added(begins, begun, self._states.adds(some.additions(slots)).tolist())
        return ShareCheck(self.name, self._owners, rows, added)

    @abstractmethod
    def _begins(self, batch: WindowBatch, sure: bool) -> tuple[Begins, Slots]:
        """Also the slot of each record as far as it is known, or -1."""

    @property
    def _empty_bytes(self) -> int:
        return _KEY_BYTES_IN_MEMORY + self._states.slot_bytes

    def _begun_bytes(self, keys: Iterable[Key]) -> list[int]:
        """Memory of an empty state of each key."""
        empty, found = self._empty_bytes, []
        for key in keys:
            texts = 0
            for part in key:
                if type(part) is str:
                    texts += text_bytes(part)
            found.append(empty + _KEY_COPIES * texts)
        return found

    def _owned(
        self, slots: Sequence[int], keys: Sequence[Key], tenants: Iterable[str | None]
    ) -> None:
        """States were begun, or restored, for these tenants."""
        self._owners.begin(slots, tenants, self._begun_bytes(keys))

    def _grew(self, slots: Slots, batch: WindowBatch) -> None:
        """Records of ``batch`` were added to these states. They are weighed once a commit, or where
        the bound is near: a state grows in most batches between two commits."""
        if self._states.varies:
            self._unweighed.append(slots)
            self._grown_at_most += self._states.adds_at_most(len(batch), batch.fields)

    def _weigh(self) -> None:
        if self._unweighed:
            slots = distinct(np.concatenate(self._unweighed))
            self._unweighed, self._grown_at_most = [], 0
            self._owners.resize(slots, self._states.sizes(slots))

    def fold(self, batch: WindowBatch) -> None:
        """Add records, none of them late."""
        if self._begun is None:
            self._begun = int(batch.offsets[0])
        self._fold(batch)
        self.check_bound()

    @abstractmethod
    def _fold(self, batch: WindowBatch) -> None:
        """Add records to their windows."""

    def advance(self, watermark_ms: int) -> None:
        """Close due windows, within the room of a commit."""
        until_ms = watermark_ms - self._grace_ms
        if until_ms > self.closed_ms:
            self.closed_ms, self._closed_moved = until_ms, True
        if self._room > 0:
            self._close_due()

    def has_windows(self, first_day: int, last_day: int) -> bool:
        """As `DatedTable`."""
        start_ms, end_ms = first_day * _DAY_MS, (last_day + 1) * _DAY_MS
        closed = any(start_ms <= row.start_ms < end_ms for row in self._closed_rows)
        return closed or self._begins_in(start_ms, end_ms)

    @abstractmethod
    def _begins_in(self, start_ms: int, end_ms: int) -> bool:
        """Whether an open window begins in [start_ms, end_ms)."""

    @property
    @abstractmethod
    def _is_due(self) -> bool:
        """Whether a window that ends by ``closed_ms`` may still be open."""

    @abstractmethod
    def _close_due(self) -> None:
        """Close such windows, oldest first, within the room."""

    def _closed(self, rows: list[WindowRow]) -> None:
        self._closed_rows += rows
        self._room -= len(rows)
        self._closed_moved = True

    def take_closed(self) -> list[WindowRow]:
        rows, self._closed_rows = self._closed_rows, []
        return rows

    @property
    @abstractmethod
    def has_news(self) -> bool:
        """Whether `take_early` has rows."""

    @abstractmethod
    def take_early(self, rows_max: int) -> list[WindowRow]:
        """About ``rows_max`` rows of live windows that changed since their last row."""

    # --- `Table` -----------------------------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether a commit would write more than an advance of the event time."""
        return bool(self._dirty or self._gone or self._closed_rows or self._is_due)

    def _remove(self, slots: list[int]) -> None:
        for slot in slots:
            self._dirty.pop(slot, None)
            self._forget_entry(slot)
        self._owners.end(slots)
        self._states.release(np.array(slots, np.int64))

    def _forget_entry(self, slot: int) -> None:
        entry = self._entries.pop(slot, None)
        if entry is not None:
            self._gone[entry] = None

    @abstractmethod
    def _places(self, slots: Slots) -> Iterable[tuple[Key, int, int]]:
        """Key, start and last event of live windows."""

    def delta(self, seq: int) -> list[Entry]:
        self._weigh()
        if self._rewritten:
            found = self._find(*zip(*self._rewritten, strict=True))
            self._dirty |= dict.fromkeys(found[found >= 0].tolist())
            self._rewritten = []
        self._forget_some_keys()
        entries: list[Entry] = []
        if self._dirty and not self._written_declaration:
            entries.append((_DECLARATION, _encode(self._declaration)))
            self._written_declaration = True
        if self._begun is not None and not self._written_begun:
            entries.append((BEGUN, _encode(self._begun)))
            self._written_begun = True
        if self._closed_moved:
            entries.append((_CLOSED, _encode((self.closed_ms, *self._closing()))))
            self._closed_moved = False
        self._room = CLOSED_ROWS_MAX
        slots, self._dirty = np.array([*self._dirty], np.int64), {}
        columns = slots.tolist(), self._places(slots), self._states.written(slots)
        for slot, (key, start_ms, last_ms), states in zip(*columns, strict=True):
            raw = self._entries.get(slot)
            if raw is None:
                raw = self._entries[slot] = key_bytes((key, start_ms))
                self._gone.pop(raw, None)
            entries.append((raw, _encode((last_ms, *states))))
        entries += [(raw, None) for raw in self._gone]
        self._gone = {}
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        if key == _DECLARATION:
            self._written_declaration = False
        elif key == BEGUN:
            self._written_begun = False
        elif key == _CLOSED:
            self._closed_moved = True
        else:
            self._rewritten.append(key_of(key))

    @abstractmethod
    def _find(self, keys: Sequence[Key], starts_ms: Sequence[int]) -> Slots:
        """The slot of each window, -1 if it is not live."""

    def _forget_some_keys(self) -> None:
        many = len(self._numbers) > 2 * len(self) + _KEYS_SLACK
        if many or self._numbers.new_bytes > _KEYS_SLACK_BYTES:
            self._forget_keys()

    @abstractmethod
    def _forget_keys(self) -> None:
        """Forget the numbers of keys that have no live window."""

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        raws, values = [], []
        closing: list[Any] = []
        for raw, data in items:
            if raw == _DECLARATION:
                self._check_declaration(_decode(data))
            elif raw == BEGUN:
                self._begun, self._written_begun = _decode(data), True
            elif raw == _CLOSED:
                self.closed_ms, *closing = key_of(data)
            else:
                raws.append(raw)
                values.append(_decode(data))
        slots = self._states.restore([states for _, *states in values])
        places = [*map(key_of, raws)]
        self._entries.update(zip(slots.tolist(), raws, strict=True))
        if places:
            keys, starts_ms = zip(*places, strict=True)
            self._restored(slots, keys, starts_ms, [last_ms for last_ms, *_ in values])
            self._owned(slots.tolist(), keys, self._tenants_in(keys))
            if self._states.varies:
                self._unweighed.append(slots)
        if closing:
            self._go_on(*closing)

    def _tenants_in(self, keys: Sequence[Key]) -> list[str | None]:
        at = self._tenant_at
        return [None if at is None else str(key[at])[:TENANT_MAX_CHARS] for key in keys]

    @abstractmethod
    def _closing(self) -> tuple[Any, ...]:
        """The progress of closing, for `_go_on`."""

    @abstractmethod
    def _go_on(self, *closing: Any) -> None:
        """Restore the progress of closing."""

    @abstractmethod
    def _restored(
        self,
        slots: Slots,
        keys: Sequence[Key],
        starts_ms: Sequence[int],
        lasts_ms: Sequence[int],
    ) -> None:
        """Enter restored windows."""

    def _check_declaration(self, found: Any) -> None:
        self._written_declaration = True
        if found == self._declaration:
            return
        names = sorted({*found, *self._declaration})
        name = next(one for one in names if found.get(one) != self._declaration.get(one))
        raise TableChanged(
            f"windows {self.name!r} were written with {name}={found.get(name)!r} but are declared "
            f"with {name}={self._declaration.get(name)!r}. Declare them as before, give the new "
            "ones another name, or discard the state: `dia tables reset`."
        )
