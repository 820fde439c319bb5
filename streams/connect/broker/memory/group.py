"""A consumer group of the in-memory broker: static members, eager rebalances, sessions.

Classic protocol (KIP-62, KIP-345): a rebalance begins when the membership changes, and completes
once every member has joined again or expired. A restarted member takes over its predecessor's
partitions without a rebalance, even with other topics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.core.types import CommittedOffset, GroupDescription, MemberDescription, TopicPartition

REBALANCE_TIMEOUT_S = 60.0
"""A member that never finishes its revocation does not block the group for longer."""


@dataclass(slots=True, eq=False)
class Member:
    member_id: str
    instance_id: str
    topics: frozenset[str]
    session_timeout_s: float
    assignment: frozenset[TopicPartition] = frozenset()
    expires_at: float | None = None
    """set while heartbeats are missing"""


class MemoryGroup:
    def __init__(self, partitions: Callable[[str], int], monotonic: Callable[[], float]) -> None:
        self.offsets: dict[TopicPartition, CommittedOffset] = {}
        self.generation = 0
        self._partitions = partitions
        self._monotonic = monotonic
        self._members: dict[str, Member] = {}
        self._awaited: set[str] = set()
        self._rebalance_deadline: float | None = None
        self._ids = itertools.count(1)

    def is_current(self, member: Member) -> bool:
        """False once the member was evicted, expired or left."""
        return member.member_id in self._members

    def must_join(self, member: Member) -> bool:
        """The group waits for this member or has removed it."""
        return not self.is_current(member) or member.member_id in self._awaited

    def is_settling(self, member: Member) -> bool:
        """The member waits for others to join."""
        return self._rebalance_deadline is not None and not self.must_join(member)

    def join(
        self, previous: Member | None, instance_id: str, topics: frozenset[str], timeout_s: float
    ) -> Member:
        """Evicts the holder of ``instance_id`` under another id."""
        if previous is not None and self.is_current(previous):
            self._begin_rebalance(joined=previous)
            return previous
        member = Member(f"{instance_id}-{next(self._ids)}", instance_id, topics, timeout_s)
        holder = self._holder_of(instance_id)
        if holder is not None:
            del self._members[holder.member_id]
            self._awaited.discard(holder.member_id)
            member.assignment = holder.assignment
        self._members[member.member_id] = member
        # Kafka ignores the topics and keeps the old assignment.
        if holder is None or self._rebalance_deadline is not None:
            self._begin_rebalance(joined=member)
        return member

    def leave(self, member: Member) -> None:
        if self._members.pop(member.member_id, None) is not None:
            self._awaited.discard(member.member_id)
            self._begin_rebalance(joined=None)

    def rebalance(self) -> None:
        self._begin_rebalance(joined=None)

    def fall_silent(self, member: Member) -> None:
        """The member expires after one session timeout."""
        member.expires_at = self._monotonic() + member.session_timeout_s

    def expire(self) -> bool:
        """Expired members and, after the rebalance timeout, missing ones."""
        now = self._monotonic()
        gone = [
            m for m in self._members.values() if m.expires_at is not None and m.expires_at <= now
        ]
        if self._rebalance_deadline is not None and self._rebalance_deadline <= now:
            gone += [self._members[member_id] for member_id in sorted(self._awaited)]
        for member in gone:
            self.leave(member)
        return bool(gone)

    def next_deadline(self) -> float | None:
        """Monotonic time of the next `expire` with an effect."""
        moments = [m.expires_at for m in self._members.values() if m.expires_at is not None]
        if self._rebalance_deadline is not None:
            moments.append(self._rebalance_deadline)
        return min(moments, default=None)

    def subscribed(self) -> frozenset[str]:
        return frozenset().union(*(member.topics for member in self._members.values()))

    def description(self, name: str) -> GroupDescription:
        stable = self._rebalance_deadline is None
        return GroupDescription(
            name,
            stable=stable,
            members=tuple(
                MemberDescription(
                    member.member_id,
                    member.instance_id,
                    member.assignment if stable else frozenset(),
                )
                for member in self._members.values()
            ),
        )

    def _holder_of(self, instance_id: str) -> Member | None:
        if not instance_id:
            return None
        holders = (m for m in self._members.values() if m.instance_id == instance_id)
        return next(holders, None)

    def _begin_rebalance(self, joined: Member | None) -> None:
        if self._rebalance_deadline is None:
            self._rebalance_deadline = self._monotonic() + REBALANCE_TIMEOUT_S
            self._awaited = set(self._members)
        if joined is not None:
            self._awaited.discard(joined.member_id)
        if not self._awaited:
            self._complete_rebalance()

    def _complete_rebalance(self) -> None:
        self._rebalance_deadline = None
        self.generation += 1
        assigned = assign({m.member_id: m.topics for m in self._members.values()}, self._partitions)
        for member in self._members.values():
            member.assignment = frozenset(assigned[member.member_id])


def assign(
    members: Mapping[str, frozenset[str]], partitions: Callable[[str], int]
) -> dict[str, list[TopicPartition]]:
    """Round-robin, both in name order."""
    assigned: dict[str, list[TopicPartition]] = {member: [] for member in members}
    turn = itertools.cycle(sorted(members))
    for topic in sorted(frozenset().union(*members.values())):
        for partition in range(partitions(topic)):
            taker = next(member for member in turn if topic in members[member])
            assigned[taker].append(TopicPartition(topic, partition))
    return assigned
