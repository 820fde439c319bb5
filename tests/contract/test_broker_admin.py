"""Administration that `dia topics` and the trimming of changelogs need, on every broker."""

from __future__ import annotations

import pytest

from streams.core.errors import RefusedBySafety, UnknownTopic
from streams.core.types import TopicConfig, TopicPartition


async def test_a_topic_is_described_by_its_own_configuration(world):
    """A plan compares declared values with the topic's own, not with broker defaults."""
    config = {"retention.ms": "604800000", "message.timestamp.type": "LogAppendTime"}
    topic = await world.topic(partitions=3, config=config)
    admin = await world.broker.admin()
    assert (await admin.describe_topics())[topic] == TopicConfig(topic, 3, 1, config)
    await admin.close()


async def test_changing_one_value_keeps_the_others(world):
    """Kafka's older request resets every value that it does not name."""
    topic = await world.topic(config={"retention.ms": "1000000", "cleanup.policy": "delete"})
    admin = await world.broker.admin()
    await admin.alter_config(topic, {"retention.ms": "-1"})
    described = (await admin.describe_topics())[topic].config
    assert described == {"retention.ms": "-1", "cleanup.policy": "delete"}
    await admin.close()


async def test_creating_a_topic_that_exists_changes_nothing(world):
    """Two workers may apply the same topology at once."""
    topic = await world.topic(partitions=2)
    admin = await world.broker.admin()
    await admin.create_topics([TopicConfig(topic, 5, 1, {"retention.ms": "1000000"})])
    assert (await admin.describe_topics())[topic] == TopicConfig(topic, 2, 1, {})
    await admin.close()


async def test_topics_grow_and_do_not_shrink(world):
    """Fewer partitions would move keys and lose state."""
    topic = await world.topic(partitions=2)
    admin = await world.broker.admin()
    await admin.create_partitions({topic: 4})
    await admin.create_partitions({topic: 4})
    assert (await admin.describe_topics())[topic].partitions == 4
    with pytest.raises(RefusedBySafety):
        await admin.create_partitions({topic: 3})
    await admin.close()


async def test_deleted_topics_do_not_exist(world):
    """Deleting is idempotent, so that a test stack can remove topics that are gone."""
    topic = await world.topic()
    admin = await world.broker.admin()
    await admin.delete_topics([topic])
    await admin.delete_topics([topic])
    assert topic not in await admin.describe_topics()
    await admin.close()


async def test_calls_on_an_unknown_topic_name_it(world):
    """Each call would otherwise end in a different error of the client."""
    absent = world.name("absent")
    admin = await world.broker.admin()
    with pytest.raises(UnknownTopic):
        await admin.create_partitions({absent: 2})
    with pytest.raises(UnknownTopic):
        await admin.alter_config(absent, {"retention.ms": "-1"})
    with pytest.raises(UnknownTopic):
        await admin.delete_records({TopicPartition(absent, 0): 1})
    assert await admin.committed(world.name("group"), [TopicPartition(absent, 0)]) == {}
    await admin.close()


async def test_a_cluster_keeps_its_id(world):
    """A plan made for one cluster must not run on another."""
    first, second = await world.broker.admin(), await world.broker.admin()
    assert await first.cluster_id() == await second.cluster_id() != ""
    await first.close()
    await second.close()


async def test_the_replicas_of_each_partition_are_described(world):
    """Operators need to see which partition has no leader or too few replicas."""
    topic = await world.topic(partitions=3)
    admin = await world.broker.admin()
    found = await admin.describe_replicas(topic)
    assert sorted(found) == [0, 1, 2]
    for one in found.values():
        assert one.replicas == one.in_sync == (one.leader,)
    with pytest.raises(UnknownTopic):
        await admin.describe_replicas(f"{topic}-not")
    await admin.close()
