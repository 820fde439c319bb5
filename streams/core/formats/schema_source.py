"""What a codec asks of a schema registry, and gets from memory at once or not at all.

Encoding and decoding never wait. What is not in memory raises `Pending`, whose ``obtain`` asks
the registry; the caller tries again afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple, NoReturn, Protocol, TypeAlias

from streams.core.errors import UsageError

SchemaKind: TypeAlias = Literal["AVRO", "PROTOBUF", "JSON"]


class RegisteredSchema(NamedTuple):
    """A schema as the registry has it. ``references`` are the schemas that its text names, by the
    names it uses, each behind those that it names itself."""

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


class SchemaReference(NamedTuple):
    """Another schema of the registry that a schema names: as ``name``, in its text."""

    name: str
    subject: str
    version: int


class Subject(NamedTuple):
    """A schema to write with, under the name that the registry keeps its versions by.
    ``register``: it is registered where it is not yet; else only looked up."""

    name: str
    kind: SchemaKind
    text: str
    register: bool = True
    references: tuple[SchemaReference, ...] = ()


class SchemaSource(Protocol):
    """The registry, as far as it is in memory."""

    def by_id(self, ids: Collection[int]) -> Mapping[int, RegisteredSchema | None]:
        """The schema of each id; None where the registry has none. Raises `SchemaPending`."""
        ...

    def id_of(self, subject: Subject) -> int:
        """Raises `SubjectPending`."""
        ...


class Unconnected:
    """The source of a codec in a process that has no registry."""

    def by_id(self, ids: Collection[int]) -> NoReturn:
        raise _NO_REGISTRY

    def id_of(self, subject: Subject) -> NoReturn:
        raise _NO_REGISTRY


_NO_REGISTRY = UsageError(
    "a topic of this app has a codec that needs a schema registry, and none is known. Set "
    "DIA_SCHEMA_REGISTRY_URL."
)
