"""A record batch whose keys and values are places in the broker's bytes. The lists of a
`RecordBatch` are created on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.record_shape import PADDING
from streams.core.records.text_spans import TextSpans, joined, spans
from streams.core.types import Headers, RecordBatch, TopicPartition

_NO_HEADERS: Final[Headers] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Records of one buffer with `PADDING` bytes behind them, without headers. Size -1: no key, or
    no value."""

    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    key_at: NDArray[np.int64]
    key_size: NDArray[np.int64]
    value_at: NDArray[np.int64]
    value_size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def places(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Place and size of each of the ``keys`` or ``values``."""
        if name == "keys":
            return self.key_at, self.key_size
        return self.value_at, self.value_size

    def cut(self, first: int, last: int) -> Frames:
        """Records ``first`` to ``last`` - 1, with their part of the buffer."""
        if first == 0 and last == len(self):
            return self
        if first >= last:
            return self.take(np.empty(0, np.intp))
        rows = slice(first, last)
        start = int(self.key_at[first])
        end = int(self.value_at[last - 1]) + max(0, int(self.value_size[last - 1])) + PADDING
        columns = (self.offsets, self.timestamps, self.key_at, self.key_size)
        offsets, timestamps, key_at, key_size = (column[rows] for column in columns)
        value_at, value_size = self.value_at[rows] - start, self.value_size[rows]
        buffer = self.buffer[start:end]
        return Frames(buffer, offsets, timestamps, key_at - start, key_size, value_at, value_size)

    def take(self, rows: NDArray[np.intp]) -> Frames:
        columns = (
            self.offsets, self.timestamps,
            self.key_at, self.key_size, self.value_at, self.value_size,
        )  # fmt: skip
        return Frames(self.buffer, *(column[rows] for column in columns))


def together(parts: Sequence[Frames]) -> Frames:
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.buffer) for part in parts[:-1])])
    return Frames(
        np.concatenate([part.buffer for part in parts]),
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        np.concatenate([part.key_at + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.key_size for part in parts]),
        np.concatenate([part.value_at + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.value_size for part in parts]),
    )


class _Places(Sequence[Any]):
    """Created on the first access to more than an element."""

    def __init__(self, batch: FramedBatch, name: str) -> None:
        self._batch = batch
        self._name = name

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._batch.column(self._name)[index]
        return self._batch.element(self._name, range(len(self))[index])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batch.column(self._name))

    def __eq__(self, other: object) -> bool:
        return self._batch.column(self._name) == other

    __hash__ = None  # type: ignore[assignment]  # as that of a list


def _column(name: str) -> Any:
    def get(batch: FramedBatch) -> Any:
        return _Places(batch, name) if batch.framed else batch.column(name)

    def put(batch: FramedBatch, column: list[Any]) -> None:
        batch.lists[name] = column

    return property(get, put)


class FramedBatch(RecordBatch):
    """Framed until `to_lists`; unframed records are then appended to its lists."""

    __slots__ = ("_count", "_parts", "lists")

    offsets = _column("offsets")
    timestamps = _column("timestamps")
    keys = _column("keys")
    values = _column("values")
    headers = _column("headers")

    def __init__(self, tp: TopicPartition, start: int, end: int) -> None:
        self._parts: list[Frames] | None = None
        self._count = 0
        self.lists: dict[str, list[Any]] = {}
        super().__init__(tp, start, end)
        self.lists = {}
        self._parts = []

    def __len__(self) -> int:
        return self._count if self._parts is not None else len(self.lists["offsets"])

    @property
    def framed(self) -> bool:
        return self._parts is not None

    def add(self, frames: Frames) -> None:
        """Only while ``framed``."""
        assert self._parts is not None, "lists are not framed again"
        self._parts.append(frames)
        self._count += len(frames)
        self.lists = {}

    def frames(self) -> Frames:
        """At least one record."""
        assert self._parts, "no record, or not every one is framed"
        if len(self._parts) > 1:
            self._parts = [together(self._parts)]
        return self._parts[0]

    def to_lists(self) -> None:
        """Ends `add`."""
        if self._parts is None:
            return
        for name in ("offsets", "timestamps", "keys", "values", "headers"):
            self.column(name)
        self._parts = None

    def column(self, name: str) -> list[Any]:
        found = self.lists.get(name)
        if found is None:
            found = self.lists[name] = self._made(name) if self._count else []
        return found

    def element(self, name: str, row: int) -> Any:
        frames = self.frames()
        if name == "headers":
            return _NO_HEADERS
        if name in ("offsets", "timestamps"):
            return int(getattr(frames, name)[row])
        at, size = (int(column[row]) for column in frames.places(name))
        return frames.buffer[at : at + size].tobytes() if size >= 0 else None

    def _made(self, name: str) -> list[Any]:
        frames = self.frames()
        if name == "headers":
            return [_NO_HEADERS] * len(frames)
        if name in ("offsets", "timestamps"):
            column: list[int] = getattr(frames, name).tolist()
            return column
        return spans(frames.buffer, *frames.places(name)).encoded()

    def last(self) -> tuple[int, int]:
        if not self._parts:
            return super().last()
        return int(self._parts[-1].offsets[-1]), int(self._parts[-1].timestamps[-1])

    def any_headers(self) -> bool:
        return False if self._parts else super().any_headers()

    def rows_with_headers(self) -> Iterable[int]:
        return () if self._parts else super().rows_with_headers()

    def head(self, count: int) -> RecordBatch:
        if count == len(self) or not self._parts:
            return super().head(count)
        frames = self.frames()
        head = FramedBatch(self.tp, self.start, int(frames.offsets[count]))
        head.add(frames.cut(0, count))
        head.append_times, head.first_epoch = self.append_times, self.first_epoch
        head.continued = self.continued
        return head

    def take(self, rows: Sequence[int]) -> RecordBatch:
        if not self._parts or not len(rows):
            return super().take(rows)
        taken = FramedBatch(self.tp, self.start, self.end)
        taken.add(self.frames().take(np.array(rows, np.intp)))
        taken.append_times, taken.continued = self.append_times, self.continued
        return taken


def _frames_of(batch: RecordBatch) -> Frames | None:
    return batch.frames() if isinstance(batch, FramedBatch) and batch.framed and batch else None


def offset_array(batch: RecordBatch) -> NDArray[np.int64]:
    """Read-only."""
    frames = _frames_of(batch)
    return np.array(batch.offsets, np.int64) if frames is None else frames.offsets


def timestamp_array(batch: RecordBatch) -> NDArray[np.int64]:
    """Read-only."""
    frames = _frames_of(batch)
    return np.array(batch.timestamps, np.int64) if frames is None else frames.timestamps


def places_of(batch: RecordBatch) -> tuple[TextSpans, TextSpans]:
    """Keys and values as places in one buffer."""
    frames = _frames_of(batch)
    if frames is not None:
        keys, values = (spans(frames.buffer, *frames.places(name)) for name in ("keys", "values"))
        return keys, values
    both = joined([*batch.keys, *batch.values])
    rows = np.arange(len(batch))
    return both.take(rows), both.take(rows + len(batch))


def record_sizes(batch: RecordBatch) -> NDArray[np.int64]:
    """Bytes of the key and the value of each record."""
    frames = _frames_of(batch)
    if frames is not None:
        return np.maximum(frames.key_size, 0) + np.maximum(frames.value_size, 0)
    both = zip(batch.keys, batch.values, strict=True)
    sizes = (len(key or b"") + len(value or b"") for key, value in both)
    return np.fromiter(sizes, np.int64, len(batch))


def key_places(batch: RecordBatch) -> TextSpans:
    """Keys as places in one buffer. ``batch`` may have no values."""
    frames = _frames_of(batch)
    return joined(batch.keys) if frames is None else spans(frames.buffer, *frames.places("keys"))


def framed(batch: RecordBatch) -> RecordBatch:
    """In frames, as from Kafka; unchanged where it is empty or a record has headers."""
    if not len(batch) or batch.any_headers():
        return batch
    keys, values = places_of(batch)
    sizes = [
        span.size if span.absent is None else np.where(span.absent, -1, span.size)
        for span in (keys, values)
    ]
    found = FramedBatch(batch.tp, batch.start, batch.end)
    found.append_times, found.continued = batch.append_times, batch.continued
    found.first_epoch, found.last_epoch = batch.first_epoch, batch.last_epoch
    offsets, timestamps = offset_array(batch), timestamp_array(batch)
    found.add(Frames(keys.buffer, offsets, timestamps, keys.at, sizes[0], values.at, sizes[1]))
    return found
