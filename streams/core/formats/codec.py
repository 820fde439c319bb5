"""The codec protocol: a batch of values to events, an event to a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias, runtime_checkable

from streams.core.errors import DiaError
from streams.core.records.bad_records import CodecFailed
from streams.core.records.defects import Defect, defect

DECODE_ERRORS = (ValueError, TypeError, RecursionError)
"""What decoders raise for arbitrary or absent bytes; msgspec's errors and UnicodeDecodeError are
ValueErrors."""


class Read(NamedTuple):
    """``events`` of the good values, in order. ``failed``: the defect of each other value, by
    index."""

    events: list[Any]
    failed: dict[int, Defect]


BatchDecoder: TypeAlias = Callable[[Sequence[bytes | None]], Read]
"""Never raises for bytes; raises a `DiaError` where it cannot decide, as while a schema registry is
away. None is a record without a value."""


@runtime_checkable
class Codec(Protocol):
    """How values of a topic are written. All partitions of a process share one object."""

    @property
    def name(self) -> str:
        """in listings"""
        ...

    @property
    def text(self) -> bool:
        """Whether values must be UTF-8; others are refused as `invalid_utf8`."""
        ...

    def decoder(self, value_type: Any) -> BatchDecoder:
        """Created once per topic and schema version. Raises `UsageError` for an unreadable type."""
        ...

    def encode(self, event: Any) -> bytes: ...


def no_other_way(value: bytes | None, error: Exception) -> NoReturn:
    """For `read_all`: re-raise, so that the value is bad."""
    raise error


def read_all(
    decode: Callable[[Any], Any],
    values: Sequence[bytes | None],
    again: Callable[[Any, Exception], Any],
    defect_of: Callable[[bytes | None, Exception], Defect],
) -> Read:
    """``decode`` raises `DECODE_ERRORS` for a bad value. ``again`` tries it another way, or raises
    the final error."""
    events: list[Any] = []
    failed: dict[int, Defect] = {}
    decoded: Iterable[Any] = map(decode, values)
    while True:
        try:
            # `extend` keeps what it appended before an exception, so it can be resumed.
            events.extend(decoded)
        except DECODE_ERRORS as error:
            index = len(events) + len(failed)
            try:
                events.append(again(values[index], error))
            except DECODE_ERRORS as final:
                failed[index] = defect_of(values[index], final)
                # The traceback's frames keep the batch in memory until a collection.
                final.__traceback__ = None
        else:
            return Read(events, failed)


def guarded(decode: BatchDecoder) -> BatchDecoder:
    """If ``decode`` raises, values are decoded one by one, and each that raises, or gives neither
    event nor defect, is refused as `codec_failed`. Errors of the engine's tree and MemoryError pass
    through."""

    def read(values: Sequence[bytes | None]) -> Read:
        try:
            found = decode(values)
        except (DiaError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one value's fault
            if len(values) == 1:
                what = f"the codec raised {type(error).__name__}: {error}"
                return Read([], {0: defect(CodecFailed.code, "$", what)})
            return _one_by_one(values)
        if len(found.events) + len(found.failed) == len(values):
            return found
        if len(values) == 1:
            what = f"the codec gave {len(found.events)} events for one value"
            return Read([], {0: defect(CodecFailed.code, "$", what)})
        return _one_by_one(values)

    def _one_by_one(values: Sequence[bytes | None]) -> Read:
        events: list[Any] = []
        failed: dict[int, Defect] = {}
        for index, value in enumerate(values):
            alone = read([value])
            events += alone.events
            failed.update((index, why) for why in alone.failed.values())
        return Read(events, failed)

    return read
