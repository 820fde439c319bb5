"""Whether the new version can read what the running one has written, before it stops a partition."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.reader import MemoryReader
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.core.types import OffsetOutOfRange, OutboundRecord, TopicConfig, TopicPartition
from streams.engine.state.changelog import READABLE, Counters, Link, pack
from streams.operate.upgrade.formats import examine_formats
from streams.operate.upgrade.upgrade_finding import UpgradeState

CHANGELOG = TopicPartition("changelog", 0)
UNREADABLE = [max(READABLE) + 1, min(READABLE) - 1]


def _commit(format_number):
    zeros = dict.fromkeys(
        (
            *("seq", "epoch", "part", "parts", "from_offset", "next_offset", "base_offset"),
            *("last_offset", "last_append_ms", "watermark_ms", "start_offset", "written_bytes"),
        ),
        0,
    )
    [(data, _)] = pack(Link(**zeros, counters=Counters(), secret=b"s"), [])
    return data[:2] + bytes([format_number]) + data[3:]


async def _examined(values):
    broker = MemoryBroker(SystemClock())
    await (await broker.admin()).create_topics([TopicConfig(CHANGELOG.topic, 1, 1, {})])
    producer = broker.transactional_producer("worker")
    await producer.start()
    for value in values:
        await producer.begin()
        await (await producer.send(OutboundRecord(CHANGELOG, None, value)))
        await producer.commit()
    return await examine_formats(await broker.reader(), [CHANGELOG])


@pytest.mark.parametrize("count", [0, 1, 40])
async def test_a_state_of_readable_formats_is_ready(count):
    """An empty changelog is one of a partition that has done nothing yet."""
    (found,) = await _examined([_commit(sorted(READABLE)[n % 2]) for n in range(count)])
    assert found.state is UpgradeState.READY


@pytest.mark.parametrize("version", UNREADABLE)
@pytest.mark.parametrize("at", [0, -1])
async def test_an_unreadable_format_at_either_end_is_refused(version, at):
    """The oldest record is where a restore begins, the newest is what the running version writes."""
    values = [_commit(max(READABLE)) for _ in range(40)]
    values[at] = _commit(version)
    (found,) = await _examined(values)
    assert found.state is UpgradeState.REFUSED
    assert f"format {version}" in found.detail


async def test_records_of_another_program_are_refused():
    """Such a changelog stops its partition too."""
    (found,) = await _examined([_commit(max(READABLE)), b"hello"])
    assert found.state is UpgradeState.REFUSED


async def test_a_log_that_is_trimmed_at_each_look_is_not_taken_for_a_readable_one(monkeypatch):
    """Nothing of it was read, and the check said that its format is."""

    async def trimmed(reader, tp, offset, max_records=5000):
        raise OffsetOutOfRange(tp, offset)

    monkeypatch.setattr(MemoryReader, "read", trimmed)
    with pytest.raises(BrokerUnavailable, match="trimmed"):
        await _examined([_commit(max(READABLE))])
