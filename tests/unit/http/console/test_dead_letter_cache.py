"""The cache of dead letters: it equals the queue, reads it once, and holds only short queues."""

from __future__ import annotations

import pytest

from agents.app import MODEL_METRICS, app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.types import TopicPartition
from streams.http.console.dead_letters import cache as shelves
from streams.http.console.dead_letters.cache import DeadLetterCache
from streams.http.console.logs import Logs
from streams.operate.dlq.dead_letter import letters
from streams.operate.topics.topics import wanted_topics
from tests.unit.operate.dlq.mailbag import GOOD, fill, letter

LETTERS = 12


def _some(first: int, count: int):
    return [letter(n, GOOD, "wrong_type", "why", key=b"acme") for n in range(first, first + count)]


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics(wanted_topics(app.topology))
    return made


@pytest.fixture
def dead_letter_cache(broker, monkeypatch) -> DeadLetterCache:
    """A cache that reads the queue again at each request."""
    monkeypatch.setattr(shelves, "FRESH_S", 0.0)
    return DeadLetterCache(MODEL_METRICS, app.topology, Logs(broker, SystemClock()), SystemClock())


def _all(held) -> list[str]:
    return [one.id for span in held.spans for one in held.between(span)]


def _in_the_queue(broker) -> list[str]:
    found = []
    for number in range(MODEL_METRICS.partitions):
        tp = TopicPartition(MODEL_METRICS.dlq, number)
        found += [one.id for one in letters(broker.log(tp).read_committed(0, 1000), app.topology)]
    return found


async def test_new_dead_letters_are_added_to_the_cached_ones(
    dead_letter_cache, broker, monkeypatch
):
    """Many users within a minute must not read the queue a thousand times."""
    await fill(broker, *_some(0, LETTERS))
    assert _all(await dead_letter_cache.read()) == _in_the_queue(broker)
    decoded = []

    async def counted(reader, spans, *bounds, **options):
        async for page in scanned(reader, spans, *bounds, **options):
            decoded.extend(page)
            yield page

    scanned = shelves.scan
    monkeypatch.setattr(shelves, "scan", counted)
    await fill(broker, *_some(LETTERS, 3))
    assert _all(await dead_letter_cache.read()) == _in_the_queue(broker)
    assert len(decoded) == 3


async def test_a_recreated_queue_is_read_again(dead_letter_cache, broker):
    """Dead letters of the old queue must not appear in the new one."""
    await fill(broker, *_some(0, LETTERS))
    assert len(_all(await dead_letter_cache.read())) == LETTERS
    admin = await broker.admin()
    await admin.delete_topics([MODEL_METRICS.dlq])
    await admin.create_topics(
        [one for one in wanted_topics(app.topology) if one.name == MODEL_METRICS.dlq]
    )
    await fill(broker, *_some(100, 2))
    assert _all(await dead_letter_cache.read()) == _in_the_queue(broker)


@pytest.mark.parametrize(("bound", "at"), [("OFFSETS_MAX", LETTERS - 1), ("BYTES_MAX", 100)])
async def test_a_long_queue_is_not_cached(dead_letter_cache, broker, monkeypatch, bound, at):
    """Memory is bounded in dead letters and in bytes; a queue that is short again is cached again."""
    await fill(broker, *_some(0, LETTERS))
    monkeypatch.setattr(shelves, bound, at)
    assert await dead_letter_cache.read() is None
    monkeypatch.setattr(shelves, bound, 1 << 30)
    assert _all(await dead_letter_cache.read()) == _in_the_queue(broker)


async def test_a_part_of_a_span_has_its_letters(dead_letter_cache, broker):
    """Pages of a list begin in the middle of a partition."""
    await fill(broker, *_some(0, LETTERS))
    held = await dead_letter_cache.read()
    for span in held.spans:
        for start in range(span.start, span.end + 1):
            part = span._replace(start=start)
            wanted = [one.offset for one in held.between(span) if one.offset >= start]
            assert [one.offset for one in held.between(part)] == wanted
