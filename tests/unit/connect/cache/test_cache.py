"""A two-layer cache: when it asks its source, which entries it keeps, and when they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streams.connect.cache.cache import Cache, CachePolicy, SharedLayer, Versioned
from streams.connect.cache.invalidations import Invalidations, sweep
from streams.connect.cache.kind import CacheKind
from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.sealed import SealedShared
from streams.connect.cache.shared import CacheKey
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics

POLICY = CachePolicy()


class Source:
    """The source of the cache; it counts the requests."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, name: str) -> Versioned[str]:
        self.asked += 1
        answer = Versioned(self.values.get(name), self.versions.get(name, 0))
        await self.gate.wait()
        return answer


class Process:
    """One process with its own L1, breaker and subscription."""

    def __init__(
        self, shared: MemoryShared | None, clock: VirtualClock, source: Source, versioned: bool
    ) -> None:
        self.metrics = Metrics()
        self.source = source
        self.tasks: list[asyncio.Task[None]] = []
        layer = None
        if shared is not None:
            policy = BreakerPolicy(open_s=60.0)
            breaker = Breaker("redis", policy, (CacheUnavailable,), clock, self.metrics)
            self.invalidations = Invalidations(shared, clock, self.metrics)
            layer = SharedLayer(shared, breaker, self.invalidations)
            self.tasks.append(asyncio.create_task(self.invalidations.run()))
        self.cache: Cache[str] = Cache(
            CacheKind("c", versioned), encode=str.encode, decode=bytes.decode, clock=clock, metrics=self.metrics,
            layer=layer, policy=POLICY,
        )  # fmt: skip

    async def get(self, name: str = "n") -> str | None:
        return await self.cache.get(name, lambda: self.source.load(name))

    def count(self, layer: str, result: str) -> float:
        labels = {"cache": "c", "layer": layer, "result": result}
        return self.metrics.registry.get_sample_value("dia_cache_requests_total", labels) or 0.0


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.shared = MemoryShared(self.clock)
        self.source = Source()
        self.processes: list[Process] = []

    async def process(self, *, redis: bool = True, versioned: bool = False) -> Process:
        made = Process(self.shared if redis else None, self.clock, self.source, versioned)
        self.processes.append(made)
        await settle()
        return made


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for process in world.processes:
        await process.cache.close()
        for task in process.tasks:
            task.cancel()
        await asyncio.gather(*process.tasks, return_exceptions=True)


async def test_a_process_waits_two_seconds_for_another_that_loads(world: World):
    """The other process may be dead, so a page must not wait longer for a value that the source
    has.
    """
    one = await world.process()
    world.source.values["n"] = "v"
    assert await world.shared.claim(CacheKey("c", "n"), 60.0) is not None
    asked = asyncio.ensure_future(one.get())
    for _ in range(19):
        await world.clock.advance(0.1)
        await settle()
    assert not asked.done()
    for _ in range(4):
        await world.clock.advance(0.1)
        await settle()
    assert await asked == "v"
    assert one.count("l2", "miss") == 1


async def test_a_process_that_died_while_it_loaded_delays_others_by_ten_seconds(world: World):
    """The claim of a dead process ends by itself."""
    one = await world.process()
    world.source.gate.clear()
    asked = asyncio.ensure_future(one.get())
    await settle()
    assert await world.shared.claim(CacheKey("c", "n"), 1.0) is None
    await world.clock.advance(9.9)
    assert await world.shared.claim(CacheKey("c", "n"), 1.0) is None
    await world.clock.advance(0.2)
    assert await world.shared.claim(CacheKey("c", "n"), 1.0) is not None
    world.source.gate.set()
    await asked


async def test_each_layer_reduces_requests_to_the_next(world: World):
    """One load serves all processes; one read of Redis serves one process."""
    one, two = await world.process(), await world.process()
    world.source.values["n"] = "v"
    assert [await one.get(), await one.get(), await two.get(), await two.get()] == ["v"] * 4
    assert world.source.asked == 1
    assert (one.count("l1", "hit"), two.count("l1", "hit"), two.count("l2", "hit")) == (1, 1, 1)


