"""Replays and orders to skip records, from their journals in Kafka: they outlive the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.errors import TransientError
from streams.core.types import Broker
from streams.engine.agents.job_agent import Agent
from streams.http.console.dead_letters.journals import LISTED_FRESH_S, Journals
from streams.http.console.history.changes import PipelineChange
from streams.operate.replay.journal.status import PlanStatus, state_of
from streams.operate.shed.shed_admin import partitions_of, standings

FRESH_S: Final = 30.0


@dataclass(eq=False)
class OrderedChanges:
    """What operators ordered, by the journals of replays and the log of skip orders."""

    _broker: Broker
    _agents: Sequence[Agent]
    _journals: Journals
    _clock: Clock

    def __post_init__(self) -> None:
        self._recent = CachedValue(self._ask, FRESH_S, self._clock)

    async def read(self) -> list[PipelineChange] | None:
        """None while Kafka does not answer."""
        try:
            return await self._recent.get()
        except TransientError:
            return None

    async def close(self) -> None:
        await self._recent.close()

    async def _ask(self) -> list[PipelineChange]:
        return [*await self._replays(), *await self._skips()]

    async def _replays(self) -> list[PipelineChange]:
        found: dict[tuple[str, str], list[PlanStatus]] = {}
        for source, partitions in (await self._journals.get(LISTED_FRESH_S)).items():
            for journal in partitions:
                for name, plan in journal.plans.items():
                    found.setdefault((source.name, name), []).append(plan)
        return [_replay(source, name, plans) for (source, name), plans in found.items()]

    async def _skips(self) -> list[PipelineChange]:
        found = []
        for agent in self._agents:
            every = await partitions_of(self._broker, agent.source.name)
            for one in await standings(self._broker, agent.group, every):
                order = one.order
                text = (
                    f"partition {one.tp.partition} skips records below offset {order.until}, "
                    f"{one.state}, by {order.actor}: {order.reason}"
                )
                found.append(PipelineChange(order.at_ms, "skip", one.tp.topic, text, False))
        return found


def _replay(source: str, name: str, plans: Sequence[PlanStatus]) -> PipelineChange:
    """``plans``: of each of its partitions."""
    state, letters = state_of({one.state for one in plans}), sum(one.letters for one in plans)
    text = f"plan {name}, {letters} letters, {state}, by {plans[0].actor}"
    began_ms = min(one.began_ms for one in plans)
    return PipelineChange(began_ms, "replay", source, text, state == "stopped")
