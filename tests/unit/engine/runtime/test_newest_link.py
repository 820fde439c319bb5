"""The last commit of a changelog, read from its end while its owner goes on."""

from __future__ import annotations

import msgspec
import pytest

from streams.connect.broker.memory.reader import MemoryReader
from streams.core.errors import BrokerUnavailable
from streams.engine.runtime.restore.newest_link import newest_link
from streams.engine.runtime.restore.survey import survey
from streams.engine.state.changelog import pack
from tests.unit.engine.runtime.conftest import CHANGELOG

COMMITS = 40


class CountingReader(MemoryReader):
    """Counts the records that it returns; before each of the next ``trims`` reads, the log loses all that is
    below that offset and one more record."""

    records = 0
    trims = 0

    async def read(self, tp, offset, max_records=5000):
        if self.trims:
            self.trims -= 1
            self._cluster.log(tp).trim(offset + 1)
        batch = await super().read(tp, offset, max_records)
        self.records += len(batch)
        return batch


@pytest.fixture
async def reader(rig):
    await rig.open()
    for _ in range(COMMITS):
        await rig.produce_events(1)
        await rig.fold()
        await rig.commit()
    return CountingReader(rig.broker._cluster)


async def test_the_last_commit_costs_no_read_of_the_whole_log(rig, reader):
    """A mover asks each partition every two seconds, beside changelogs of gigabytes."""
    whole = await survey(CountingReader(rig.broker._cluster), CHANGELOG)
    assert await newest_link(reader, CHANGELOG) == whole.last
    assert 0 < reader.records < COMMITS / 2


async def test_a_commit_of_many_parts_is_read_from_its_first_one(rig, reader):
    """The end of the log may be parts of it alone."""
    before = await newest_link(reader, CHANGELOG)
    assert before is not None
    entries = [(bytes([number]), b"value") for number in range(COMMITS)]
    link = msgspec.structs.replace(before, seq=before.seq + 1)
    parts = [value for value, _ in pack(link, entries, part_bytes=1)]
    await send(rig, parts[:-1])
    assert await newest_link(reader, CHANGELOG) == before
    await send(rig, parts[-1:])
    found = await newest_link(reader, CHANGELOG)
    assert found is not None
    assert (found.seq, found.parts) == (link.seq, COMMITS)


async def send(rig, values):
    producer = rig.broker.plain_producer()
    for value in values:
        await (await producer.send(CHANGELOG.topic, None, value))


async def test_a_log_without_a_commit_has_no_newest_link(rig):
    """A partition that no worker opened yet."""
    assert await newest_link(CountingReader(rig.broker._cluster), CHANGELOG) is None


async def test_an_end_that_is_trimmed_is_read_anew_a_few_times(reader):
    """An owner of little state trims up to its last commits; a wait without end would hold a mover."""
    reader.trims = 2
    found = await newest_link(reader, CHANGELOG)
    assert found is not None
    assert found.next_offset == COMMITS
    reader.trims = COMMITS
    with pytest.raises(BrokerUnavailable, match="was trimmed 5 times while its end was read"):
        await newest_link(reader, CHANGELOG)
