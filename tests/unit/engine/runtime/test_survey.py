"""A changelog read from outside, while its owner trims it."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.reader import MemoryReader
from streams.core.errors import BrokerUnavailable
from streams.engine.runtime.restore.survey import survey
from tests.unit.engine.runtime.conftest import CHANGELOG

COMMITS = 6


class TrimmingReader(MemoryReader):
    """The log loses its first record before each of the next ``trims`` reads."""

    trims = 0

    async def read(self, tp, offset, max_records=5000):
        if self.trims:
            self.trims -= 1
            log = self._cluster.log(tp)
            log.trim(log.start_offset + 1)
        return await super().read(tp, offset, max_records)


@pytest.fixture
async def reader(rig):
    await rig.open()
    for _ in range(COMMITS):
        await rig.produce_events(1)
        await rig.fold()
        await rig.commit()
    return TrimmingReader(rig.broker._cluster)


async def test_a_survey_begins_anew_where_the_owner_trims_the_log(rig, reader):
    """`dia rebuild`, `dia audit` and `dia tables` read beside a running worker."""
    whole = await survey(reader, CHANGELOG)
    reader.trims = 2
    found = await survey(reader, CHANGELOG)
    assert found.begin_offset == whole.begin_offset + 2
    assert (found.last, found.end_offset) == (whole.last, whole.end_offset)


async def test_a_log_that_is_trimmed_without_end_is_no_wait_without_end(rig, reader):
    """The message says to try again: the next survey may be faster than the owner."""
    reader.trims = COMMITS * 4
    with pytest.raises(BrokerUnavailable, match="was trimmed 5 times while it was read"):
        await survey(reader, CHANGELOG)
