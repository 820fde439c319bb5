"""Base of all codecs with a schema registry.

A declaration (`Avro`, `Protobuf`, `JsonSchema`) creates the codec of a topic; each process connects
it (streams/connect/schema_registry/connecting.py). An unknown schema id, and a schema or body that
does not fit, make dead letters; an unavailable registry raises `SchemaPending`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeAlias

from cachetools import LRUCache

from streams.core.errors import DiaError
from streams.core.formats.codec import BatchDecoder, Codec, Read
from streams.core.formats.plain_codecs import JSON
from streams.core.formats.schema_source import (
    RegisteredSchema,
    SchemaKind,
    SchemaSource,
    Subject,
    Unconnected,
)
from streams.core.formats.wire_format import header, schema_id
from streams.core.records.bad_records import (
    EmptyValue,
    IncompatibleSchema,
    InvalidFrame,
    UnknownSchemaId,
    ValueRefused,
)
from streams.core.records.defects import Defect, defect

COMPILED_MAX: Final = 1000
"""per topic"""

ValueReader: TypeAlias = Callable[[bytes], Any]
"""A whole value, header included, to its event. Raises `Unfit`, `ValueError` or `TypeError`."""


class Unfit(ValueError):  # noqa: N818 - what was found out
    """Why a value, or every value of a schema, has no event."""

    def __init__(self, found: Defect) -> None:
        super().__init__(found.message)
        self.found = found


def incompatible(what: str) -> Unfit:
    return Unfit(defect(IncompatibleSchema.code, "$", what))


class RegistryCodec(ABC):
    kind: ClassVar[SchemaKind]
    name: ClassVar[str]
    text: ClassVar[bool] = False
    errors: ClassVar[tuple[type[Exception], ...]] = (
        ValueError, TypeError, RecursionError, LookupError, ArithmeticError, EOFError,
    )  # fmt: skip
    """What a reader raises for a bad body."""

    def __init__(self, topic: str, value_type: Any, writer: Subject | None) -> None:
        """``writer``: the schema to write with; None for a topic that can only be read."""
        self.topic = topic
        self.value_type = value_type
        self.writer = writer
        self.source: SchemaSource = Unconnected()

    @abstractmethod
    def reader(self, value_type: Any, schema: RegisteredSchema) -> ValueReader:
        """Compiled once per schema. Raises `Unfit` for a schema that does not fit the type."""

    @abstractmethod
    def body(self, event: Any) -> bytes:
        """Behind the header. Raises any exception for an event that does not fit."""

    @abstractmethod
    def unfit(self, error: Exception) -> Defect:
        """The defect of a value whose reader raised ``error``."""

    @abstractmethod
    def check(self, value_type: Any) -> None:
        """Raises `UsageError` or `TypeError` for a type that values cannot be read as."""

    @property
    def documents(self) -> Codec:
        """The codec in which people and HTTP clients write events."""
        return JSON

    def decoder(self, value_type: Any) -> BatchDecoder:
        self.check(value_type)
        compiled: LRUCache[int, ValueReader | Defect] = LRUCache(COMPILED_MAX)

        def decode(values: Sequence[bytes | None]) -> Read:
            ids = [schema_id(value) for value in values]
            ways = {
                one: way
                for one in dict.fromkeys(ids)
                if one is not None and (way := compiled.get(one)) is not None
            }
            missing = {one for one in ids if one is not None and one not in ways}
            if missing:
                for one, schema in self.source.by_id(missing).items():
                    ways[one] = self._way(value_type, one, schema)
                    if schema is not None:
                        compiled[one] = ways[one]
            return self._read(values, ids, ways)

        return decode

    def encode(self, event: Any) -> bytes:
        if self.writer is None:
            raise ValueRefused(
                f"topic {self.topic} cannot be written: its type has no schema. Declare its codec with "
                f"schema=, or the topic with another value_type."
            )
        return self.framed(self.source.id_of(self.writer), event)

    def framed(self, number: int, event: Any) -> bytes:
        """The value of ``event`` with schema id ``number``. Raises `ValueRefused`."""
        try:
            return header(number) + self.body(event)
        except DiaError:
            raise
        except Exception as error:
            raise ValueRefused(
                f"topic {self.topic}: this value cannot be written as {self.kind}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _way(self, value_type: Any, named: int, schema: RegisteredSchema | None) -> Any:
        if schema is None:
            what = f"the schema registry has no schema {named}"
            return defect(UnknownSchemaId.code, "$", what)
        if schema.kind != self.kind:
            what = f"schema {named} is one of {schema.kind}, and the topic is {self.kind}"
            return defect(IncompatibleSchema.code, "$", what)
        try:
            return self.reader(value_type, schema)
        except Unfit as why:
            return why.found
        except DiaError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library raises for a foreign schema
            what = f"schema {named} cannot be used: {type(error).__name__}: {error}"
            return defect(IncompatibleSchema.code, "$", what)

    def _read(self, values: Sequence[bytes | None], ids: Sequence[int | None], ways: Any) -> Read:
        events: list[Any] = []
        failed: dict[int, Defect] = {}
        for index, (value, named) in enumerate(zip(values, ids, strict=True)):
            way = _unframed(value) if named is None else ways[named]
            if isinstance(way, Defect):
                failed[index] = way
                continue
            try:
                events.append(way(value))
            except Unfit as why:
                failed[index] = why.found
                why.__traceback__ = None
            except self.errors as error:
                failed[index] = self.unfit(error)
                # The traceback's frames keep the value and the batch in memory.
                error.__traceback__ = None
        return Read(events, failed)


def _unframed(value: bytes | None) -> Defect:
    if not value:
        return defect(EmptyValue.code, "$", "expected a schema id and a body, got no value")
    what = f"expected the byte 0 and a schema id of 4 bytes, got {value[:5].hex(' ')}"
    return defect(InvalidFrame.code, "$", what)
