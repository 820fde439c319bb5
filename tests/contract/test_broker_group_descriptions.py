"""Descriptions of consumer groups for health checks, on every broker."""

from __future__ import annotations

import asyncio

from streams.connect.broker.opened import opened
from streams.core.types import GroupDescription, TopicPartition


async def _described(world, group) -> GroupDescription:
    async with opened(world.broker.admin()) as admin:
        return await admin.describe_group(group)


async def test_a_group_without_members_is_described_as_empty(world):
    """It is an answer, not an error: the group's records wait for a member."""
    group = world.name("group")
    assert await _described(world, group) == GroupDescription(group, stable=True, members=())


async def test_members_are_described_with_their_assignments(world):
    """A partition without an owner shows only by comparison with all assignments."""
    group, topic = world.name("group"), await world.topic(partitions=3)
    first, listener = await world.member(group, [topic], "one")
    joining = asyncio.create_task(world.member(group, [topic], "two"))
    await world.poll_until([first], lambda: len(listener.assigned) > 1 and joining.done())
    second, _ = await joining
    described = await _described(world, group)
    assert described.stable
    owners = {tp: member.instance_id for tp, member in described.owners().items()}
    assert owners == {
        **dict.fromkeys(first.assignment(), "one"),
        **dict.fromkeys(second.assignment(), "two"),
    }
    assert set(owners) == {TopicPartition(topic, n) for n in range(3)}


async def test_a_topic_outside_the_subscription_has_no_owner(world):
    """A live group that does not read a topic must not look as if it did."""
    group, read, unread = world.name("group"), await world.topic(), await world.topic()
    await world.member(group, [read], "one")
    described = await _described(world, group)
    assert TopicPartition(read, 0) in described.owners()
    assert TopicPartition(unread, 0) not in described.owners()


async def test_a_dynamic_member_that_left_owns_nothing(world):
    """The group outlives its members, and its records wait."""
    group, topic = world.name("group"), await world.topic()
    member, _ = await world.member(group, [topic], "")
    assert len((await _described(world, group)).members) == 1
    await member.stop()
    described = await _described(world, group)
    assert (described.members, described.owners()) == ((), {})


async def test_a_static_member_is_described_after_its_stop_unless_it_left(world):
    """A process that does not return would keep its partitions unread for a session timeout."""
    group, topic = world.name("group"), await world.topic()
    staying, _ = await world.member(group, [topic], "one")
    await staying.stop()
    assert [one.instance_id for one in (await _described(world, group)).members] == ["one"]
    leaving, _ = await world.member(group, [topic], "one")
    await leaving.stop(leave=True)
    assert (await _described(world, group)).members == ()
