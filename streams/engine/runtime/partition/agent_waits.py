"""Bounds how long a tenant's events make an agent wait (docs/protocols/agent_waits.md).

 K1  measure the wait of the event in progress               `_look`, `completed`, `failed`
 K2  charge its tenant                                       wait_shares.py
 K3  refuse events of a tenant over its share, in their turn `refused`

An event that does not wait costs one comparison: the event loop calls `_look` once the body is suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from streams.core.records.bad_records import TenantOverQuota
from streams.core.topics.topic import tenant_of
from streams.core.types import RecordBatch
from streams.engine.decode.codecs import BadPosition
from streams.engine.runtime.partition.fetched_events import FetchedEvents
from streams.engine.runtime.partition.known_partition import KnownPartition
from streams.engine.runtime.partition.pressure import PAUSE_AT
from streams.engine.runtime.partition.wait_shares import WaitShares

BURST: Final = 0.2
"""of the longest wait of one event: a tenant's excess that is free at once"""
_LIST_S: Final = 10.0
"""after a list of several tenants that waited longer, what is read ahead is given one by one"""


class WaitedPartition(KnownPartition, Protocol):
    """The partition whose events the agent takes."""

    items: Sequence[Any]
    at: int
    until: int
    given: int
    singly_until: int

    @property
    def position(self) -> int: ...

    @property
    def fill(self) -> float: ...

    def row(self, ahead: int) -> tuple[RecordBatch, int, Any, int]: ...

    def refuse(self, code: str, message: str, attempts: int) -> None: ...


class AgentWaits:
    """Of one partition whose events name tenants."""

    def __init__(self, partition: WaitedPartition, fetches: Sequence[FetchedEvents]) -> None:
        self._partition = partition
        self._clock = partition.clock
        self._fetches = fetches
        self._named = partition.agent.source.tenant_field is not None
        settings = partition.settings
        burst_s = BURST * settings.agent_timeout_s
        self.shares = WaitShares(self._clock, settings.agent_wait_share, burst_s)
        self.since_s: float | None = None
        """since when the event in progress waits"""
        self._armed = False
        self._items: Sequence[Any] = ()
        self._at = 0
        self._first: str | None = None
        """tenant of row ``_at`` of ``_items``, where the last events were given from; None if they waited"""

    # --- K1 ----------------------------------------------------------------------------------

    def given(self) -> None:
        """Events are given from row `at` on."""
        if not self._named:
            return
        items, at = self._partition.items, self._partition.at
        if self._items is not items or self._at != at:
            if self._first is not None:
                self.shares.passed(self._first)
            self._items, self._at, self._first = items, at, tenant_of(items[at])
        self._watch()

    def _watch(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """The body is suspended."""
        self._armed = False
        if self._partition.given and self.since_s is None:
            self.since_s = self._clock.monotonic()

    def completed(self) -> None:
        """The event in progress waited, and is complete."""
        waited_s = self.take()
        self._passed_first()
        tenants = self._tenants()
        if len(tenants) == 1:
            self.shares.waited(tenants.pop(), waited_s)
        elif waited_s > _LIST_S:
            self._partition.singly_until = self._partition.position
        if self.shares.strained:
            self._partition.until = self._partition.at  # the next one is judged before it is given
        self._watch()

    def take(self) -> float:
        """Seconds that the event in progress has waited, which are forgotten."""
        since_s, self.since_s = self.since_s, None
        return 0.0 if since_s is None else self._clock.monotonic() - since_s

    def failed(self, waited_s: float) -> bool:
        """The first event failed after this wait, or its retry was paused for it. Whether its tenant is over
        its share now."""
        if not self._named:
            return False
        tenant = tenant_of(self._partition.items[self._partition.at])
        self._passed_first()
        self.shares.waited(tenant, waited_s)
        return self._over(tenant)

    def _passed_first(self) -> None:
        """A later event than the first one of the run waited."""
        if self._first is not None and self._partition.at != self._at:
            self.shares.passed(self._first)
        self._first = None

    def _tenants(self) -> set[str]:
        partition = self._partition
        events = (partition.row(ahead)[2] for ahead in range(partition.given))
        return {tenant_of(event) for event in events if type(event) is not BadPosition}

    # --- K3 ----------------------------------------------------------------------------------

    def refused(self) -> bool:
        """Dead-letter the event in turn if its tenant is over its share; whether it was."""
        partition = self._partition
        if not self.shares.strained or partition.at >= len(partition.items):
            return False
        tenant = tenant_of(partition.items[partition.at])
        if not self._over(tenant):
            return False
        why = (
            f"earlier events of this tenant made agent {partition.agent.name} wait longer than those of others, "
            "for more than the tenant's share of its time (DIA_AGENT_WAIT_SHARE). Give the calls that the agent "
            "awaits a deadline, then replay"
        )
        partition.refuse(TenantOverQuota.code, why, 1)
        return True

    def _over(self, tenant: str) -> bool:
        """Whether the tenant is over its share, and others would wait for its events."""
        return self.shares.is_over(tenant) and self._others_wait(tenant)

    def _others_wait(self, tenant: str) -> bool:
        """Whether an event of another tenant is read ahead, or may be in what cannot be read ahead yet."""
        first = self._partition.at + 1
        for fetched in self._fetches:
            if fetched.last_of_others(tenant) >= first:
                return True
            first = 0
        return self._partition.fill >= PAUSE_AT and self.shares.knows_another(tenant)
