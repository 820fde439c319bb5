"""A stream agent whose events wait, raise, hang, and write a table before and after.

It counts a tenant's events before and after its wait, and sends a record with each count: a lost,
partial or repeated event leaves a gap."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from agents.app import DIA_GROUP, MODEL_METRICS, SIMULATION_RESULT, TRAIN_RESULTS
from schemas.metric import ModelMetric
from streams.core.topics.current_stream import current
from streams.dev.simulation.checks.stream_check import WINDOW_S, check
from streams.dev.simulation.history import SETTINGS, Story
from streams.dev.simulation.inputs.producers import TENANTS, Producers, Record
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.stream import Event, Stream
from streams.engine.streams.windowed_table import WindowedDeclaration, WindowKey, windows_of

_WAITS_S = (0.0, 0.05, 0.3, 1.0)
_LAGS_MS = (*[0] * 8, 8_000, 12_000, 16_000, 19_000)
_KINDS = (*["plain"] * 10, *["slow"] * 4, "raise", "retry", "retry", "hang", "deaf")
_BAD_VALUES = (b"{", b"", b"\xff", b'{"tenant_id": "t0"}')
AGENT_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 1.5
_FAILING_CLOSES = 0.15
"""share of calls of `on_window_close`"""
_FOREVER_S = 1e6


class Events(Producers):
    """``metric`` selects the agent's behaviour."""

    at_once = 8

    def record(self) -> Record:
        rng = self.rng
        if rng.random() < 0.06:
            return b"t0", rng.choice(_BAD_VALUES)
        self.number += 1
        event = {
            "event_id": f"e{self.number}",
            "tenant_id": rng.choice(TENANTS),
            "model_id": "m",
            "metric": rng.choice(_KINDS),
            "ts": self.world.broker_clock.now_ms() - rng.choice(_LAGS_MS),
            "value": 1.0,
        }
        key = event["tenant_id"] if rng.random() > 0.02 else "somebody"
        return str(key).encode(), json.dumps(event).encode()


class _Body:
    """Its tables hold, by tenant, the number of begun events and the numbers of the last three
    completed; each slow event's number; and event-time windows."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.before = DeclaredTable("before", default=int)
        self.after = DeclaredTable("after", default=list)
        self.slow = DeclaredTable("slow", keys="any")
        self.windows = WindowedDeclaration(
            DeclaredTable("windows", default=int),
            windows_of("windows", WINDOW_S, WINDOW_S, WINDOW_S),
            self._close,
        )

    async def __call__(self, stream: Stream) -> None:
        rng = self._rng
        if rng.random() < 0.5:
            async for events in stream.take_events(rng.randint(1, 4), within=rng.choice(_WAITS_S)):
                for place, event in enumerate(events):
                    await self._handle(stream, event, place)
        else:
            async for event in stream.events():
                await self._handle(stream, event, 0)

    async def _handle(self, stream: Stream, event: Event, place: int) -> None:
        """``place``: number of events in front of it in one list, which complete together."""
        metric: ModelMetric = event.value
        tenant = metric.tenant_id
        self.before[tenant] += 1
        number = self.before[tenant]
        value = json.dumps([tenant, number, metric.event_id, place]).encode()
        stream.send(SIMULATION_RESULT, tenant, value, partition=event.message.partition)
        await self._act(metric.metric)
        self.after[tenant].append(number)
        del self.after[tenant][:-3]
        if metric.metric == "slow":
            self.slow[metric.event_id] = number
        self.windows.at(event)[tenant] += 1

    async def _close(self, key: WindowKey, count: int) -> None:
        tenant, (start_s, _) = key
        stream = current.get()
        await asyncio.sleep(self._rng.choice(_WAITS_S))
        value = json.dumps([tenant, int(start_s), count]).encode()
        stream.send(TRAIN_RESULTS, tenant, value, partition=stream.partition)
        if (drawn := self._rng.random()) < _FAILING_CLOSES:
            await self._act("raise" if drawn < _FAILING_CLOSES / 2 else "deaf")

    async def _act(self, kind: str) -> None:
        if kind == "slow":
            await asyncio.sleep(self._rng.choice(_WAITS_S))
        elif kind == "raise":
            raise ValueError("as the event says")
        elif kind == "retry" and self._rng.random() < 0.5:
            raise ConnectionError("as drawn")
        elif kind == "hang":
            await asyncio.sleep(_FOREVER_S)
        elif kind == "deaf":
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(_FOREVER_S)


def _agents(seed: int) -> Sequence[StreamAgent]:
    body = _Body(random.Random(f"agent {seed}"))
    return [
        StreamAgent(
            name="stream",
            source=MODEL_METRICS,
            group=DIA_GROUP,
            body=body,
            declared=(body.before, body.after, body.slow, body.windows),
        )
    ]


STREAM = Story(
    source=MODEL_METRICS,
    group=DIA_GROUP,
    settings=replace(
        SETTINGS,
        agent_timeout_s=AGENT_TIMEOUT_S,
        window_close_timeout_s=CLOSE_TIMEOUT_S,
        late_max_s=86_400,
        future_max_s=86_400,
    ),
    agents=_agents,
    producers=Events,
    check=check,
    shed_share=1 / 4,
    source_share=1 / 4,
    loss_share=1 / 12,
    quiet_share=1 / 4,
)
