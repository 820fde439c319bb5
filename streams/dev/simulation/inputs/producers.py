"""Feeds the simulated source: good and bad records, repeats, conflicts, and another program's open
transactions."""

from __future__ import annotations

import json
import random

from agents.app import MODEL_METRICS
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import DiaError
from streams.core.types import OutboundRecord, TopicPartition, TransactionalProducer
from streams.dev.simulation.world import World

Record = tuple[bytes, bytes]

OLD_MS = 6 * 86_400_000 + 43_200_000
"""too late for m1 (retention 8 days), but accepted"""
_HOUR_MS = 3_600_000
_LAGS_MS = (
    *(0, 0, 0, 0, 0, 0, 20_000, 20_000, 90_000, 400_000, -20_000, -20_000),
    *(3 * _HOUR_MS, 5 * _HOUR_MS, 27 * _HOUR_MS, OLD_MS, -10_000_000),
)
TENANTS = ("t0", "t1", "t2", "t3")
_BEYOND_GRACE_MS = 90_000
_BAD_VALUES = (b"{", b"", b"\xff", b'{"tenant_id": "t0"}', b"[1]")


class Producers:
    """Sent records are read from the log, never from here."""

    topic = MODEL_METRICS.name
    at_once = 12

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.sent: list[Record] = []
        self.number = 0
        self._stranger: TransactionalProducer | None = None

    async def send_some(self) -> None:
        """One by one, until the broker is unavailable."""
        producer = self.world.broker.plain_producer()
        for key, value in [self.record() for _ in range(self.rng.randint(0, self.at_once))]:
            try:
                await (await producer.send(self.topic, key, value))
            except DiaError:
                return
            self.sent.append((key, value))

    async def hurry(self) -> None:
        """Close open windows: 90 seconds later, append an undecodable record to every partition."""
        self.world.jump_clocks(_BEYOND_GRACE_MS)
        producer = self.world.broker.plain_producer()
        keys = [tenant.encode() for tenant in TENANTS]
        await (await producer.send_many(self.topic, keys, [_BAD_VALUES[0]] * len(keys)))

    async def stranger(self) -> None:
        """Begin another program's transaction, or commit or abort it."""
        stranger, self._stranger = self._stranger, None
        try:
            if stranger is None:
                self._stranger = await self._begin()
            elif self.rng.random() < 0.6:
                await stranger.commit()
            else:
                await stranger.abort()
        except DiaError:
            return  # the broker aborts it at its timeout

    async def _begin(self) -> TransactionalProducer:
        stranger = self.world.broker.transactional_producer("stranger")
        await stranger.start()
        await stranger.begin()
        for _ in range(self.rng.randint(1, 3)):
            key, value = self.record()
            tp = TopicPartition(self.topic, partition_of(key, self.world.partitions))
            await (await stranger.send(OutboundRecord(tp, key, value)))
            self.sent.append((key, value))
        return stranger

    def record(self) -> Record:
        rng = self.rng
        draw = rng.random()
        if self.sent and draw < 0.15:
            return rng.choice(self.sent[-60:])
        if self.sent and draw < 0.18:
            return self._conflict(rng.choice(self.sent[-20:]))
        if draw < 0.22:
            return b"t0", rng.choice(_BAD_VALUES)
        self.number += 1
        tenant = rng.choice(TENANTS)
        event = {
            "event_id": f"e{self.number}",
            "tenant_id": tenant,
            "model_id": rng.choice(("m0", "m1")),
            "metric": "x",
            "ts": self.world.clock.now_ms() - rng.choice(_LAGS_MS),
            "value": rng.choice((0.0, -1.5, rng.random(), 1e6)),
        }
        if rng.random() < 0.1:
            del event["event_id"]
        if rng.random() < 0.2:
            event["run_id"] = rng.choice(("r0", "r1"))
        key = tenant if rng.random() > 0.02 else "somebody"
        return key.encode(), json.dumps(event).encode()

    def _conflict(self, record: Record) -> Record:
        try:
            event = json.loads(record[1])
            return record[0], json.dumps({**event, "value": 77.0}).encode()
        except (ValueError, TypeError):
            return record
