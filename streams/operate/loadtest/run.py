"""One load test, from its file to its record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from streams.core.clock import Clock
from streams.core.words.moments import span_s
from streams.operate.loadtest.event_template import EventTemplate, Placeholders, Text
from streams.operate.loadtest.exactness import ExactnessCheck, ExactnessReport
from streams.operate.loadtest.file import PROBES, LoadFlow, LoadTestFile
from streams.operate.loadtest.freshness import ProbeSender
from streams.operate.loadtest.http_target import HttpTarget
from streams.operate.loadtest.open_loop import Horizon, OpenLoop, Send
from streams.operate.loadtest.record import LoadTestRecord, flow_result
from streams.operate.loadtest.recorder import FlowRecord, RequestOutcome, together
from streams.operate.loadtest.schedule import Floats, due_times
from streams.operate.loadtest.verdict import judged

_TOLD_EVERY_S: Final = 1.0


class Addresses(NamedTuple):
    edge: str
    console: str
    token: str


class LoadTestProgress(NamedTuple):
    """Of requests of all flows; ``due``: in the whole test."""

    due: int
    done: int
    failed: int
    open: int
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class _RunningFlow:
    loop: OpenLoop
    record: FlowRecord
    due_s: Floats
    send: Send


class LoadTestRun:
    """One run of ``test``. `stop` ends it early; its record then says so."""

    def __init__(self, test: LoadTestFile, at: Addresses, clock: Clock) -> None:
        self._test = test
        self._at = at
        self._clock = clock
        self._began_ms = clock.now_ms()
        began = datetime.fromtimestamp(self._began_ms / 1000, UTC)
        self.name = f"{began:%Y%m%dT%H%M%S}-{test.name}"
        self._horizon: Horizon | None = None

    def stop(self) -> None:
        if self._horizon is not None:
            self._horizon.stop()

    async def run(self, tell: Callable[[LoadTestProgress], None]) -> LoadTestRecord:
        """``tell`` gets the progress each second. Raises `UsageError` for unfit placeholders and
        addresses, `DependencyUnreachable` where the edge or the console does not answer."""
        test = self._test
        timeout_s = float(span_s(test.timeout, "timeout"))
        open_max = test.in_flight * (len(test.flow) + 1)
        async with HttpTarget(
            self._at.edge, self._at.console, self._at.token, timeout_s, open_max
        ) as target:
            posts = any(flow.post for flow in test.flow) or test.freshness is not None
            await target.require_there(edge=posts)
            checking = ExactnessCheck(target, self._clock, shared=test.shared, seed=test.seed)
            if test.thresholds.exact:
                await checking.begin()
            self._horizon = horizon = Horizon(
                self._clock, test.duration_s, span_s(test.drain, "drain")
            )
            flows = self._flows(target, horizon)
            await _drive(flows, tell)
            sent_s = min(float(test.duration_s), horizon.due_until_s)
            exactness: ExactnessReport | None = None
            if test.thresholds.exact:
                wait_s = span_s(test.exact_wait, "exact_wait")
                exactness = await checking.report(wait_s, lambda: horizon.stopped)
        return self._record(flows, sent_s, exactness, interrupted=horizon.stopped)

    def _flows(self, target: HttpTarget, horizon: Horizon) -> dict[str, _RunningFlow]:
        test = self._test
        found: dict[str, _RunningFlow] = {}
        seeds = np.random.SeedSequence(test.seed).spawn(len(test.flow))
        for flow, seed in zip(test.flow, seeds, strict=True):
            arrivals = np.random.default_rng(seed) if test.arrivals == "poisson" else None
            due_s = due_times(flow.rate_per_s, test.duration_s, test.ramp_s, arrivals)
            # events of a later run differ
            rng = random.Random(f"{test.seed} {flow.name} {self._began_ms}")
            send = sender(flow, target, Placeholders(self.name, rng, self._clock), rng)
            record = FlowRecord(test.duration_s)
            loop = OpenLoop(horizon, test.in_flight, record)
            found[flow.name] = _RunningFlow(loop, record, due_s, send)
        if test.freshness is not None:
            every_s = span_s(test.freshness.every, "freshness.every")
            due_s = due_times(1 / every_s, test.duration_s, 0, None)
            wait_s = span_s(test.freshness.wait, "freshness.wait")
            probes = ProbeSender(target, test.freshness, wait_s, self.name, self._clock)
            record = FlowRecord(test.duration_s)
            loop = OpenLoop(horizon, test.in_flight, record)
            found[PROBES] = _RunningFlow(loop, record, due_s, probes.send)
        return found

    def _record(
        self,
        flows: Mapping[str, _RunningFlow],
        sent_s: float,
        exactness: ExactnessReport | None,
        *,
        interrupted: bool,
    ) -> LoadTestRecord:
        test = self._test
        records = {flow.name: flows[flow.name].record for flow in test.flow}
        probes = flows[PROBES].record if PROBES in flows else None
        every = together(records.values(), test.duration_s)
        return LoadTestRecord(
            run=self.name,
            name=test.name,
            began_ms=self._began_ms,
            duration_s=test.duration_s,
            ramp_s=test.ramp_s,
            sent_s=round(sent_s, 3),
            edge=self._at.edge,
            console=self._at.console,
            interrupted=interrupted,
            sender_late_s=round(max(flow.loop.late_s for flow in flows.values()), 3),
            flows=[flow_result(flow.name, flow.note, records[flow.name]) for flow in test.flow],
            freshness=None if probes is None else flow_result(PROBES, "", probes),
            exactness=exactness,
            thresholds=judged(test, records, every, probes, exactness, sent_s),
        )


async def _drive(
    flows: Mapping[str, _RunningFlow], tell: Callable[[LoadTestProgress], None]
) -> None:
    telling = asyncio.create_task(_tell(flows, tell))
    try:
        async with asyncio.TaskGroup() as group:
            for flow in flows.values():
                group.create_task(flow.loop.run(flow.due_s, flow.send))
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    tell(_progress(flows))


async def _tell(
    flows: Mapping[str, _RunningFlow], tell: Callable[[LoadTestProgress], None]
) -> None:
    while True:
        tell(_progress(flows))
        await asyncio.sleep(_TOLD_EVERY_S)


def _progress(flows: Mapping[str, _RunningFlow]) -> LoadTestProgress:
    mine = [flow for name, flow in flows.items() if name != PROBES]
    latencies = [one for flow in mine if (one := flow.record.quantile_s(0.95)) is not None]
    return LoadTestProgress(
        due=sum(len(flow.due_s) for flow in mine),
        done=sum(flow.record.requests for flow in mine),
        failed=sum(int(flow.record.failed.sum()) for flow in mine),
        open=sum(flow.loop.open for flow in mine),
        p95_ms=round(1000 * max(latencies), 1) if latencies else None,
    )


def sender(flow: LoadFlow, target: HttpTarget, places: Placeholders, rng: random.Random) -> Send:
    """Makes and sends one request of ``flow``. Raises `UsageError` for unknown placeholders."""
    if flow.post:
        template = EventTemplate(flow.event, places, f"flow {flow.name}: event")

        async def post() -> RequestOutcome:
            return await target.post(flow.post, [template.make() for _ in range(flow.batch)])

        return post
    asks = [
        partial(
            _ask,
            target,
            one.path,
            {
                name: Text.of(value, places, f"flow {flow.name}: query.{name}")
                for name, value in one.query.items()
            },
        )
        for one in flow.get
    ]
    weights = [one.weight for one in flow.get]

    async def ask() -> RequestOutcome:
        return await rng.choices(asks, weights)[0]()

    return ask


async def _ask(target: HttpTarget, path: str, query: Mapping[str, Text]) -> RequestOutcome:
    return await target.ask(path, {name: text.drawn() for name, text in query.items()})