async def test_a_change_is_seen_by_every_process(world: World):
    """One process writes through, and all processes read the new value."""
    one, two = await world.process(), await world.process()
    world.source.values["n"] = "old"
    await one.get(), await two.get()
    await one.cache.put("n", "new")
    await settle()
    assert (await one.get(), await two.get(), world.source.asked) == ("new", "new", 1)


async def test_absence_is_remembered_for_a_shorter_time(world: World):
    """An absent name must neither cause a request each time nor stay absent for long."""
    process = await world.process()
    assert (await process.get(), await process.get(), world.source.asked) == (None, None, 1)
    assert process.count("l1", "negative") == 1
    world.source.values["n"] = "v"
    await world.clock.advance(POLICY.negative_ttl_s)
    assert await process.get() == "v"


async def test_entries_end_in_time_and_not_all_at_once(world: World):
    """Entries that were loaded together would otherwise always end together."""
    process = await world.process()
    names = [f"n{i}" for i in range(50)]
    for name in names:
        await process.get(name)
    world.source.values = dict.fromkeys(names, "v")
    await world.clock.advance(POLICY.negative_ttl_s * (1 - POLICY.jitter / 2))
    seen = [await process.get(name) for name in names]
    assert None in seen
    assert "v" in seen
    await world.clock.advance(POLICY.negative_ttl_s)
    assert {await process.get(name) for name in names} == {"v"}


async def test_a_stampede_is_one_load(world: World):
    """When a popular entry ends, not every process may ask the source."""
    processes = [await world.process() for _ in range(3)]
    world.source.values["n"] = "v"
    world.source.gate.clear()
    asking = [asyncio.create_task(p.get()) for p in processes for _ in range(20)]
    await settle()
    world.source.gate.set()
    await world.clock.advance(POLICY.wait_s)
    assert {await asked for asked in asking} == {"v"}
    assert world.source.asked == 1


async def test_a_dead_loader_delays_others_for_a_bounded_time(world: World):
    """Other processes do not wait for the claim of a killed process to end."""
    process = await world.process()
    world.source.values["n"] = "v"
    await world.shared.claim(CacheKey("c", "n"), 1000)
    asking = asyncio.create_task(process.get())
    await settle()
    await world.clock.advance(POLICY.wait_s + 1)
    assert await asking == "v"


async def test_a_cancelled_caller_does_not_end_a_shared_load(world: World):
    """Callers share a load; a cancelled one leaves the others waiting for it."""
    process = await world.process()
    world.source.values["n"] = "v"
    world.source.gate.clear()
    first, second = asyncio.create_task(process.get()), asyncio.create_task(process.get())
    await settle()
    first.cancel()
    await settle()
    world.source.gate.set()
    assert await second == "v"


async def test_a_load_that_began_before_a_change_is_not_kept(world: World):
    """A load that reads the old value before a change must not be stored after it. Only callers
    from before the change may get it.
    """
    one, two = await world.process(), await world.process()
    world.source.values["n"] = "old"
    world.source.gate.clear()
    early = asyncio.create_task(one.get())
    await settle()
    world.source.values["n"] = "new"
    await two.cache.invalidate("n")
    late = asyncio.create_task(one.get())
    await settle()
    world.source.gate.set()
    await world.clock.advance(POLICY.wait_s)
    assert await early == "old"
    assert (await late, await one.get(), await two.get()) == ("new", "new", "new")


async def test_an_invalidation_missed_while_cut_off_is_seen_at_the_next_read(world: World):
    """Publish/subscribe does not repeat messages, so L1 must not keep entries across a
    disconnection.
    """
    one, two = await world.process(), await world.process()
    world.source.values["alias"] = "old"
    await two.get("alias")
    world.shared.cut()
    await settle(1)
    world.source.values["alias"] = "new"
    await one.cache.put("alias", "new")
    assert not two.invalidations.live
    assert await two.get("alias") == "new"
    await world.clock.advance(10)
    assert two.invalidations.live
    assert await two.get("alias") == "new"


