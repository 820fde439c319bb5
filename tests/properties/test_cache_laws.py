"""A cache against a model: the maximal age of an answer under any failure of Redis and connections.

The source is a counter per name. Changes are repeated until the cache accepts them, as the outbox
does.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streams.connect.cache.cache import Cache, CachePolicy, SharedLayer, Versioned
from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.kind import CacheKind
from streams.connect.cache.memory import MemoryShared
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics

NAMES = st.sampled_from(["a", "b"])
PROCESSES = st.integers(0, 2)
POLICY = CachePolicy(l1_ttl_s=30.0, l2_ttl_s=300.0, wait_s=1.0)


@dataclass
class PendingGet:
    """A running get: the oldest value it may return, and its answer."""

    answer: asyncio.Task[int | None]
    at_least: int


@dataclass
class Process:
    cache: Cache[int]
    invalidations: Invalidations
    breaker: Breaker
    listening: asyncio.Task[None]
    asked: list[PendingGet] = field(default_factory=list)


class CacheMachine(RuleBasedStateMachine):
    """Three processes, one Redis, one source."""

    @initialize(versioned=st.booleans())
    def begin(self, versioned):
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.versioned = versioned
        self.shared = MemoryShared(self.clock)
        self.source = {"a": 1, "b": 1}
        self.told = {"a": 1, "b": 1}
        self.history = {"a": [(-math.inf, 1)], "b": [(-math.inf, 1)]}
        """When each value was announced."""
        self.gate: asyncio.Event = asyncio.Event()
        self.gate.set()
        self.run(self._begin())

    async def _begin(self):
        kind = CacheKind("c", self.versioned)
        self.processes = []
        for seed in range(3):
            metrics = Metrics()
            policy = BreakerPolicy(open_s=60.0)
            breaker = Breaker("redis", policy, (CacheUnavailable,), self.clock, metrics)
            invalidations = Invalidations(self.shared, self.clock, metrics)
            cache: Cache[int] = Cache(
                kind,
                encode=lambda value: str(value).encode(),
                decode=int,
                clock=self.clock,
                metrics=metrics,
                layer=SharedLayer(self.shared, breaker, invalidations),
                policy=POLICY,
                seed=seed,
            )
            listening = asyncio.create_task(invalidations.run())
            self.processes.append(Process(cache, invalidations, breaker, listening))
        await settle()

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def _load(self, name: str) -> Versioned[int]:
        value = self.source[name]
        await self.gate.wait()
        return Versioned(value, value if self.versioned else 0)

    def _at_least(self, process: Process, name: str) -> int:
        """The law: a connected process returns a value as new as the last announced change. So does
        one that reaches Redis, unless it joins a load that began earlier. Any other may return a
        value that was current one L1 lifetime ago."""
        alone = not process.cache._flights._flights
        reaches = not self.shared.away and process.breaker.state == "closed" and alone
        if process.invalidations.live or reaches:
            return self.told[name]
        since = self.clock.monotonic() - POLICY.l1_ttl_s
        joined = self.gate_shut_at if not self.gate.is_set() else math.inf
        return max(v for at, v in self.history[name] if at < min(since, joined))

    gate_shut_at = math.inf

    @rule(name=NAMES, which=PROCESSES)
    def get(self, name, which):
        """Start a get; it may wait for the source."""
        process = self.processes[which]
        at_least = self._at_least(process, name)

        async def ask():
            process.asked.append(
                PendingGet(
                    asyncio.create_task(process.cache.get(name, lambda: self._load(name))), at_least
                )
            )
            await settle()

        self.run(ask())
        self._look()

    @rule(name=NAMES, which=PROCESSES)
    def change(self, name, which):
        """The source changes and announces it."""
        self.source[name] += 1
        self._tell(name, which)

    @rule(name=NAMES, which=PROCESSES)
    def change_in_silence(self, name, which):
        """The source changes, and its announcer dies first."""
        self.source[name] += 1

    @rule(name=NAMES, which=PROCESSES)
    def tell_again(self, name, which):
        """The outbox repeats its announcements."""
        self._tell(name, which)

    def _tell(self, name, which):
        value = self.source[name]
        cache = self.processes[which].cache
        version = value if self.versioned else None
        told = cache.put(name, value, version) if value % 2 else cache.invalidate(name, version)
        try:
            self.run(told)
        except CacheUnavailable:
            return
        self.told[name] = value
        self.run(settle())
        self.history[name].append((self.clock.monotonic(), value))

    @precondition(lambda self: self.gate.is_set())
    @rule(name=NAMES, which=PROCESSES)
    def source_slows(self, name, which):
        """Loads that begin from here on, at least one, end later with the value read at their
        start."""
        self.gate = asyncio.Event()
        self.gate_shut_at = self.clock.monotonic()
        self.shared.entries.clear()
        self.get(name, which)

    @rule()
    def source_answers(self):
        self.gate.set()
        self.run(settle())
        self._look()
        for which, name in itertools.product(range(3), "ab"):
            self.get(name, which)

    @rule()
    def cut(self):
        """Listeners lose their connections; Redis keeps its data."""
        self.shared.cut()
        self.run(settle())

    @precondition(lambda self: not self.shared.away)
    @rule()
    def stop(self):
        self.shared.stop()
        self.run(settle())

    @precondition(lambda self: self.shared.away)
    @rule(empty=st.booleans())
    def start(self, empty):
        """Redis comes back, either empty or, after a network failure, with its data."""
        if empty:
            self.shared.restart()
        self.shared.away = False

    @rule(which=st.sampled_from(["entries", "floors"]))
    def evict(self, which):
        """Redis evicts entries for want of memory."""
        getattr(self.shared, which).clear()

    @rule(delta_s=st.sampled_from([0.1, 3.0, 29.0, 61.0, 400.0]))
    def wait(self, delta_s):
        self.run(self.clock.advance(delta_s))
        self._look()

    def _look(self):
        for process in self.processes:
            for asked in [asked for asked in process.asked if asked.answer.done()]:
                process.asked.remove(asked)
                value = asked.answer.result()
                assert value is not None
                assert value >= asked.at_least, (value, asked.at_least)

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        self.gate.set()
        self.run(self._end())
        self.loop.close()

    async def _end(self):
        for process in self.processes:
            await process.cache.close()
            process.listening.cancel()
            tasks = [process.listening, *(asked.answer for asked in process.asked)]
            await asyncio.gather(*tasks, return_exceptions=True)


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
