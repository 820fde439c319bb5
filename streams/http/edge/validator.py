"""Validates events, stores the valid ones, and reports the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from typing import Any, NamedTuple

from streams.connect.access.refusals import Forbidden, SourceUnavailable, UnknownResource
from streams.connect.access.tokens import AccessToken
from streams.core.clock import Clock
from streams.core.errors import SchemaRefused, SchemaRegistryUnavailable
from streams.core.records.headers import UNNAMED_VERSION
from streams.core.telemetry.http_metrics import EdgeMetrics
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.engine.decode.codecs import BadPosition, Decoded, Limits, outgoing, settled
from streams.http.edge.exchange import REJECTED_MAX, Stored
from streams.http.edge.topic_publisher import TopicPublisher
from streams.http.edge.validation_cost import AT_ONCE_EVENTS, LoopShare, ValidationCost, slices

TENANT_MISMATCH = "tenant_mismatch"


def topics_taken(topology: Topology) -> Mapping[str, Topic]:
    """Those that agents read, not those that agents only write."""
    return {topic.name: topic for topic in topology.consumed()}


class ValidationResult(NamedTuple):
    """``bad``: rejected events by position. The last ``not_judged`` events were not validated."""

    accepted: int
    stored: Stored
    bad: Sequence[BadPosition]
    not_judged: int = 0


@dataclass(slots=True)
class _Good:
    """Of the first ``until`` events of a body."""

    keys: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    bad: list[BadPosition] = field(default_factory=list)
    until: int = 0


class Validator:
    """Validates events as the pipeline does; the publisher of their topic stores the valid ones."""

    def __init__(
        self,
        topology: Topology,
        lanes: Mapping[str, TopicPublisher],
        clock: Clock,
        limits: Limits,
        metrics: EdgeMetrics,
        loop: LoopShare | None = None,
    ) -> None:
        """``lanes``: one for each of the `topics_taken` of ``topology``."""
        self._loop = loop or LoopShare()
        self.topics = topics_taken(topology)
        self.requests = frozenset(topology.answers)
        """topics whose events are job requests"""
        self.lanes = lanes
        self._clock = clock
        self._limits = limits
        self._metrics = metrics

    async def run(self) -> None:
        """Run the publishers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self.lanes.values():
                tasks.create_task(lane.run())

    def source(self, topic: str) -> Topic:
        """Raises `UnknownResource` for a topic that accepts no events from outside."""
        if topic not in self.lanes:
            raise UnknownResource(f"no topic {topic!r} takes events; {', '.join(self.lanes)} do")
        return self.topics[topic]

    def judging(self) -> ValidationCost:
        return ValidationCost(self._loop)

    async def take(
        self,
        source: Topic,
        values: list[bytes],
        token: AccessToken,
        judging: ValidationCost,
        traceparent: bytes = b"",
        version: int = UNNAMED_VERSION,
    ) -> ValidationResult:
        """Store the valid events of ``values``, all of schema ``version``, together, and report the
        others.

        Raises `Overloaded` and `NotStored` for all of them, and `Forbidden` for events without a
        tenant field when the token is bound to a tenant."""
        if source.tenant_field is None and token.tenant is not None:
            raise Forbidden(
                f"events of {source.name} name no tenant: only a token of every tenant posts them"
            )
        good = await self._judge(source, values, token, judging, version)
        self._count(source, good.bad)
        kept: Stored = "nowhere"
        if good.keys:
            kept = await self.lanes[source.name].keep(good.keys, good.sent, traceparent, version)
            self._metrics.events.labels(source.name).inc(len(good.keys))
        return ValidationResult(len(good.keys), kept, good.bad, len(values) - good.until)

    async def _judge(
        self,
        source: Topic,
        values: list[bytes],
        token: AccessToken,
        judging: ValidationCost,
        version: int,
    ) -> _Good:
        """Validate slice by slice, until `REJECTED_MAX` events are rejected."""
        found, now_ms = _Good(), self._clock.now_ms()
        for start, stop in slices(values, found.bad):
            if len(found.bad) >= REJECTED_MAX:
                break
            if start or stop > AT_ONCE_EVENTS:
                await judging.turn()
            piece = values if stop - start == len(values) else values[start:stop]
            decoded, keys, sent = await self._outgoing(source, piece, now_ms, version, judging)
            good = range(len(piece)) if decoded.positions is None else decoded.positions
            foreign = _foreign(source, zip(good, decoded.events, strict=True), token)
            bad = sorted([*decoded.bad, *foreign.values()])
            found.bad += [one._replace(position=start + one.position) for one in bad]
            found.until = stop
            judging.refused(len(bad), stop - start)
            if foreign:
                own = [i not in foreign for i in good]
                keys, sent = [*compress(keys, own)], [*compress(sent, own)]
            found.keys += keys
            found.sent += sent
        return found

    async def _outgoing(
        self, source: Topic, values: list[bytes], now_ms: int, version: int, judging: ValidationCost
    ) -> tuple[Decoded, list[bytes], list[bytes]]:
        def attempt() -> tuple[Decoded, list[bytes], list[bytes]]:
            judging.begin()  # excludes the schema registry's response time
            return outgoing(source, values, now_ms, self._limits, version)

        try:
            return await settled(attempt)
        except (SchemaRegistryUnavailable, SchemaRefused) as error:
            raise SourceUnavailable(
                f"events of {source.name} cannot be written now: {error}"
            ) from error

    def _count(self, source: Topic, bad: Sequence[BadPosition]) -> None:
        for code, count in Counter(found.code for found in bad).items():
            self._metrics.refused.labels(source.name, code).inc(count)


def _foreign(
    source: Topic, events: Iterable[tuple[int, Any]], token: AccessToken
) -> dict[int, BadPosition]:
    """Events of tenants that the token does not cover, by position."""
    if source.tenant_field is None:
        return {}
    tenant_of, path = attrgetter(source.tenant_field), f"$.{source.tenant_field}"
    found = {}
    for position, event in events:
        tenant = tenant_of(event)
        if not token.speaks_for(tenant):
            what = f"{path}: this token is not valid for tenant {tenant!r}"
            found[position] = BadPosition(position, TENANT_MISMATCH, what, path)
    return found
