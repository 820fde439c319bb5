"""The protocol of declarations of registry codecs: `Avro`, `Protobuf`, `JsonSchema`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from streams.core.formats.codec import Codec


@runtime_checkable
class SchemaFormat(Protocol):
    """Declared by the user and bound to a topic."""

    @property
    def subject(self) -> str:
        """ "": ``{topic}-value``."""
        ...

    @property
    def register(self) -> bool:
        """Whether a missing schema is registered."""
        ...

    def codec(self, topic: str, value_type: Any) -> Codec:
        """Raises `UsageError` for a type without a schema."""
        ...
