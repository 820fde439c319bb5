"""Answers that are kept: asked once by a crowd, given again while their source is away."""

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

WAITING = "dia_cache_write_behind_entries"
QUESTION = QueryKey(SERIES, "acme", ("series", 1))


class Hands(SystemClock):
    """A clock that is moved by hand."""

    moved_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.moved_s


class Source:
    """What is read, and how often it was asked."""

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
def clock() -> Hands:
    return Hands()


@pytest.fixture
def answers(clock) -> ResponseCache:
    return ResponseCache(None, clock, Metrics())


async def _get(answers, source, question=QUESTION):
    return json.loads(await answers.get(question, source))


async def test_a_crowd_asks_once(answers):
    """Two hundred browsers that look at the same series are one query."""
    source = Source()
    found = await asyncio.gather(*(_get(answers, source) for _ in range(200)))
    assert source.asked == 1
    assert {one["n"] for one in found} == {1}
    assert not found[0]["degraded"]


async def test_while_its_source_is_away_the_last_answer_is_given_and_says_so(answers, clock):
    """Old figures that look like new ones are worse than none."""
    source = Source()
    first = await _get(answers, source)
    clock.moved_s += FRESH_S[SERIES] + 1
    source.away = True
    second = await _get(answers, source)
    assert second == {**first, "degraded": True}
    clock.moved_s += 60
    source.away = False
    assert (await _get(answers, source))["degraded"] is False


async def test_what_was_never_read_is_an_error(answers):
    """Nothing is made up."""
    source = Source()
    source.away = True
    with pytest.raises(ShardUnavailable):
        await _get(answers, source)


async def test_tenants_and_kinds_never_share_an_answer(answers):
    """The tenant is part of the name: the same question of two tenants is two questions."""
    source = Source()
    questions = [
        QueryKey(kind, tenant, ("series", 1))
        for kind in (SERIES, CATALOG)
        for tenant in ("", "acme", "acm", "4:acme")
    ]
    found = [(await _get(answers, source, question))["n"] for question in questions]
    assert len(set(found)) == len(questions) == len({question.name for question in questions})


async def test_redis_away_costs_a_reader_nothing(clock):
    """Caches fail open: answers come from the source, and are kept in the process."""
    shared, metrics, source = MemoryShared(clock), Metrics(), Source()
    shared.stop()
    answers = ResponseCache(shared_layer(shared, clock, metrics), clock, metrics)
    assert (await _get(answers, source))["n"] == 1
    assert (await _get(answers, source))["n"] == 1
    await answers.close()


async def test_answers_are_kept_behind_the_back_of_who_asked(clock):
    """A Redis that hangs or is away must not be waited for; when it is there, and at a stop, what
    others may need is written."""
    shared, metrics, source = MemoryShared(clock), Metrics(), Source()
    shared.stop()
    answers = ResponseCache(shared_layer(shared, clock, metrics), clock, metrics)
    first = await _get(answers, source)
    assert metrics.registry.get_sample_value(WAITING, {"cache": KEPT.name}) == 1
    clock.moved_s += FRESH_S[SERIES] + 1
    source.away = True
    assert await _get(answers, source) == {**first, "degraded": True}, "it is not lost meanwhile"
    shared.restart()
    await answers.close()
    assert metrics.registry.get_sample_value(WAITING, {"cache": KEPT.name}) == 0
    other = ResponseCache(shared_layer(shared, clock, Metrics()), clock, Metrics())
    assert await _get(other, source) == {**first, "degraded": True}, "another process has it too"
    await other.close()


async def test_what_waits_to_be_kept_is_bounded(clock):
    """A day without Redis must not fill the memory, nor make anybody wait."""
    shared, metrics, source = MemoryShared(clock), Metrics(), Source()
    shared.stop()
    answers = ResponseCache(shared_layer(shared, clock, metrics), clock, metrics)
    for number in range(BEHIND_MAX + 5):
        await _get(answers, source, QueryKey(SERIES, "acme", ("series", number)))
    assert metrics.registry.get_sample_value(WAITING, {"cache": KEPT.name}) == BEHIND_MAX
    await answers.close()
