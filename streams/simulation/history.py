"""One random history of the whole system, from a seed: producers, weather, crashes, calm, check.

The same seed makes the same history, step for step, so a failing one can be looked at as often
as needed. Everything that can go wrong does so between two turns of one event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence

from streams.agent import AgentSpec
from streams.broker.memory_faults import Call
from streams.errors import BrokerUnavailable, DiaError
from streams.settings import Settings
from streams.simulation.loop import VirtualLoop, run
from streams.simulation.truth import Expected, check
from streams.simulation.world import Process, World, die_here
from streams.topology import MODEL_METRICS

SETTINGS = Settings(
    commit_interval_s=0.25,
    commit_timeout_s=4.0,
    session_timeout_s=6.0,
    idle_close_s=2.0,
    late_hold_s=3.0,
    emit_interval_s=0.5,
    rollup_interval_s=2.0,
    sink_batch_rows=100,
    sink_queue_rows=1000,
    fetch_max_records=20,
    dedupe_ttl_s=60,
    max_live_windows=1000,
)
"""Small times and buffers, so that a short history meets every bound."""

STEPS = 40
SLOTS = 2
CALM_S = 900.0
_CALLS: tuple[Call, ...] = (
    "join",
    "fetch",
    "read",
    "start",
    "send",
    "send_offsets",
    "commit",
    "admin",
)


class NotSettled(AssertionError):
    """The system did not come to rest although nothing was wrong with the world any more."""


def simulate(seed: int, agents: Sequence[AgentSpec], settings: Settings = SETTINGS) -> Expected:
    """Run the history of ``seed``. Raises `Difference` or `NotSettled`."""
    loop = VirtualLoop()
    world = World(loop, settings, agents, partitions=2)
    return run(loop, _History(world, random.Random(seed)).run())


class _History:
    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._processes: list[Process] = []
        self._sent: list[tuple[bytes, bytes]] = []
        self._number = 0
        self._faults: list[tuple[int, Callable[[], object]]] = [
            (12, self._kill),
            (12, self._start),
            (6, self._stop),
            (12, self._die_at_a_call),
            (6, self._die_at_a_write),
            (8, self._doubt),
            (4, lambda: world.broker.faults.refuse_send(nth=rng.randint(1, 4))),
            (6, self._fail_a_call),
            (6, self._delay_a_call),
            (3, self._broker_away),
            (5, lambda: world.broker.rebalance("dia-group")),
            (6, self._mute),
            (12, self._shard_weather),
            (2, self._spoil_a_disk),
            (2, self._jump_clock),
            (3, lambda: world.broker.faults.duplicate_markers(rng.randint(1, 3))),
            (2, lambda: world.broker.faults.duplicate_callbacks(1)),
        ]

    async def run(self) -> Expected:
        await self._world.create_topics()
        self._start()
        for _ in range(STEPS):
            await self._produce()
            if self._rng.random() < 0.6:
                weights = [weight for weight, _ in self._faults]
                _, fault = self._rng.choices(self._faults, weights)[0]
                outcome = fault()
                if asyncio.iscoroutine(outcome):
                    await outcome
            await asyncio.sleep(self._rng.choice((0.0, 0.05, 0.3, 1.0, 4.0)))
        await self._calm()
        return await check(self._world)

    async def _calm(self) -> None:
        """Everything works again; one fresh process must bring the system to rest."""
        faults = self._world.broker.faults
        faults.heal()
        for shard in self._world.shards.faults:
            shard.down = shard.busy = False
            shard.slow_s, shard.fail_after_rows = 0.0, None
        for disk in self._world.disks.values():
            disk.die_before_write = disk.die_after_write = False
        for process in self._processes:
            await process.kill()
        last = self._world.process(0, "calm")
        last.start()
        deadline = self._world.clock.monotonic() + CALM_S
        while self._world.clock.monotonic() < deadline:
            await asyncio.sleep(1.0)
            if last.failure is not None:
                raise last.failure
            counts = last.worker.counts()
            everything = counts is not None and counts.ready == self._world.partitions
            if everything and last.worker.settled:
                await last.stop()
                return
        raise NotSettled(
            str(
                [
                    (p.tp, p.phase, p.lag, p.stopped_by)
                    for g in last.worker.groups
                    for p in g.partitions.values()
                ]
            )
        )

    # --- producers ---------------------------------------------------------------------------

    async def _produce(self) -> None:
        producer = self._world.broker.plain_producer()
        records = [self._record() for _ in range(self._rng.randint(0, 12))]
        try:
            for key, value in records:
                await (await producer.send(MODEL_METRICS.name, key, value))
                self._sent.append((key, value))
        except DiaError:
            return  # the source log, not the producer, says what was sent

    def _record(self) -> tuple[bytes, bytes]:
        rng = self._rng
        draw = rng.random()
        if self._sent and draw < 0.15:
            return rng.choice(self._sent[-60:])
        if self._sent and draw < 0.18:
            return self._conflict(rng.choice(self._sent[-20:]))
        if draw < 0.22:
            return b"t0", rng.choice((b"{", b"", b"\xff", b'{"tenant_id": "t0"}', b"[1]"))
        self._number += 1
        tenant = f"t{rng.randint(0, 3)}"
        lag_ms = rng.choice((0, 0, 0, 20_000, 90_000, 400_000, -100_000, -10_000_000))
        event = {
            "event_id": f"e{self._number}",
            "tenant_id": tenant,
            "model_id": rng.choice(("m0", "m1")),
            "metric": "x",
            "ts": self._world.clock.now_ms() - lag_ms,
            "value": rng.choice((0.0, -1.5, rng.random(), 1e6)),
        }
        key = tenant if rng.random() > 0.02 else "somebody"
        return key.encode(), json.dumps(event).encode()

    def _conflict(self, record: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        try:
            event = json.loads(record[1])
            return record[0], json.dumps({**event, "value": 77.0}).encode()
        except (ValueError, TypeError):
            return record

    # --- faults ------------------------------------------------------------------------------

    def _alive(self) -> list[Process]:
        self._processes = [p for p in self._processes if p.alive]
        return self._processes

    def _start(self) -> None:
        taken = {(p.host, p.slot) for p in self._alive()}
        free = [(h, s) for h in ("a", "b") for s in range(SLOTS) if (h, s) not in taken]
        if free:
            host, slot = self._rng.choice(free)
            process = self._world.process(slot, host)
            self._processes.append(process)
            process.start()

    async def _kill(self) -> None:
        if alive := self._alive():
            await self._rng.choice(alive).kill()
        if self._rng.random() < 0.7:
            self._start()

    async def _stop(self) -> None:
        if alive := self._alive():
            process = self._rng.choice(alive)
            try:
                await process.stop()
            except DiaError:
                await process.kill()

    def _die_at_a_call(self) -> None:
        self._world.broker.faults.before(
            self._rng.choice(_CALLS), die_here, nth=self._rng.randint(1, 6)
        )

    def _die_at_a_write(self) -> None:
        for disk in self._world.disks.values():
            if self._rng.random() < 0.5:
                disk.die_before_write = True
            else:
                disk.die_after_write = True

    def _doubt(self) -> None:
        applied = self._rng.random() < 0.5
        self._world.broker.faults.doubt_commit(applied=applied, nth=self._rng.randint(1, 3))

    def _fail_a_call(self) -> None:
        error = BrokerUnavailable("scripted")
        self._world.broker.faults.fail(
            self._rng.choice(_CALLS[3:7]), error, nth=self._rng.randint(1, 4)
        )

    def _delay_a_call(self) -> None:
        self._world.broker.faults.delay(
            self._rng.choice(_CALLS[3:7]),
            self._rng.choice((0.1, 1.0, 6.0)),
            nth=self._rng.randint(1, 4),
        )

    async def _broker_away(self) -> None:
        self._world.broker.faults.down()
        await asyncio.sleep(self._rng.choice((0.5, 5.0, 20.0)))
        self._world.broker.faults.up()

    def _mute(self) -> None:
        """A process that sends no heartbeats but goes on: a zombie, once the group moved on."""
        if alive := self._alive():
            process = self._rng.choice(alive)
            self._world.broker.members[f"{process.host}-{process.slot}"].mute()

    def _shard_weather(self) -> None:
        shard = self._rng.choice(self._world.shards.faults)
        shard.down, shard.busy = self._rng.random() < 0.4, self._rng.random() < 0.2
        shard.slow_s = self._rng.choice((0.0, 0.0, 0.5, 8.0))
        shard.fail_after_rows = self._rng.choice((None, None, 1, 5))

    def _spoil_a_disk(self) -> None:
        disk = self._rng.choice(list(self._world.disks.values()))
        disk.unusable.update(disk.folders)

    def _jump_clock(self) -> None:
        self._world.clock.jump_wall(self._rng.choice((-30_000, -500, 500, 120_000)))