async def test_without_redis_reads_go_on_and_changes_raise(world: World):
    """An outage of the cache affects only callers that must publish a change."""
    process = await world.process()
    world.source.values["n"] = "v"
    world.shared.stop()
    await settle()
    for _ in range(10):
        assert await process.get() == "v"
    assert world.source.asked == 1
    with pytest.raises(CacheUnavailable):
        await process.cache.invalidate("n")
    world.source.values["n"] = "w"
    await world.clock.advance(POLICY.l1_ttl_s)
    assert await process.get() == "w"


async def test_an_absent_redis_is_skipped_and_used_again_later(world: World):
    """Otherwise each reader would wait for the timeout of a dead Redis."""
    process = await world.process()
    world.shared.stop()
    for i in range(10):
        await process.get(f"n{i}")
    breaker = process.cache._layer.breaker
    assert breaker.state == "open"
    world.shared.restart()
    await world.clock.advance(60)
    for i in range(10):
        await process.get(f"m{i}")
    assert breaker.state == "closed"


async def test_an_empty_redis_returns_no_old_value(world: World):
    """Redis stores nothing on disk, so floors are lost with the entries."""
    one, two = await world.process(), await world.process()
    world.source.values["n"] = "old"
    await one.get(), await two.get()
    world.shared.stop()
    await settle()
    world.shared.restart()
    world.source.values["n"] = "new"
    await one.cache.invalidate("n")
    await world.clock.advance(10)
    assert (await one.get(), await two.get()) == ("new", "new")


async def test_an_entry_without_its_floor_is_not_used(world: World):
    """Redis may evict any key. Without its floor an entry could be older than a published change."""
    one, two = await world.process(), await world.process()
    world.source.values["n"] = "old"
    await one.get()
    world.shared.floors.clear()
    world.source.values["n"] = "new"
    assert await two.get() == "new"


async def test_a_lagging_answer_of_the_source_is_not_stored(world: World):
    """A replica may be older than the published version: its answer is returned and not stored."""
    one, two = [await world.process(versioned=True) for _ in range(2)]
    world.source.values["n"], world.source.versions["n"] = "six", 6
    await one.cache.invalidate("n", 7)
    assert await two.get() == "six"
    world.source.values["n"], world.source.versions["n"] = "seven", 7
    assert await two.get() == "seven"


async def test_versions_put_out_of_order_leave_the_newest(world: World):
    """The outbox repeats changes, and a zombie may be late; each change has its version."""
    one, two = [await world.process(versioned=True) for _ in range(2)]
    await one.cache.put("n", "eight", 8)
    await two.cache.put("n", "seven", 7)
    await one.cache.put("n", "eight", 8)
    assert (await one.get(), await two.get(), world.source.asked) == ("eight", "eight", 0)


@pytest.mark.parametrize("versioned", [False, True])
async def test_an_administrator_clears_by_pattern(world: World, versioned):
    """All processes drop the entries, and the next value of the source counts whatever its version."""
    one, two = [await world.process(versioned=versioned) for _ in range(2)]
    world.source.values = {"a1": "old", "a2": "old", "b": "old"}
    for name in world.source.values:
        await one.get(name)
        await two.get(name)
    world.source.values = dict.fromkeys(world.source.values, "new")
    assert await sweep(world.shared, CacheKind("c", versioned), "a*") == 2
    await settle()
    seen = [(await one.get(name), await two.get(name)) for name in ("a1", "a2", "b")]
    assert seen == [("new", "new"), ("new", "new"), ("old", "old")]


