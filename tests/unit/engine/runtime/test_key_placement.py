"""Records in the wrong partition, from a producer with another partitioner: reported by key, and
refused if configured.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.app import app
from streams.connect.broker.partitioner import partition_of
from streams.core import kernels
from streams.core.errors import UsageError
from streams.core.settings import load
from streams.core.types import RecordBatch, TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.engine.runtime.partition import key_placement
from streams.engine.runtime.partition.key_placement import KeyPlacement
from streams.operate.replay.run.outgoing import outgoing
from tests.unit.engine.runtime.running_world import HERE, TENANTS, THERE, counted, history, until

REFUSING = replace(SETTINGS, misplaced_keys="refuse")


def batch_of(tp, keys):
    n = len(keys)
    return RecordBatch(tp, 0, n, [*range(n)], [0] * n, [*keys], [b""] * n, [()] * n)


async def produce_misplaced(world, tp, tenant):
    """One event of ``tenant`` in ``tp``, whatever partition its key belongs to."""
    other = TopicPartition(tp.topic, 1 - tp.partition)
    log, home = world.broker.log(tp), world.broker.log(other)
    producer = world.broker.plain_producer()
    at = home.high_watermark
    value = (
        b'{"tenant_id":"%s","model_id":"m","metric":"x","event_id":"same","ts":%d,"value":1}'
        % (tenant.encode(), world.clock.now_ms())
    )
    await (await producer.send(tp.topic, tenant.encode(), value))
    log.append(home._entries[at - home.start_offset])
    world.broker._cluster.signal.notify()


def misplaced(process, tp):
    metrics = process.worker.groups[0]._metrics
    labels = {"topic": tp.topic, "partition": str(tp.partition)}
    return metrics.registry.get_sample_value("dia_misplaced_records_total", labels) or 0


@pytest.mark.skipif(kernels.active is None, reason="no key is remembered")
def test_the_memory_for_keys_is_bounded_in_bytes(monkeypatch):
    """Producers choose keys and their length, so the memory for them must be bounded."""
    monkeypatch.setattr(key_placement, "_PLACED_BYTES_MAX", 10_000)
    placement = KeyPlacement(TopicPartition("t", 0), 1)
    remembered = []
    for first in range(0, 300, 3):
        keys = [b"%d" % key * 200 for key in range(first, first + 3)]
        assert placement.look(batch_of(TopicPartition("t", 0), keys)) == set()
        remembered.append(placement._placed.bytes_used)
    assert max(remembered) <= 10_000
    assert max(remembered) > 5_000


@given(st.lists(st.none() | st.binary(max_size=8), max_size=12), st.integers(1, 9), st.data())
def test_exactly_the_keys_of_other_partitions_are_found(keys, partitions, data):
    """The check uses the partitioner of dia's producers."""
    number = data.draw(st.integers(0, partitions - 1))
    placement = KeyPlacement(TopicPartition("t", number), partitions)
    batch = batch_of(TopicPartition("t", number), keys)
    wrong = {k for k in keys if k is not None and partition_of(k, partitions) != number}
    assert placement.look(batch) == wrong
    assert placement.misplaced == sum(key in wrong for key in keys)


def test_keys_placed_before_a_topic_grew_are_in_their_place():
    """An operator may add partitions: records from before that are not misplaced."""
    key = next(
        b"%d" % n
        for n in range(99)
        if partition_of(b"%d" % n, 4) != 0 == partition_of(b"%d" % n, 2)
    )
    placement = KeyPlacement(TopicPartition("t", 0), 2)
    placement.grown_to(4)
    assert placement.look(batch_of(TopicPartition("t", 0), [key])) == set()


def test_misplaced_records_are_counted_and_logged_once():
    """Each partition is consistent alone, so without the metric a double count would look clean."""

    async def story(world, process):
        with capture_logs() as logs:
            for _ in range(3):
                await produce_misplaced(world, HERE, TENANTS[1])
                await asyncio.sleep(2.0)
            await until(lambda: misplaced(process, HERE) == 3)
        assert misplaced(process, THERE) == 0
        said = [line for line in logs if line["event"] == "keys_misplaced"]
        assert len(said) == 1
        assert "partitioner=murmur2_random" in said[0]["why"]
        # One id in two partitions: the metric and the audit warn of it.
        await until(lambda: counted(world, THERE) == 2)

    history(story)


def test_a_setting_dead_letters_misplaced_records_for_replay():
    """The partition that knows the id counts the record once."""

    async def story(world, process):
        await produce_misplaced(world, HERE, TENANTS[1])
        await until(lambda: misplaced(process, HERE) == 1)
        await until(lambda: process.worker.settled)
        assert counted(world, THERE) == 1
        dlq = world.broker.log(TopicPartition(HERE.topic + ".dlq", HERE.partition)).readable()
        [headers] = dlq.headers
        assert dict(headers)["dia.dlq.error_code"] == b"key_misplaced"
        from streams.operate.dlq.dead_letter import letters

        [letter] = letters(dlq, app.topology)
        assert outgoing(letter, letter.original(), HERE.topic, 2, "p").tp == THERE

    history(story, settings=REFUSING)


def test_an_invalid_value_of_the_setting_is_refused():
    """A misspelt "refuse" must not fall back to counting."""
    with pytest.raises(UsageError, match="neither count nor refuse"):
        load({"DIA_MISPLACED_KEYS": "reject"})
