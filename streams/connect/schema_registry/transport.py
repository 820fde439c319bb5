"""What a schema registry is asked, and the two ways of asking: over HTTP, or one in memory."""

from __future__ import annotations

from typing import Protocol

from streams.core.formats.schema_source import RegisteredSchema, Subject


class RegistryTransport(Protocol):
    """One question each; both raise `SchemaRegistryUnavailable` where there is no answer."""

    async def schema(self, schema_id: int) -> RegisteredSchema | None:
        """None: the registry has no schema of this id."""
        ...

    async def register(self, subject: Subject) -> int:
        """The id of the subject's schema. Raises `SchemaRefused` where the registry does not take
        it or, unless it is to be registered, does not have it."""
        ...
