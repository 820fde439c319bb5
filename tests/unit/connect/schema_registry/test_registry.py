"""Schemas in memory: bounded, fetched in groups, behind a breaker."""

from __future__ import annotations

import pytest

from streams.connect.schema_registry import registry as module
from streams.connect.schema_registry.memory import MemoryRegistry
from streams.connect.schema_registry.registry import BREAKER, UNKNOWN_S, SchemaRegistry
from streams.core.errors import SchemaPending, SchemaRegistryUnavailable, SubjectPending
from streams.core.formats.schema_source import Subject
from streams.core.telemetry.metrics import Metrics


class StillClock:
    now_s = 0.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def memory():
    return MemoryRegistry()


@pytest.fixture
def source(memory, clock):
    return SchemaRegistry(memory, clock, Metrics())


def _subjects(count):
    return [Subject(f"s{i}", "AVRO", f'"{i}"') for i in range(count)]


async def _asked(source, ids):
    with pytest.raises(SchemaPending) as pending:
        source.by_id(ids)
    await pending.value.obtain()


async def test_answered_schemas_are_kept_although_others_fail(source, memory):
    """Otherwise a registry with occasional failures would never complete a large batch."""
    numbers = [memory.put(one) for one in _subjects(20)]
    real, failing = memory.schema, {numbers[13]}

    async def sometimes(number):
        if number in failing:
            raise SchemaRegistryUnavailable("not this one")
        return await real(number)

    memory.schema = sometimes
    with pytest.raises(SchemaPending) as pending:
        source.by_id(numbers)
    with pytest.raises(SchemaRegistryUnavailable):
        await pending.value.obtain()
    failing.clear()
    before = memory.asked
    await pending.value.obtain()
    assert memory.asked == before + 1
    assert len(source.by_id(numbers)) == 20


async def test_the_oldest_schemas_are_evicted_and_the_newest_kept(source, memory, monkeypatch):
    """A batch with more ids than the cache holds must still be decoded instead of being requested
    again without end.
    """
    monkeypatch.setattr(module, "SCHEMAS_MAX", 3)
    numbers = [memory.put(one) for one in _subjects(8)]
    await _asked(source, numbers[:3])
    await _asked(source, numbers[3:])
    assert len(source.by_id(numbers[3:])) == 5
    with pytest.raises(SchemaPending):
        source.by_id(numbers[:1])


async def test_an_unknown_id_is_requested_again_after_a_while(source, memory, clock):
    """A replica of the registry may have been behind; a replay then finds the schema."""
    await _asked(source, [1])
    assert source.by_id([1]) == {1: None}
    memory.put(*_subjects(1))
    clock.now_s += UNKNOWN_S - 1
    assert source.by_id([1]) == {1: None}
    clock.now_s += 1
    await _asked(source, [1])
    assert source.by_id([1])[1].text == '"0"'


async def test_an_absent_registry_is_not_called_during_the_back_off(source, memory, clock):
    """Hundreds of partitions must not each call the registry every second of an outage."""
    memory.away = True
    for _ in range(BREAKER.failures + 5):
        with pytest.raises(SubjectPending) as pending:
            source.id_of(_subjects(1)[0])
        with pytest.raises(SchemaRegistryUnavailable):
            await pending.value.obtain()
    assert memory.asked == BREAKER.failures
    memory.away = False
    clock.now_s += BREAKER.open_s
    await pending.value.obtain()
    assert source.id_of(_subjects(1)[0]) == 1
