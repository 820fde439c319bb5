"""Runs replay policies: submits a plan when a policy's condition holds.

The owner of the source's journal 0 runs them; overlapping plans replay nothing twice. One look:

1. assess the policy's dead letters behind its last plan; none: done
2. the newest failed less than ``quiet_s`` ago (of one from the future: was found), or the dependency does not answer: later
3. submit the plan at the policy's rate; while another plan holds the topic: later

Dead letters that still fail, or belong to a cancelled plan, are left to operators."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

import msgspec
import structlog

from streams.core.errors import DiaError, RefusedBySafety
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.operate.dlq.filters import Filters
from streams.operate.replay.agent.policies import Dependency, ReplayPolicy
from streams.operate.replay.journal.control import journals
from streams.operate.replay.journal.status import PartitionStatus
from streams.operate.replay.plan.plan import Terms
from streams.operate.replay.plan.planner import Draft, PlanRequest, make_plan
from streams.operate.replay.run.partition_run import RunContext
from streams.operate.replay.run.run import submit

_LOOK_S: Final = 10.0
"""between two looks of one policy"""
_TURN_S: Final = 0.5

Answers: TypeAlias = Callable[[], Awaitable[bool]]
"""whether a dependency can be used now"""

log = structlog.get_logger(__name__)


class _Passed(NamedTuple):
    """A DLQ partition is read up to ``end``, while its `PartitionStatus.queue` was ``queue``."""

    queue: int
    end: int

    def of(self, standing: PartitionStatus) -> int:
        return self.end if self.queue == standing.queue else 0


_START: Final = _Passed(0, 0)


class _Heard(NamedTuple):
    """What a look found at the monotonic time ``at_s``."""

    newest_ms: int
    letters: int
    at_s: float


class Automation:
    """``answers`` has each dependency that a policy may name."""

    def __init__(
        self,
        policies: Sequence[ReplayPolicy],
        sources: Sequence[Topic],
        means: RunContext,
        answers: Mapping[Dependency, Answers],
    ) -> None:
        by_name = {source.name: source for source in sources}
        self._policies = [
            (policy, by_name[policy.topic]) for policy in policies if policy.topic in by_name
        ]
        self._means = means
        self._answers = answers
        self._due_s = dict.fromkeys((policy.name for policy in policies), 0.0)
        self._heard: dict[str, _Heard] = {}
        self._passed: defaultdict[str, dict[int, _Passed]] = defaultdict(dict)

    async def follow(self, leads: Callable[[TopicPartition], bool]) -> None:
        """Look repeatedly until cancelled; ``leads``: this agent owns that journal."""
        clock = self._means.clock
        while True:
            for policy, source in self._policies:
                due = clock.monotonic() >= self._due_s[policy.name]
                if due and leads(TopicPartition(source.journal, 0)):
                    try:
                        await self.look(policy, source)
                    except DiaError as error:
                        log.warning("replay_policy_failed", policy=policy.name, why=str(error))
                    self._due_s[policy.name] = clock.monotonic() + _LOOK_S
            await clock.sleep(_TURN_S)

    async def look(self, policy: ReplayPolicy, source: Topic) -> str | None:
        """One look; returns the id of the submitted plan, if any. Raises as `make_plan`."""
        known = (await journals(self._means.broker, [source])).get(source, [])
        draft = await self._draft(policy, source, known)
        passed = {
            number: _Passed(standing.queue, draft.ends[number])
            for number, standing in enumerate(known)
            if number in draft.ends
        }
        before = self._passed[policy.name]
        if any(passed[n].end < before[n].of(known[n]) for n in passed.keys() & before.keys()):
            # Without decisions, no journal records that the log is a new one.
            before.clear()
            return None
        if not draft.plan.selections:
            self._passed[policy.name] = passed
            return None
        if (why := await self._waits_for(policy, draft)) is None:
            means = replace(self._means, actor=policy.actor, rate=policy.rate)
            try:
                await submit(means, draft.plan)
            except RefusedBySafety as error:
                why = str(error)
        if why is not None:
            log.info("replay_policy_deferred", policy=policy.name, why=why)
            return None
        log.info("replay_policy_submitted", policy=policy.name, letters=draft.plan.letters)
        self._passed[policy.name] = passed
        return draft.plan.id

    async def _waits_for(self, policy: ReplayPolicy, draft: Draft) -> str | None:
        if self._quiet_s(policy, draft) < policy.quiet_s:
            return f"letters still come, the last one less than {policy.quiet_s:g} s ago"
        if policy.after is not None and not await self._answers[policy.after]():
            return f"{policy.after} does not answer yet"
        return None

    def _quiet_s(self, policy: ReplayPolicy, draft: Draft) -> float:
        """Since the newest letter. One from the future is by a clock that is or was ahead: since a look first
        found it."""
        clock, newest_ms = self._means.clock, max(line.newest_ms for line in draft.lines)
        heard = _Heard(newest_ms, draft.plan.letters, clock.monotonic())
        before = self._heard.get(policy.name, heard)
        if before[:2] != heard[:2]:
            before = heard
        self._heard[policy.name] = before
        passed_s = (clock.now_ms() - newest_ms) / 1000
        return passed_s if passed_s >= 0 else heard.at_s - before.at_s

    async def _draft(
        self, policy: ReplayPolicy, source: Topic, known: Sequence[PartitionStatus]
    ) -> Draft:
        means, passed = self._means, self._passed[policy.name]
        begin = {
            number: max(passed.get(number, _START).of(standing), _planned(policy, standing))
            for number, standing in enumerate(known)
        }
        request = PlanRequest(
            source=source,
            filters=Filters(errors=policy.errors, tenants=policy.tenants),
            terms=Terms(hops_max=policy.hops_max),
            id=f"{means.clock.now_ms():x}-{secrets.token_hex(2)}",
            actor=policy.actor,
            asked=msgspec.to_builtins(policy),
            begin=begin,
        )
        return await make_plan(
            means.broker, means.clock, means.settings, means.topology, request, lambda at, end: None
        )


def _planned(policy: ReplayPolicy, standing: PartitionStatus) -> int:
    """The DLQ offset up to which the policy's own plans went."""
    own = [
        plan.end
        for plan in standing.plans.values()
        if plan.head is not None and plan.head.made_by == policy.actor
    ]
    return max(own, default=0)