async def test_a_single_process_needs_no_redis(world: World):
    """On one machine L1 alone gives the same guarantees."""
    process = await world.process(redis=False)
    world.source.values["n"] = "v"
    assert (await process.get(), await process.get(), world.source.asked) == ("v", "v", 1)
    await process.cache.put("n", "w")
    assert await process.get() == "w"
    await process.cache.invalidate("n")
    assert await process.get() == "v"


async def test_an_entry_of_another_format_is_loaded_again(world: World):
    """Two versions of dia share one Redis during a rollout."""
    process = await world.process()
    world.source.values["n"] = "v"
    await world.shared.advance(CacheKey("c", "n"), 5, b"+\xff\xfe", 60)
    assert await process.get() == "v"
    assert process.count("l2", "unreadable") == 1


async def test_errors_of_the_source_reach_every_caller_and_are_not_cached(world: World):
    """An error of the source must not be cached as an answer."""
    process = await world.process()

    async def fail() -> Versioned[str]:
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        *(process.cache.get("n", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
    world.source.values["n"] = "v"
    assert await process.get() == "v"


async def test_the_process_keeps_no_more_than_its_bound(world: World):
    """Memory does not grow with the size of the values."""
    process = await world.process(redis=False)
    for i in range(40):
        world.source.values[f"n{i}"] = "x" * (1 << 20)
        await process.get(f"n{i}")
    world.source.values["huge"] = "x" * (POLICY.l1_bytes + 1)
    await process.get("huge")
    assert 0 < process.cache._local.bytes <= POLICY.l1_bytes


def permissions(world, shared, **sealed):
    """A cache of values that grant something, of a process that shares ``shared``."""
    metrics = Metrics()
    breaker = Breaker("redis", BreakerPolicy(), (CacheUnavailable,), world.clock, metrics)
    layer = SharedLayer(shared, breaker, Invalidations(shared, world.clock, metrics), **sealed)
    return Cache(
        CacheKind("c", versioned=False, authorises=True), encode=str.encode, decode=bytes.decode, clock=world.clock,
        metrics=metrics, layer=layer, policy=POLICY,
    )  # fmt: skip


async def test_a_permission_without_a_seal_is_asked_of_its_source(world: World):
    """Any client of Redis could grant itself one: it is neither read there nor written."""
    key = CacheKey("c", "n")
    await world.shared.advance(key, None, b"+everything", 60.0)
    world.source.values["n"] = "little"
    cache = permissions(world, world.shared)
    assert await cache.get("n", lambda: world.source.load("n")) == "little"
    assert (await world.shared.read(key)).body == b"+everything"
    await cache.close()


async def test_a_permission_with_the_seal_of_the_cluster_is_shared(world: World):
    """The service of permissions is asked once for all processes."""
    sealed = SealedShared(world.shared, b"sixteen bytes and", world.clock)
    world.source.values["n"] = "little"
    for _ in range(2):
        cache = permissions(world, sealed, sealed=True)
        assert await cache.get("n", lambda: world.source.load("n")) == "little"
        await cache.close()
    assert world.source.asked == 1


async def test_the_time_of_a_slow_load_counts_in_the_life_of_its_entry(world: World):
    """A source that answers after 100 s answered about a state 100 s ago: no value is older than its TTL."""
    one = await world.process()
    world.source.values["n"] = "v"
    world.source.gate.clear()
    asked = asyncio.ensure_future(one.get())
    await settle()
    await world.clock.advance(100.0)
    world.source.gate.set()
    assert await asked == "v"
    rest_s = (await world.shared.read(CacheKey("c", "n"))).rest_s
    assert POLICY.l2_ttl_s * (1 - POLICY.jitter) - 100.0 <= rest_s <= POLICY.l2_ttl_s - 100.0


async def test_a_claim_that_cannot_be_given_back_costs_the_caller_nothing(world: World):
    """Redis may go away after the load; the claim ends by itself."""
    one = await world.process()
    world.source.values["n"] = "v"
    world.source.gate.clear()
    asked = asyncio.ensure_future(one.get())
    await settle()
    world.shared.away = True
    world.source.gate.set()
    assert await asked == "v"
