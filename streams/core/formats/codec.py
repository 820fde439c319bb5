"""The protocol of a codec: a batch of values to events, an event to a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias, runtime_checkable

from streams.core.records.defects import Defect

DECODE_ERRORS = (ValueError, TypeError, RecursionError)
"""All that decoding arbitrary bytes, or the absence of any, was ever seen to raise: the errors of
msgspec and UnicodeDecodeError are ValueErrors."""


class Read(NamedTuple):
    """``events``: of each good value, in the order of the values. ``failed``: why each other value
    has none, by its index."""

    events: list[Any]
    failed: dict[int, Defect]


BatchDecoder: TypeAlias = Callable[[Sequence[bytes | None]], Read]
"""Raises for no bytes, whatever they are; a kind of `DiaError` where it cannot know, as while a
registry of schemas is away. A value is None where the record has none."""


@runtime_checkable
class Codec(Protocol):
    """How values of a topic are written. One object serves every partition of a process."""

    @property
    def name(self) -> str:
        """What listings call it."""
        ...

    @property
    def text(self) -> bool:
        """Whether every value is UTF-8; one that is not is refused as `invalid_utf8` then."""
        ...

    def decoder(self, value_type: Any) -> BatchDecoder:
        """Reads values as ``value_type``; made once for each topic and schema version. Raises
        `UsageError` for a type that cannot be read."""
        ...

    def encode(self, event: Any) -> bytes:
        """The value of an event."""
        ...


def no_other_way(value: bytes | None, error: Exception) -> NoReturn:
    """For `read_all`: a value that raised is bad."""
    raise error


def read_all(
    decode: Callable[[Any], Any],
    values: Sequence[bytes | None],
    again: Callable[[Any, Exception], Any],
    defect_of: Callable[[bytes | None, Exception], Defect],
) -> Read:
    """Every value through ``decode``, which raises `DECODE_ERRORS` for a bad one. ``again`` tries
    such a value another way, or raises why not."""
    events: list[Any] = []
    failed: dict[int, Defect] = {}
    decoded: Iterable[Any] = map(decode, values)
    while True:
        try:
            # What was appended before an exception stays in the list: `extend` is resumable.
            events.extend(decoded)
        except DECODE_ERRORS as error:
            index = len(events) + len(failed)
            try:
                events.append(again(values[index], error))
            except DECODE_ERRORS as final:
                failed[index] = defect_of(values[index], final)
                # The frames of its traceback hold it, and the batch: memory until a collection.
                final.__traceback__ = None
        else:
            return Read(events, failed)
