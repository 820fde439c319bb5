"""Cached answers: one request to the source for many readers, and the last answer during an outage."""

from __future__ import annotations

import asyncio
import json

import pytest

from streams.connect.cache.kind import CATALOG, KEPT, SERIES
from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.process import shared_layer
from streams.core.clock import SystemClock
from streams.core.errors import ShardUnavailable
from streams.core.telemetry.metrics import Metrics
from streams.http.console.response_cache import BEHIND_MAX, FRESH_S, QueryKey, ResponseCache
from streams.http.console.tagged_answer import tag_of

WAITING = "dia_cache_write_behind_entries"
QUESTION = QueryKey(SERIES, "acme", ("series", 1))


class ManualClock(SystemClock):
    """A clock that the test moves."""

    moved_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.moved_s


class Source:
    """The source of the cache; it counts the requests."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise ShardUnavailable("away")
        return {"n": self.asked}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def answers(clock) -> ResponseCache:
    return ResponseCache(None, clock, Metrics())


async def _get(answers, source, question=QUESTION):
    return json.loads(await answers.get(question, source))


async def test_all_readers_get_the_same_bytes_with_their_tag(answers):
    """A copy and a digest of the whole answer for each reader costs more the larger the answer is."""
    source = Source()
    first = await answers.get(QUESTION, source)
    assert await answers.get(QUESTION, source) is first
    assert first.tag == tag_of(bytes(first))


async def test_concurrent_readers_make_one_request(answers):
    """Two hundred browsers with the same series make one query."""
    source = Source()
    found = await asyncio.gather(*(_get(answers, source) for _ in range(200)))
    assert source.asked == 1
    assert {one["n"] for one in found} == {1}
    assert not found[0]["degraded"]


async def test_during_an_outage_the_last_answer_is_returned_and_marked(answers, clock):
    """Old figures must be marked as such."""
    source = Source()
    first = await _get(answers, source)
    clock.moved_s += FRESH_S[SERIES] + 1
    source.away = True
    second = await _get(answers, source)
    assert second == {**first, "degraded": True}
    clock.moved_s += 60
    source.away = False
    assert (await _get(answers, source))["degraded"] is False


async def test_an_outage_without_an_earlier_answer_is_an_error(answers):
    """Without an earlier answer the outage is an error."""
    source = Source()
    source.away = True
    with pytest.raises(ShardUnavailable):
        await _get(answers, source)


async def test_tenants_and_kinds_never_share_an_answer(answers):
    """The tenant is part of the key: the same query of two tenants has two entries."""
    source = Source()
    questions = [
        QueryKey(kind, tenant, ("series", 1))
        for kind in (SERIES, CATALOG)
        for tenant in ("", "acme", "acm", "4:acme")
    ]
    found = [(await _get(answers, source, question))["n"] for question in questions]
    assert len(set(found)) == len(questions) == len({question.name for question in questions})


async def test_an_outage_of_redis_does_not_affect_readers(clock):
    """The cache fails open: answers come from the source and are kept in the process."""
    shared, metrics, source = MemoryShared(clock), Metrics(), Source()
    shared.stop()
    answers = ResponseCache(shared_layer(shared, clock, metrics), clock, metrics)
    assert (await _get(answers, source))["n"] == 1
    assert (await _get(answers, source))["n"] == 1
    await answers.close()


async def test_answers_are_written_to_redis_in_the_background(clock):
    """Readers do not wait for a hanging or absent Redis. Queued answers are written when it is
    available, and at a stop.
    """
    shared, metrics, source = MemoryShared(clock), Metrics(), Source()
    shared.stop()
    answers = ResponseCache(shared_layer(shared, clock, metrics), clock, metrics)
    first = await _get(answers, source)
    assert metrics.registry.get_sample_value(WAITING, {"cache": KEPT.name}) == 1
    clock.moved_s += FRESH_S[SERIES] + 1
    source.away = True
    assert await _get(answers, source) == {**first, "degraded": True}, (
        "the queued answer must not be lost"
    )
    shared.restart()
    await answers.close()
    assert metrics.registry.get_sample_value(WAITING, {"cache": KEPT.name}) == 0
    other = ResponseCache(shared_layer(shared, clock, Metrics()), clock, Metrics())
    assert await _get(other, source) == {**first, "degraded": True}, (
        "another process must get the answer from Redis"
    )
    await other.close()


async def test_the_queue_of_answers_is_bounded(clock):
    """A day without Redis must neither fill the memory nor delay a reader."""
    shared, metrics, source = MemoryShared(clock), Metrics(), Source()
    shared.stop()
    answers = ResponseCache(shared_layer(shared, clock, metrics), clock, metrics)
    for number in range(BEHIND_MAX + 5):
        await _get(answers, source, QueryKey(SERIES, "acme", ("series", number)))
    assert metrics.registry.get_sample_value(WAITING, {"cache": KEPT.name}) == BEHIND_MAX
    await answers.close()
