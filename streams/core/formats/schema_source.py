"""The part of a schema registry that is in memory. A missing schema raises `Pending`, whose
``obtain`` queries the registry; the caller then retries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple, NoReturn, Protocol, TypeAlias

from streams.core.errors import UsageError

SchemaKind: TypeAlias = Literal["AVRO", "PROTOBUF", "JSON"]


class RegisteredSchema(NamedTuple):
    """``references`` are the schemas its text names, by name, each behind its own references."""

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class SchemaReference(NamedTuple):
    """Another registered schema, named ``name`` in the text."""

    name: str
    subject: str
    version: int


class Subject(NamedTuple):
    """A schema to write with. ``register``: register it if missing."""

    name: str
    kind: SchemaKind
    text: str
    register: bool = True
    references: tuple[SchemaReference, ...] = ()


class SchemaSource(Protocol):
    def by_id(self, ids: Collection[int]) -> Mapping[int, RegisteredSchema | None]:
        """None where the registry has no such schema. Raises `SchemaPending`."""
        ...

    def id_of(self, subject: Subject) -> int:
        """Raises `SubjectPending`."""
        ...


class Unconnected:
    def by_id(self, ids: Collection[int]) -> NoReturn:
        raise _NO_REGISTRY

    def id_of(self, subject: Subject) -> NoReturn:
        raise _NO_REGISTRY


_NO_REGISTRY = UsageError(
    "a topic of this app has a codec that needs a schema registry, and none is known. Set "
    "DIA_SCHEMA_REGISTRY_URL."
)
