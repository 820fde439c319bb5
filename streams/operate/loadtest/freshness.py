"""How soon an event is in an answer of the console: probes with a series of their own, in an open loop."""

from __future__ import annotations

from typing import Final

import msgspec

from streams.core.clock import Clock
from streams.operate.loadtest.event_template import MadeEvent
from streams.operate.loadtest.file import FreshnessProbes
from streams.operate.loadtest.http_target import HttpTarget
from streams.operate.loadtest.recorder import RequestOutcome

LOOK_S: Final = 0.5
"""between two questions, so a probe is seen at most that late"""
_SINCE_S: Final = 600


class ProbeSender:
    """``send`` is one request of an `OpenLoop`: it ends when the probe is seen, or after ``wait_s``."""

    def __init__(
        self, target: HttpTarget, probes: FreshnessProbes, wait_s: float, run: str, clock: Clock
    ) -> None:
        self._target = target
        self._probes = probes
        self._wait_s = wait_s
        self._model = f"load-{run}-probe"
        self._clock = clock
        self._number = 0

    async def send(self) -> RequestOutcome:
        number, self._number = self._number, self._number + 1
        tenant = self._probes.tenants[number % len(self._probes.tenants)]
        series = (tenant, self._model, f"probe-{number}")
        event = dict(zip(("tenant_id", "model_id", "metric"), series, strict=True))
        event_id = f"{self._model}-{number}"
        value = {"event_id": event_id, **event, "ts": self._clock.now_ms(), "value": 1.0}
        until_s = self._clock.monotonic() + self._wait_s
        # without its series: `exact` draws from those of the flows, and a probe is looked at here
        made = MadeEvent(msgspec.json.encode(value), None)
        posted = await self._target.post(self._probes.topic, [made])
        if posted.code:
            return posted
        looked = 0
        while self._clock.monotonic() < until_s:
            await self._clock.sleep(LOOK_S)
            # the console keeps an answer for seconds: each question has a range of its own
            looked += 1
            if await self._target.count(series, self._clock.now_ms() // 1000 - _SINCE_S - looked):
                return RequestOutcome(events=1)
        return RequestOutcome("not_seen", given_up=True)
