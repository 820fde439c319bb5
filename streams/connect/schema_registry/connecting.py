"""Connects the codecs of an app to the schema registry."""

from __future__ import annotations

from collections.abc import Iterable

from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.formats.registry_codec import RegistryCodec
from streams.core.formats.schema_source import SchemaSource
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topic import Topic


def registry_codecs(topics: Iterable[Topic]) -> list[RegistryCodec]:
    return [topic.codec for topic in topics if isinstance(topic.codec, RegistryCodec)]


def connect(topics: Iterable[Topic], source: SchemaSource) -> None:
    """Replaces the source of an earlier call."""
    for codec in registry_codecs(topics):
        codec.source = source


def connect_to(settings: Settings, topics: Iterable[Topic], clock: Clock, metrics: Metrics) -> None:
    """Sends no request before a schema is needed. Raises as `check_named`."""
    found = [*topics]
    if registry_codecs(found):
        # An app without a schema registry does not load the HTTP client.
        from streams.connect.schema_registry.http import HttpRegistry
        from streams.connect.schema_registry.registry import SchemaRegistry

        check_named(settings, found)
        connect(found, SchemaRegistry(HttpRegistry.from_settings(settings), clock, metrics))


def check_named(settings: Settings, topics: Iterable[Topic]) -> None:
    """Raises `UsageError` when a topic needs a schema registry and no address is set."""
    needing = [topic.name for topic in topics if isinstance(topic.codec, RegistryCodec)]
    if needing and not settings.schema_registry_url:
        raise UsageError(
            f"topic {needing[0]} has a codec that needs a schema registry. Set "
            f"DIA_SCHEMA_REGISTRY_URL=http://host:port."
        )
