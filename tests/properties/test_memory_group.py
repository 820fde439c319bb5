"""Assignments of the in-memory group: each partition has exactly one owner, and no member is left
out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.connect.broker.memory.group import Member, MemoryGroup, assign
from streams.core.types import TopicPartition

PARTITIONS = {"a": 3, "b": 2, "c": 0}
names = st.sampled_from(["m1", "m2", "m3", "m4"])


@given(
    st.dictionaries(names, st.frozensets(st.sampled_from(sorted(PARTITIONS)), min_size=1)),
)
def test_every_subscribed_partition_has_one_owner(members):
    """A partition without an owner makes no progress; one with two owners doubles its events."""
    assigned = assign(members, PARTITIONS.__getitem__)
    dealt = [tp for partitions in assigned.values() for tp in partitions]
    topics = frozenset().union(*members.values())
    assert sorted(dealt) == [
        TopicPartition(topic, n) for topic in sorted(topics) for n in range(PARTITIONS[topic])
    ]
    for member, partitions in assigned.items():
        assert {tp.topic for tp in partitions} <= members[member]


class GroupMachine(RuleBasedStateMachine):
    """Members join, rejoin, leave, fall silent and expire, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.group = MemoryGroup(lambda topic: PARTITIONS[topic], lambda: self.now)
        self.members: dict[str, Member] = {}

    @rule(name=names)
    def join(self, name: str) -> None:
        """A process joins under this name, whichever process had it before."""
        self.members[name] = self.group.join(None, name, frozenset({"a", "b"}), 10.0)

    @rule(name=names)
    def rejoin(self, name: str) -> None:
        """A process rejoins because the group asked it to or had expired it."""
        member = self.members.get(name)
        if member is not None and member.expires_at is None and self.group.must_join(member):
            self.members[name] = self.group.join(member, name, member.topics, 10.0)

    @rule(name=names)
    def leave(self, name: str) -> None:
        member = self.members.pop(name, None)
        if member is not None:
            self.group.leave(member)

    @rule(name=names)
    def fall_silent(self, name: str) -> None:
        member = self.members.get(name)
        if member is not None:
            self.group.fall_silent(member)

    @rule(delta=st.sampled_from([1.0, 11.0, 61.0]))
    def wait(self, delta: float) -> None:
        self.now += delta
        self.group.expire()

    @rule()
    def rebalance(self) -> None:
        self.group.rebalance()

    @invariant()
    def a_settled_group_owns_every_partition_once(self) -> None:
        current = [m for m in self.members.values() if self.group.is_current(m)]
        if not current or any(
            self.group.must_join(m) or self.group.is_settling(m) for m in current
        ):
            return
        owned = [tp for member in current for tp in member.assignment]
        assert sorted(owned) == [TopicPartition(t, n) for t in "ab" for n in range(PARTITIONS[t])]

    @invariant()
    def a_rebalance_always_has_an_end(self) -> None:
        """The clock expires every member that a rebalance waits for."""
        if any(self.group.is_settling(m) for m in self.members.values()):
            assert self.group.next_deadline() is not None


TestGroup = GroupMachine.TestCase
TestGroup.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
