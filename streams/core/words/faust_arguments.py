"""Arguments of Faust's `App` and `app.topic`: supported, ignored, refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from streams.core.errors import UnsupportedByDia, UsageError

_SETTINGS: Final = (
    "agent_supervisor", "autodiscover", "blocking_timeout", "broker", "canonical_url", "config_source",
    "consumer_", "cython_optimizations", "datadir", "debug", "env_prefix", "finalized", "id", "key_serializer",
    "logging_config", "loghandlers", "loop", "monitor", "node_hostname", "origin", "processing_guarantee",
    "producer_", "reply_", "ssl_context", "store", "stream_", "table_", "tabledir", "timezone",
    "topic_", "url", "value_serializer", "version", "web", "worker_",
)  # fmt: skip
"""Names and prefixes: broker, store and the like are settings of dia (`dia config show`)."""
_OF_TOPICS: Final = frozenset(
    {"acks", "allow_empty", "deleting", "has_prefix", "internal", "key_serializer",
     "key_type", "maxsize", "replicas", "value_serializer"}
)  # fmt: skip
DEFAULT_PARTITIONS: Final = 4


def partitions_of_app(app: str, given: Mapping[str, Any]) -> int:
    """Raises `UsageError` for an unknown argument, and `UnsupportedByDia` for values that are not
    JSON."""
    for name in given:
        if not any(name == known or (name.startswith(known)) for known in _SETTINGS):
            raise UsageError(f"App({app!r}) has no argument {name!r}.")
    _check_serializer(f"app {app}", given.get("value_serializer"))
    return int(given.get("topic_partitions") or DEFAULT_PARTITIONS)


def retention_ms_of_topic(topic: str, given: Mapping[str, Any], default_ms: int) -> int:
    """Raises as `partitions_of_app`."""
    if unknown := sorted(given.keys() - _OF_TOPICS - {"retention"}):
        raise UsageError(f"topic {topic} has no argument {unknown[0]!r}.")
    retention = given.get("retention")
    if retention is None:
        return default_ms
    seconds = retention.total_seconds() if isinstance(retention, timedelta) else float(retention)
    return int(seconds * 1000)


def _check_serializer(what: str, serializer: Any) -> None:
    if serializer not in (None, "json"):
        raise UnsupportedByDia(
            f"{what}: value_serializer={serializer!r} is not there. Values are JSON unless their topic "
            f"names another codec: app.topic(codec=...)."
        )
