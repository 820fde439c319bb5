"""A record of a source topic as a trace reads it: its event, its identity, and why it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from streams.core.records import headers
from streams.core.records.bad_records import IdempotencyConflict, TenantOverQuota
from streams.core.records.faust_values import plain
from streams.core.topics.topic import Topic, fields_of
from streams.core.types import Headers, RecordBatch, TopicPartition
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.decode.codecs import Limits, decode, settled
from streams.operate.dlq.dead_letter import PROCESS_STAGE, tenant_in, tenant_named
from streams.operate.trace.needles import needles

Identity: TypeAlias = tuple[str, str | bytes]
"""Tenant and id; the value of an event without an id."""

BY_PLACE, BY_KEY, BY_BYTES, BY_IDENTITY = "place", "key", "bytes", "identity"
_FORGETTING = frozenset({IdempotencyConflict.code, TenantOverQuota.code})
"""An agent refuses these before it remembers the id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRecord:
    """``fields``: of the event; None where the record cannot be decoded, because of ``refusal``
    (code and message). ``found_by``: names of the fields or headers that have the text, or one of
    the constants above. Times are milliseconds since the epoch."""

    topic: Topic
    tp: TopicPartition
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    fields: Mapping[str, Any] | None
    refusal: tuple[str, str] | None
    event_ms: int | None
    tenant: str
    identity: Identity | None
    found_by: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.tp}/{self.offset}"

    @property
    def replay_of(self) -> str:
        """The id of the dead letter that it replays; "" for a first append."""
        return (headers.last(self.headers, headers.REPLAY_ID) or b"").decode(errors="replace")

    def with_reason(self, found_by: tuple[str, ...]) -> TracedRecord:
        return replace(self, found_by=found_by)

    def named_by(self, text: str) -> tuple[str, ...]:
        """The fields and headers that have exactly this value."""
        found = [name for name, value in (self.fields or {}).items() if _is(value, text)]
        raw = text.encode()
        if self.key == raw:
            found.append(BY_KEY)
        own = (headers.REPLAY_PLAN, headers.REPLAY_ID, headers.REPLAY_SHED)
        found += [name for name in own if headers.last(self.headers, name) == raw]
        if self.fields is None and any(form in (self.value or b"") for form in needles(text)):
            found.append(BY_BYTES)
        return tuple(found)

    def belongs_to(self, owner: str) -> bool:
        """Whether a tenant may see it. A record whose key and value name two tenants is visible to
        neither."""
        return self.tenant == owner and tenant_named(self.value) in ("", owner)


def _is(value: Any, text: str) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value) == text


async def records_of(
    topic: Topic, agent: Agent | None, batch: RecordBatch, limits: Limits
) -> list[TracedRecord]:
    """The records of a batch of ``topic``, decoded by its codec.

    Raises `SchemaRegistryUnavailable`.
    """
    decoded = await settled(lambda: decode(topic, batch, limits))
    good = range(len(batch)) if decoded.positions is None else decoded.positions
    events = dict(zip(good, decoded.events, strict=True))
    times = dict(zip(good, decoded.event_ms.tolist(), strict=True))
    bad = {one.position: (one.code, one.message) for one in decoded.bad}
    found = []
    for row, offset in enumerate(batch.offsets):
        key, value, event = batch.keys[row], batch.values[row], events.get(row)
        fields = None if row in bad else _fields(topic, event)
        found.append(
            TracedRecord(
                topic=topic,
                tp=batch.tp,
                offset=offset,
                append_ms=batch.timestamps[row],
                key=key,
                value=value,
                headers=batch.headers[row],
                fields=fields,
                refusal=bad.get(row),
                event_ms=times.get(row),
                tenant=_tenant(topic, key, value, fields),
                identity=None if row in bad else identity_of(agent, event, fields or {}, value),
            )
        )
    return found


def identity_of(
    agent: Agent | None, event: Any, fields: Mapping[str, Any], value: bytes | None
) -> Identity | None:
    """What the agent knows repeats by; None for one that drops none."""
    if isinstance(agent, JobAgent):
        asked = agent.ask(event)
        return asked.tenant, asked.key
    ids = agent.ids if isinstance(agent, AgentSpec) else ""
    if not ids:
        return None
    named = fields.get(ids)
    return tenant_in(fields), (value or b"") if named is None else str(named)


def keeps_id(agent: Agent | None, stage: str, code: str) -> bool:
    """Whether the agent remembers the id of a record that it dead-letters with this code."""
    if isinstance(agent, WindowAgent) or stage != PROCESS_STAGE:
        return False
    return code not in _FORGETTING


def identity_needles(identity: Identity) -> Sequence[bytes]:
    named = identity[1]
    return [named] if isinstance(named, bytes) else needles(named)


def _fields(topic: Topic, event: Any) -> Mapping[str, Any]:
    found = plain(event)
    if isinstance(found, dict):
        return {str(name): value for name, value in found.items()}
    names = fields_of(topic.type) or getattr(event, "__struct_fields__", ())
    return {name: getattr(event, name) for name in names if hasattr(event, name)}


def _tenant(
    topic: Topic, key: bytes | None, value: bytes | None, fields: Mapping[str, Any] | None
) -> str:
    if fields is not None:
        return tenant_in(fields)
    if topic.key_is_tenant:
        return (key or b"").decode(errors="replace")
    return tenant_named(value)
