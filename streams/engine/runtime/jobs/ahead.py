"""Bounds the work that is in preparation or ready, by lane and by tenant."""

from __future__ import annotations

from collections import Counter
from typing import Final

from streams.engine.agents.job_agent import Performer
from streams.engine.runtime.jobs.fair_queue import Lane
from streams.engine.runtime.jobs.work import Work

AHEAD_OF_LANE: Final = 64
"""works of one lane"""
AHEAD_OF_TENANT: Final = 8
"""works of one tenant in a lane, or the number of slots if that is more"""


class Ahead:
    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self._of_lane: Counter[Lane] = Counter()
        self._of_tenant: Counter[tuple[Lane, str]] = Counter()

    def lane_has_room(self, lane: Lane) -> bool:
        return self._of_lane[lane] < AHEAD_OF_LANE

    def tenant_has_room(self, work: Work) -> bool:
        tenant_max = max(AHEAD_OF_TENANT, self._performer.slots)
        return self._of_tenant[work.lane, work.ask.tenant] < tenant_max

    def enter(self, work: Work) -> None:
        self._of_lane[work.lane] += 1
        self._of_tenant[work.lane, work.ask.tenant] += 1

    def leave(self, work: Work) -> None:
        lane, tenant = work.lane, work.ask.tenant
        self._of_lane[lane] -= 1
        self._of_tenant[lane, tenant] -= 1
        if not self._of_tenant[lane, tenant]:
            del self._of_tenant[lane, tenant]
