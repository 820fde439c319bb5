"""Invalidations: a process that missed some clears its caches, tries again with pauses, and says so."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.cache.invalidations import Invalidations, sweep
from streams.connect.cache.kind import MODEL, SERIES
from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.shared import CacheKey, Notice
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CacheUnavailable
from streams.core.telemetry.metrics import Metrics


class Layer:
    """The local layer of one cache; it records its notices."""

    def __init__(self, name="series"):
        self.name = name
        self.forgotten, self.cleared = [], 0

    def forget(self, name, version):
        self.forgotten.append((name, version))

    def clear(self):
        self.cleared += 1


class Attempts(MemoryShared):
    """Notes when a process tries to listen."""

    def __init__(self, clock):
        super().__init__(clock)
        self.at_s = []

    async def listen(self, listener):
        self.at_s.append(round(self.clock.monotonic(), 3))
        await super().listen(listener)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def shared(clock):
    return Attempts(clock)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def ear(shared, clock, metrics):
    """Runs with one layer until the end of the test."""
    made = Invalidations(shared, clock, metrics)
    made.add(Layer())
    running = asyncio.create_task(made.run())
    await settle()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"dia_cache_{name}", labels)


async def over(clock, seconds):
    """Advance in small steps: a pause begins only when the attempt before it has ended."""
    for _ in range(round(seconds / 0.1)):
        await clock.advance(0.1)
        await settle()


def test_a_process_is_not_live_before_it_listens(shared, clock, metrics):
    """An operator who sees 1 there trusts that no process shows old values."""
    assert not Invalidations(shared, clock, metrics).live


async def test_what_is_heard_and_missed_is_counted(ear, shared, metrics):
    """A cache whose notices do not come shows old values: only these figures tell."""
    [layer] = ear._layers.values()
    assert (ear.live, layer.cleared) == (True, 1)
    assert sample(metrics, "resyncs_total") == 1
    assert sample(metrics, "subscription_live") == 1
    await shared.announce(Notice("series", "n", 4))
    await shared.announce(Notice("series", None, 0))
    await shared.announce(Notice("of another version", "n", 4))
    await settle()
    assert (layer.forgotten, layer.cleared) == ([("n", 4)], 2)
    heard = "invalidations_total"
    assert sample(metrics, heard, cache="series", cause="heard") == 2
    assert sample(metrics, heard, cache="of another version", cause="heard") is None
    shared.stop()
    await settle()
    assert sample(metrics, "subscription_live") == 0
    assert not ear.live


async def test_pauses_between_attempts_grow_to_five_seconds(ear, shared, clock):
    """Redis that is away for an hour is not asked by every process five times a second."""
    shared.stop()
    await over(clock, 30)
    pauses = [b - a for a, b in zip(shared.at_s, shared.at_s[1:], strict=False)]
    assert pauses[:7] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], abs=0.11)


async def test_a_connection_that_lasted_begins_with_the_first_pause(ear, shared, clock):
    """A Redis that restarts is back in a moment: after an outage the day before, a process waited for 5 s."""
    shared.stop()
    await over(clock, 20)
    shared.restart()
    await over(clock, 6)
    assert ear.live
    attempts = len(shared.at_s)
    shared.cut()
    await over(clock, 0.3)
    assert len(shared.at_s) == attempts + 1
    assert ear.live


async def test_a_sweep_keeps_the_versions_of_a_source(ear, shared, clock):
    """The floor of a model is a version that its source gave. A time stamp is above all of them, so later
    changes of the model would count as old."""
    key = CacheKey(MODEL.name, "a")
    await shared.advance(key, 7, b"+seven", 60.0)
    assert await sweep(shared, MODEL, "*") == 1
    after = await shared.read(key)
    assert (after.floor, after.body) == (7, None)
    assert await shared.advance(key, 8, b"+eight", 60.0) == 8
    assert (await shared.read(key)).body == b"+eight"


async def test_a_sweep_of_a_cache_without_versions_outranks_loads_in_progress(ear, shared, clock):
    """A load that began before the sweep would bring the old value back."""
    key = CacheKey(SERIES.name, "a")
    before = await shared.floor(key, stamped=True)
    await sweep(shared, SERIES, "*")
    assert (await shared.read(key)).floor > before


async def test_a_sweep_clears_local_layers_of_names_that_redis_does_not_know(ear, shared):
    """Such a name expired in Redis first."""
    [layer] = ear._layers.values()
    cleared = layer.cleared
    assert await sweep(shared, SERIES, "*") == 0
    await settle()
    assert layer.cleared == cleared + 1


async def test_a_sweep_that_redis_does_not_answer_raises(ear, shared):
    """The operator repeats it."""
    shared.stop()
    with pytest.raises(CacheUnavailable):
        await sweep(shared, SERIES, "*")
