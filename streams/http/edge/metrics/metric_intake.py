"""From a body of metrics to stored events (docs/protocols/otlp.md, O2 to O5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from streams.connect.access.fair_semaphore import FairSemaphore
from streams.connect.access.quotas import Quota, Quotas
from streams.connect.access.tokens import AccessToken
from streams.core.settings import Settings
from streams.core.telemetry.http_metrics import EdgeMetrics
from streams.core.topics.topic import Topic
from streams.http.edge.body import BodyReservation
from streams.http.edge.exchange import EVENTS_MAX
from streams.http.edge.metrics.encodings import unpacked
from streams.http.edge.metrics.metric_topic import metric_topic
from streams.http.edge.metrics.point_events import PointEvents
from streams.http.edge.metrics.points import NumberPoints, Reading
from streams.http.edge.metrics.series import MetricNames, SeriesNaming
from streams.http.edge.validation_cost import ValidationCost
from streams.http.edge.validator import Validator

Reader: TypeAlias = Callable[[bytes, SeriesNaming], Reading]

REQUEST_EVENTS_MAX: Final = 100_000
_TURN_POINTS: Final = 500
_READ_AT_ONCE: Final = 2
"""A request that is read may take some fifty times its size in memory."""
_READ_WAIT_S: Final = 10.0


class MetricIntake:
    def __init__(self, settings: Settings, intake: Validator, metrics: EdgeMetrics) -> None:
        self._names = MetricNames.of(settings)
        self._named = settings.metrics_topic
        self._bytes_max = settings.edge_body_bytes
        # A request beyond a quota's whole period would be refused for ever, as if it were a rate.
        self._events_max = min(REQUEST_EVENTS_MAX, settings.edge_events)
        self._intake = intake
        self._metrics = metrics
        self._reading = FairSemaphore(
            "requests of metrics are read", places=_READ_AT_ONCE, owner_max=1, wait_s=_READ_WAIT_S
        )

    def source(self) -> Topic:
        """Raises `UnknownResource` where the app has no topic of metrics."""
        return metric_topic(self._intake.topics.values(), self._named)

    async def keep(
        self,
        content: bytes,
        encoding: str,
        read: Reader,
        *,
        owner: str,
        quotas: Quotas,
        token: AccessToken,
        held: BodyReservation,
        traceparent: bytes,
    ) -> PointEvents:
        """The points, of which the accepted ones are stored. Raises `RequestRefused` kinds; then
        a part may be stored, and the same request again makes the same events."""
        judging = self._intake.judging()
        source = self.source()
        try:
            async with self._reading.taken(owner):
                with judging.cutting():
                    body = unpacked(content, encoding, self._bytes_max)
                if body is not content:
                    held.grow(len(body))
                made = await self._made(body, read, token, judging)
            held.grow(sum(map(len, made.values)))
            # Points without an event were read, too.
            events = max(len(made.values), made.points)
            costs = {Quota.EVENTS: events, Quota.BYTES: len(body)}
            await quotas.take(owner, costs)
            for code, count in made.refused.by_code.items():
                self._metrics.refused.labels(source.name, code).inc(count)
            await self._store(made, source, token, judging, traceparent)
        finally:
            if judging.refused_us:
                await quotas.charge(owner, {Quota.REFUSED_US: judging.refused_us})
        self._metrics.absent_points.inc(made.absent)
        return made

    async def _made(
        self, body: bytes, read: Reader, token: AccessToken, judging: ValidationCost
    ) -> PointEvents:
        made, since = PointEvents(self._events_max), 0
        with judging.cutting():
            for points in read(body, SeriesNaming(self._names, token)):
                made.add(points)
                since += max(1, len(points.times)) if isinstance(points, NumberPoints) else 100
                if since >= _TURN_POINTS:
                    await judging.turn()
                    since = 0
        wasted = made.refused.total + max(0, made.empty - made.points)
        if wasted:
            judging.refused(wasted, made.points + made.empty)
        return made

    async def _store(
        self,
        made: PointEvents,
        source: Topic,
        token: AccessToken,
        judging: ValidationCost,
        traceparent: bytes,
    ) -> None:
        start = 0
        while start < len(made.values):
            piece = made.values[start : start + EVENTS_MAX]
            taken = await self._intake.take(source, piece, token, judging, traceparent)
            made.refuse_events((start + bad.position, bad.code, bad.message) for bad in taken.bad)
            start += len(piece) - taken.not_judged
