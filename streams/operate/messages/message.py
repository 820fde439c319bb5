"""One record of any topic, decoded as far as the app declares it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from streams.core.records import headers
from streams.core.records.faust_values import plain
from streams.core.topics.topic import Topic, fields_of
from streams.core.topics.topology import Topology
from streams.core.types import Headers, RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, decode, settled
from streams.operate.dlq.dead_letter import tenant_in, tenant_named

_CODE = headers.DLQ_PREFIX + "error_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMessage:
    """``event``: the decoded value, plain JSON types where they suffice; None where nothing reads it.
    ``refusal``: why its topic's codec refuses it, "" otherwise. ``code``: the error code of a dead
    letter. ``at_ms``: its timestamp in milliseconds since the epoch. ``key_tenant``: what its key
    names, where the keys of its topic are tenants."""

    tp: TopicPartition
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    event: Any
    refusal: str
    tenant: str
    code: str
    key_tenant: str | None = None

    def belongs_to(self, owner: str) -> bool:
        """Whether a tenant may see it. A record whose key and value name two tenants is visible to
        neither."""
        named = (self.tenant, tenant_named(self.value) or owner, self.key_tenant or owner)
        return all(one == owner for one in named)

    def fields(self) -> dict[str, Any]:
        """As one JSON object; bytes that are not UTF-8 as ``base64:...``."""
        return {
            "topic": self.tp.topic,
            "partition": self.tp.partition,
            "offset": self.offset,
            "at_ms": self.at_ms,
            "key": _text(self.key),
            "value": self.event if self.event is not None else _text(self.value),
            "refusal": self.refusal,
            "headers": [[name, _text(content)] for name, content in self.headers],
        }


async def messages_of(batch: RecordBatch, topology: Topology, limits: Limits) -> list[TopicMessage]:
    """The records of a batch of any topic, by the codec of its topic or of the source of its DLQ.

    Raises `SchemaRegistryUnavailable`.
    """
    topic = source_of(batch.tp.topic, topology)
    events: dict[int, Any] = {}
    refusals: dict[int, str] = {}
    if topic is not None and len(batch):
        decoded = await settled(lambda: decode(topic, batch, limits))
        good = range(len(batch)) if decoded.positions is None else decoded.positions
        events = dict(zip(good, decoded.events, strict=True))
        refusals = {one.position: f"{one.code}: {one.message}" for one in decoded.bad}
    found = []
    for row, offset in enumerate(batch.offsets):
        key, value, said = batch.keys[row], batch.values[row], batch.headers[row]
        event = _plain(topic, events[row]) if row in events else _json(value)
        found.append(
            TopicMessage(
                tp=batch.tp,
                offset=offset,
                at_ms=batch.timestamps[row],
                key=key,
                value=value,
                headers=said,
                event=event,
                refusal=refusals.get(row, ""),
                tenant=_tenant(topic, key, value, event),
                code=(headers.last(said, _CODE) or b"").decode(errors="replace"),
                key_tenant=_key_tenant(topic, key),
            )
        )
    return found


def source_of(name: str, topology: Topology) -> Topic | None:
    """The source topic whose codec reads a topic's values: itself, or that of a DLQ or a parking
    lot."""
    by_parked = {topic.parked: topic for topic in topology.topics}
    return topology.by_name.get(name) or topology.by_dlq.get(name) or by_parked.get(name)


def _plain(topic: Topic | None, event: Any) -> Any:
    found = plain(event)
    try:
        return msgspec.to_builtins(found)
    except (TypeError, ValueError):
        names = () if topic is None else fields_of(topic.type)
        return {name: _json_like(getattr(found, name, None)) for name in names}


def _json_like(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _json(value: bytes | None) -> Any:
    try:
        return json.loads(value or b"")
    except (ValueError, RecursionError):
        return None


def _tenant(topic: Topic | None, key: bytes | None, value: bytes | None, event: Any) -> str:
    if isinstance(event, Mapping) and (named := tenant_in(event)):
        return named
    found = _key_tenant(topic, key)
    return tenant_named(value) if found is None else found


def _key_tenant(topic: Topic | None, key: bytes | None) -> str | None:
    if topic is None or not topic.key_is_tenant:
        return None
    return (key or b"").decode(errors="replace")


def _text(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(raw).decode()}"
