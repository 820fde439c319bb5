"""Which requests of a partition are whole in memory, which only in the index, and how the latter
are read again.
"""

from __future__ import annotations

import numpy as np
import pytest

from streams.core.errors import BatchUnreadable, RequestUnread, SchemaRegistryUnavailable
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.agents.job_agent import Ask
from streams.engine.decode.codecs import Decoded
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.jobs.held_requests import HeldRequests
from streams.engine.runtime.jobs.requests import Request, held_bytes

TP = TopicPartition("requests", 0)
VALUE = b"x" * 80
HIGH, NORMAL = 5, 4
"""the lowest and the highest of their lanes"""


def log_of(offsets, shift_ms=0):
    """A batch with one request at each offset; ``shift_ms`` makes it another log."""
    count = len(offsets)
    return RecordBatch(
        TP,
        offsets[0],
        offsets[-1] + 1,
        list(offsets),
        [1000 + offset + shift_ms for offset in offsets],
        [b"t"] * count,
        [VALUE] * count,
        [()] * count,
    )


def request(offset, priority=NORMAL):
    batch = log_of([offset])
    ask = Ask("t", f"k{offset}", b"", priority, "s")
    origin = Origin.of(batch, 0, 0)
    return Request(
        None, f"event {offset}", ask, offset=offset, append_ms=1000 + offset, origin=origin
    )


ONE = held_bytes(request(0).origin)


class Log:
    """The answers of repeated reads, and their number."""

    def __init__(self, offsets=range(20), shift_ms=0, error=None):
        self.batch, self.error, self.reads = log_of([*offsets], shift_ms), error, []

    async def read(self, tp, offset, max_records):
        self.reads.append((tp, offset))
        if self.error is not None:
            raise self.error
        return self.batch


def decode(batch):
    events = [f"event {offset}" for offset in batch.offsets]
    times = np.zeros(len(events), np.int64)
    return Decoded(events, None, times, times, [])


@pytest.fixture
def opened():
    """Makes an instance with room for ``whole`` requests; the log has lost the ``lost`` ones."""

    def open_(whole, log=None, decode=decode):
        lost = []
        held = HeldRequests(TP, whole * ONE, 0, log or Log(), decode, lost.append)
        return held, lost

    return open_


def test_a_quarter_of_the_room_is_left_for_high_priority(opened):
    """High priority starts at once: reading such a request again would cost the time that its
    priority saves.
    """
    held, _ = opened(8)
    normal = [request(offset) for offset in range(7)]
    high = [request(offset, HIGH) for offset in range(7, 10)]
    for one in (*normal, *high):
        held.take(one)
    assert [one in held for one in normal] == [True] * 6 + [False]
    assert [one in held for one in high] == [True, True, False]
    assert held.bytes_used == 8 * ONE
    assert held.indexed == 2


def test_an_indexed_request_keeps_no_bytes_and_no_event(opened):
    """A backlog of millions costs only its index."""
    held, _ = opened(1)
    one = request(1)
    held.take(one)
    assert (one.event, one.origin, one.held_bytes) == (None, None, 0)
    assert held.bytes_used == 0


def test_a_request_is_taken_once(opened):
    """A second take may belong to a repeat that was decided before."""
    held, _ = opened(4)
    kept, gone = request(0), request(1)
    held.take(kept)
    held.take(kept)
    assert held.bytes_used == ONE
    held.let_go(gone)
    held.take(gone)
    assert (held.bytes_used, held.indexed) == (ONE, 0)


def test_a_removed_request_makes_room_for_the_next(opened):
    """Held or indexed, the request is removed whole, or a long-running partition would fill up."""
    held, _ = opened(2)
    first, second = request(0), request(1)
    held.take(first)
    held.take(second)
    assert (first in held, second in held) == (True, False)
    held.let_go(first)
    held.let_go(second)
    assert (held.bytes_used, held.indexed) == (0, 0)
    assert (first.event, first.origin, first.held_bytes) == (None, None, 0)
    third = request(2)
    held.take(third)
    assert third in held


async def test_a_read_returns_the_wanted_request_and_others_that_fit(opened):
    """Each read costs a fetch, so it keeps as many requests of the batch as fit for normal
    priority.
    """
    log = Log()
    held, lost = opened(8, log)
    requests = [request(offset) for offset in range(20)]
    for one in requests:
        held.take(one)
    for one in requests[:6]:
        held.let_go(one)
    assert await held.load(requests[19]) == "event 19"
    assert log.reads == [(TP, 19)]
    assert requests[19].origin.value == VALUE
    assert [one.offset for one in requests[6:] if one in held] == [6, 7, 8, 9, 10, 11, 19]
    assert held.bytes_used == 7 * ONE
    assert await held.load(requests[7]) == "event 7"
    assert len(log.reads) == 1
    assert lost == []


async def test_the_wanted_one_comes_back_without_room(opened):
    """The oldest request and a prepared request must go on, or the partition stops moving."""
    held, _ = opened(4)
    requests = [request(offset) for offset in range(6)]
    for one in requests:
        held.take(one)
    requests[4].stage = "preparing"
    assert await held.load(requests[5]) == "event 5"
    assert [one in held for one in requests] == [True, True, True, False, True, True]
    assert held.bytes_used == 5 * ONE


@pytest.mark.parametrize("log", [Log(shift_ms=1), Log(range(5))], ids=["another", "none"])
async def test_a_log_with_another_record_there_has_lost_the_request(opened, log):
    """The log lost its end and grew again: its record there is another request."""
    held, lost = opened(1, log)
    one = request(9)
    held.take(one)
    with pytest.raises(RequestUnread, match="offset 9 of requests/0 is another record"):
        await held.load(one)
    assert lost == [one]
    assert one not in held


async def test_a_damaged_batch_has_lost_the_request(opened):
    """The partition stops at the batch; a disk error does not refuse the request."""
    held, lost = opened(1, Log(error=BatchUnreadable(TP, 9, 10, "damaged")))
    one = request(9)
    held.take(one)
    with pytest.raises(RequestUnread, match="damaged"):
        await held.load(one)
    assert lost == [one]


async def test_a_schema_registry_that_is_away_loses_no_request(opened):
    """The record exists: the request waits until the registry answers."""

    def undecided(batch):
        raise SchemaRegistryUnavailable("away")

    held, lost = opened(1, decode=undecided)
    one = request(9)
    held.take(one)
    with pytest.raises(RequestUnread, match="away"):
        await held.load(one)
    assert lost == []
