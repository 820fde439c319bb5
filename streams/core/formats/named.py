"""Codecs by name. Avro, Protobuf and JSON Schema need optional packages, so their modules are
imported on first use."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from streams.core.errors import UsageError
from streams.core.formats.codec import Codec
from streams.core.formats.plain_codecs import JSON, MessagePackCodec, RawCodec

_NAMED: Final[Mapping[str, Codec]] = {
    codec.name: codec for codec in (JSON, MessagePackCodec(), RawCodec())
}


class _Optional(NamedTuple):
    module: str
    declaration: str
    package: str
    extra: str


OPTIONAL: Final = {
    "avro": _Optional("streams.core.formats.avro_codec", "Avro", "fastavro", "avro"),
    "protobuf": _Optional(
        "streams.core.formats.protobuf_codec", "Protobuf", "protobuf", "protobuf"
    ),
    "json_schema": _Optional(
        "streams.core.formats.json_schema_codec", "JsonSchema", "jsonschema-rs", "json-schema"
    ),
}
"""codecs of a schema registry"""


def declaration(name: str) -> Any:
    """Raises `UsageError` without the codec's package."""
    wanted = OPTIONAL[name]
    try:
        module = import_module(wanted.module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("streams"):
            raise
        raise UsageError(
            f"the codec {name} needs the package {wanted.package}: pip install "
            f"'dia-streams[{wanted.extra}]'."
        ) from None
    return getattr(module, wanted.declaration)


def codec_of(named: str | Codec | SchemaFormat, topic: str, value_type: Any) -> Codec:
    """By name or as given. Raises `UsageError` for any other object, and for a format that cannot
    write ``value_type``."""
    if isinstance(named, str):
        if named in OPTIONAL:
            return codec_of(declaration(named)(), topic, value_type)
        if named not in _NAMED:
            raise UsageError(
                f"there is no codec {named!r}. Name one of {', '.join([*_NAMED, *OPTIONAL])}, or "
                f"give an object of the protocol streams.Codec."
            )
        return _NAMED[named]
    if isinstance(named, SchemaFormat):
        return named.codec(topic, value_type)
    if not isinstance(named, Codec):
        raise UsageError(
            f"{named!r} is no codec: it needs name, text, decoder and encode (streams.Codec)."
        )
    return named


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
