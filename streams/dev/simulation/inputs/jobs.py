"""Job requests with repeats, conflicts and cancellations, and a performer whose runs all differ."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from agents.app import SIMULATE_DECISION, SIMULATION_REQUEST, SIMULATOR_GROUP
from schemas.simulation import SimulationRequest
from streams.core.clock import Clock
from streams.core.errors import (
    BreakerOpen,
    PolicyServiceFailed,
    PolicyServiceUnavailable,
    ProcessDied,
)
from streams.core.job_refusals import InvalidParameters
from streams.dev.simulation.checks.job_check import check
from streams.dev.simulation.history import SETTINGS, Story
from streams.dev.simulation.inputs.producers import TENANTS, Producers, Record
from streams.engine.agents.job_agent import Answer, JobAgent, Outcome, Place, Resources
from streams.engine.agents.queue_policy import QueuePolicy

_TAKES_S = (0.0, 0.0, 0.05, 0.3, 1.0, 5.0)
_SCENARIOS = ("fast", "fast", "fast", "other", "other", "slow")
_AWAY_EVERY_S = 40.0
_AWAY_S = 6.0
LOST = "lost"
"""parameter of requests whose answer is a row of an unknown table"""
_LOST_EVERY = 17
_BAD_VALUES = (b"{", b"", b"\xff", b'{"tenant_id": "t0"}')

_POLICIES = {
    "fast": QueuePolicy(attempts=2, backoff_s=0.5),
    "other": QueuePolicy(attempts=1),
    "slow": QueuePolicy(concurrency=1, rate_per_s=2.0, backoff="fixed", backoff_s=0.2),
}


class Toy:
    """``runs`` numbers every run of the world."""

    slots = 3

    def __init__(self, clock: Clock, rng: random.Random, runs: Iterator[int]) -> None:
        self._clock = clock
        self._rng = rng
        self._runs = runs

    def told_waiting(self, jobs: int) -> None:
        """Its slots are fixed."""

    def queue(self, name: str) -> QueuePolicy:
        return _POLICIES.get(name, QueuePolicy())

    def needs(self, event: SimulationRequest) -> tuple[str, ...]:
        if event.scenario == "other":
            return ("policy_service", f"policy {event.tenant_id}")
        return ("shard 1",) if event.scenario == "slow" else ()

    async def prepare(self, event: SimulationRequest) -> None:
        needs = self.needs(event)
        if not needs:
            return
        await self._clock.sleep(self._rng.choice(_TAKES_S))
        away = self._clock.monotonic() % _AWAY_EVERY_S > _AWAY_EVERY_S - _AWAY_S
        draw = self._rng.random()
        error: PolicyServiceUnavailable | PolicyServiceFailed | BreakerOpen
        if away and event.scenario == "other":
            error = PolicyServiceUnavailable("as it is now and then")
            error.need = needs[0]
        elif draw < 0.1 and event.scenario == "other":
            error = PolicyServiceFailed("as drawn")
            error.need = needs[-1]
        elif draw < 0.1:
            error = BreakerOpen("as drawn")
            error.need = needs[-1]
        else:
            return
        raise error

    async def perform(
        self, event: SimulationRequest, prepared: None, timeout_s: float
    ) -> dict[str, Any]:
        run = next(self._runs)
        draw = self._rng.random()
        await self._clock.sleep(self._rng.choice(_TAKES_S))
        if draw < 0.25:
            raise ProcessDied("as drawn")
        if draw < 0.3:
            raise InvalidParameters(f"as drawn, run {run}")
        return {"run": run}

    def finished(self, event: SimulationRequest, outcome: Outcome) -> None:
        """No client waits."""

    async def close(self) -> None:
        """Nothing to close."""


def _agents(seed: int) -> Sequence[JobAgent[Any]]:
    rng, runs = random.Random(seed), itertools.count()

    def performer(resources: Resources) -> Toy:
        return Toy(resources.clock, random.Random(rng.random()), runs)

    return [replace(SIMULATE_DECISION, performer=performer, answer=_answer)]


def _answer(request: SimulationRequest, outcome: Outcome, place: Place) -> Answer:
    """Some requests name an unknown table."""
    answer = SIMULATE_DECISION.answer(request, outcome, place)
    return answer._replace(table="nowhere") if LOST in request.parameters else answer


class Requests(Producers):
    topic = SIMULATION_REQUEST.name
    at_once = 6

    def record(self) -> Record:
        draw = self.rng.random()
        if draw < 0.04:
            return b"t0", self.rng.choice(_BAD_VALUES)
        self.number += 1
        tenant = self.rng.choice(TENANTS)
        request = self._repeated(draw) if self.sent and draw < 0.4 else None
        if request is None:
            request = {
                "idempotency_key": f"k{self.number}",
                "tenant_id": tenant,
                "model_id": "m",
                "scenario": self.rng.choice(_SCENARIOS),
                "trials": self.rng.randint(1, 3),
                "parameters": {LOST: True} if self.number % _LOST_EVERY == 0 else {},
                "ts": self.world.clock.now_ms(),
            }
        request |= {"request_id": f"r{self.number}", "priority": self.rng.randint(0, 9)}
        key = request["tenant_id"] if self.rng.random() > 0.02 else "somebody"
        return key.encode(), json.dumps(request).encode()

    def _repeated(self, draw: float) -> dict[str, Any] | None:
        """A repeat of a recent request, a conflict with it, or its cancellation."""
        try:
            request: dict[str, Any] = json.loads(self.rng.choice(self.sent[-40:])[1])
            key = request["idempotency_key"]
        except (ValueError, KeyError):
            return None
        if draw < 0.08:
            return {**request, "trials": 77}
        if draw < 0.14:
            parameters = {"idempotency_key": key}
            return {
                **request,
                "idempotency_key": f"c{self.number}",
                "scenario": "cancel",
                "parameters": parameters,
            }
        return request


JOBS = Story(
    source=SIMULATION_REQUEST,
    group=SIMULATOR_GROUP,
    settings=replace(
        SETTINGS,
        job_commit_interval_s=0.2,
        dedupe_ttl_s=20,
        max_ahead=20,
        max_ahead_bytes=6000,
        max_outcome_bytes=1 << 20,
        normal_share=0.25,
    ),
    agents=_agents,
    producers=Requests,
    check=check,
)
