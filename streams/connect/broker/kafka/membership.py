"""Counts how often the group evicts this member."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from aiokafka import ConsumerRebalanceListener

from streams.core.errors import MembershipConflict
from streams.core.types import RebalanceListener, TopicPartition

EVICTIONS_MAX = 2


class Membership:
    """An eviction shows as a changed member id at the next assignment.

    One may be an expired session. Two within a session timeout mean another process with the same
    static id: aiokafka's heartbeats carry no instance id, so each evicts the other."""

    def __init__(self, instance_id: str, session_timeout_s: float) -> None:
        self._instance_id = instance_id
        self._session_timeout_s = session_timeout_s
        self._member_id = ""
        self._evictions: deque[float] = deque(maxlen=EVICTIONS_MAX)

    def joined_as(self, member_id: str) -> None:
        if self._member_id and member_id != self._member_id:
            self._evictions.append(time.monotonic())
        self._member_id = member_id

    def check(self) -> None:
        """Raise `MembershipConflict` after two evictions within one session timeout."""
        if not self._instance_id or len(self._evictions) < EVICTIONS_MAX:
            return
        if self._evictions[-1] - self._evictions[0] <= self._session_timeout_s:
            raise MembershipConflict(
                f"member id {self._instance_id} is held by another process. "
                "Stop one of the two, or give each its own state folder."
            )


class AssignmentHolder(Protocol):
    def hold(self, partitions: frozenset[TopicPartition]) -> None: ...

    def told(self) -> None: ...


class ListenerAdapter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """aiokafka logs and swallows the exceptions of its callbacks."""

    def __init__(self, holder: AssignmentHolder, listener: RebalanceListener) -> None:
        self._holder = holder
        self._listener = listener
        self._has_assignment = False

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  # awaited
        self, revoked: set[Any]
    ) -> None:
        # the first join revokes no partition
        if self._has_assignment:
            await self._listener.on_revoked(frozenset(TopicPartition(*tp) for tp in revoked))

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]  # awaited
        self, assigned: set[Any]
    ) -> None:
        partitions = frozenset(TopicPartition(*tp) for tp in assigned)
        self._holder.hold(partitions)
        self._has_assignment = True
        try:
            await self._listener.on_assigned(partitions)
        finally:
            self._holder.told()
