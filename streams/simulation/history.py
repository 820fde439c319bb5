"""One random history of the whole system, from a seed: producers, weather, calm, verdict.

The same seed makes the same history, step for step, so a failing one can be looked at as often
as needed. Everything that can go wrong does so between two turns of one event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streams.job_agent import Agent
from streams.runtime.assigned import AssignedPartition
from streams.settings import Settings
from streams.simulation.clocks import Clocks, begin_ms
from streams.simulation.loop import VirtualLoop, run
from streams.simulation.lost_tail import check_lost_tail
from streams.simulation.producers import Producers
from streams.simulation.replay_check import check_replays
from streams.simulation.replays import Replays
from streams.simulation.shard_weather import ShardWeather
from streams.simulation.sheds import Sheds, check_sheds
from streams.simulation.sources import Loss, Sources, check_spoilt
from streams.simulation.weather import Weather
from streams.simulation.witness import Witness
from streams.simulation.world import Process, World
from streams.topology import SourceTopic
from streams.types import TopicPartition

SETTINGS = Settings(
    commit_interval_s=0.5,
    commit_max_records=30,
    commit_timeout_s=4.0,
    session_timeout_s=6.0,
    fetch_max_records=20,
    fetch_timeout_s=1.0,
    idle_close_s=2.0,
    grace_s=10,
    late_hold_s=3.0,
    dedupe_ttl_s=60,
    emit_interval_s=0.5,
    emit_rows_max=6,
    max_live_windows=60,
    max_unacked_bytes=6000,
    hot_ids=40,
    changelog_slack_bytes=2000,
    changelog_part_bytes=17_000,
    trim_commits=3,
    sink_batch_rows=5,
    sink_queue_rows=20,
    rollup_interval_s=2.0,
    m1_retention_days=8,
)
"""Small times and bounds, so that a short history meets every one of them."""

STEPS = 32
QUIET_STEPS = 6
"""The last steps bring weather only: what was owed then must arrive without another push."""
PARTITIONS = 2
REPLICAS = 3
CALM_S = 900.0
PATIENCE_S = 8.0
LONGEST_SILENCE_S = 4.0
HURRIED_SHARE = 0.8
_FIRST_OFFSETS = (*[0] * 7, (1 << 40) - 60)
"""where the logs of a source begin: some histories pass 2^40"""
_PAUSES_S = (0.0, 0.05, 0.3, 1.0, 4.0)


class NotSettled(AssertionError):  # noqa: N818 - what happened
    """The system did not come to rest although nothing was wrong with the world any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a history is about: whose engine is run, fed with what, and how it is judged.

    ``agents`` makes them anew for a seed; all consume ``source`` in ``group``.
    """

    source: SourceTopic
    group: str
    settings: Settings
    agents: Callable[[int], Sequence[Agent]]
    producers: Callable[[World, random.Random], Producers]
    check: Callable[[World, Witness], None]
    replayed_share: float = 0.0
    """of the histories, those in which dead letters are mended and replayed"""
    shed_share: float = 0.0
    """of the histories, those in which an operator gives up old records"""
    source_share: float = 0.0
    """of the histories, those in which batches cannot be opened and lists are lost"""
    loss_share: float = 0.0
    """of the histories, those in which a partition's log loses what was consumed of it"""
    check_shown: Callable[[World, Sequence[Process]], Awaitable[None]] | None = None
    """waits for a quiet moment and raises `Difference` for what is not visible then"""
    shown_share: float = 0.25
    """of the histories, those that wait for it"""
    replicated_share: float = 0.0
    """of the histories, those in which every shard has replicas, which lag and die"""


def simulate(seed: int, story: Story) -> World:
    """Run the history of ``seed``; returns the world after it.

    Raises `Difference` or `NotSettled`, or what the engine raised.
    """
    loop = VirtualLoop()
    clock_rng, shard_rng = random.Random(f"clocks {seed}"), random.Random(f"shards {seed}")
    world = World(
        loop,
        story.settings,
        story.agents(seed),
        partitions=PARTITIONS,
        start_ms=begin_ms(clock_rng),
        first_offset=clock_rng.choice(_FIRST_OFFSETS),
        replicas=REPLICAS if shard_rng.random() < story.replicated_share else 1,
    )
    dice = _Dice(
        random.Random(seed),
        random.Random(~seed),
        random.Random(f"health {seed}"),
        random.Random(f"shed {seed}"),
        random.Random(f"source {seed}"),
        random.Random(f"broker {seed}"),
        clock_rng,
        shard_rng,
    )
    run(loop, _history(world, story, dice))
    return world


class _Dice(NamedTuple):
    """Drawn apart, so that a history without one of these is what it would be if there were none."""

    weather: random.Random
    replays: random.Random
    health: random.Random
    sheds: random.Random
    source: random.Random
    broker: random.Random
    clocks: random.Random
    shards: random.Random


async def _history(world: World, story: Story, dice: _Dice) -> None:
    rng = dice.weather
    witness = Witness(world, story.source, story.group)
    mended = dice.replays.random() < story.replayed_share
    replays = Replays(world, dice.replays) if mended else None
    sheds = Sheds(world, dice.sheds, story.source, story.group, share=story.shed_share)
    sources = Sources(world, dice.source, story.group, sheds, share=story.source_share)
    loss = Loss(world, dice.source, story.source.name, share=story.loss_share)
    producers = story.producers(world, rng)
    weather = Weather(world, rng, story.source, story.group)
    clocks = Clocks(world, dice.clocks)
    shard_weather = ShardWeather(world, dice.shards)
    await world.create_topics()
    weather.start_one()
    for step in range(STEPS):
        if step < STEPS - QUIET_STEPS:
            await producers.send_some()
        await _storm(producers, weather, dice)
        if replays is not None and dice.replays.random() < 0.3:
            await replays.strike()
        await sheds.strike()
        await sources.strike(producers)
        clocks.strike()
        await shard_weather.strike()
        await asyncio.sleep(rng.choice(_PAUSES_S))
        witness.look()
        await loss.strike(witness)
    # A restart repeats what is owed and so mends what was forgotten: not all may have one.
    await shard_weather.clear()
    survivors = await weather.clear(kill=rng.random() < 0.5)
    clocks.calm()
    processes = survivors or [_started(world, "calm")]
    if replays is not None:
        await replays.finish()
    await sheds.finish()
    await _look_at_live(world, story, processes, dice.clocks, loss)
    # Most need not wait for the end of their last minutes: time jumps, and a record says so.
    hurry = producers.hurry if rng.random() < HURRIED_SHARE else None
    calm = _Calm(world, story.source, sources, loss)
    await calm.settle(processes, hurry)
    if rng.random() < 0.3:
        # All that matters is in the changelog: a host that was never there finds it settled.
        weather.spoil_restores(dice.broker)
        await calm.settle([_started(world, "newcomer")])
    witness.look()
    if loss.happened:
        loss.check(witness)
    else:
        story.check(world, witness)
        check_sheds(world, sheds)
        check_spoilt(world, story.source.name)
        _check_replays(world, replays)
        if dice.broker.random() < 0.3:
            await check_lost_tail(world, story.source, story.group, dice.broker)


def _check_replays(world: World, replays: Replays | None) -> None:
    if replays is not None:
        check_replays(world)


async def _look_at_live(
    world: World, story: Story, processes: Sequence[Process], rng: random.Random, loss: Loss
) -> None:
    if story.check_shown is not None and not loss.happened and rng.random() < story.shown_share:
        await story.check_shown(world, processes)


async def _storm(producers: Producers, weather: Weather, dice: _Dice) -> None:
    """What goes wrong in one step."""
    draw = dice.weather.random()
    if draw < 0.6:
        await weather.strike()
    elif draw < 0.66:
        await producers.stranger()
    if dice.health.random() < 0.15:
        weather.misread(dice.health)
    if dice.broker.random() < 0.25:
        weather.misanswer(dice.broker)


def _started(world: World, host: str) -> Process:
    process = world.process(0, host)
    process.start()
    return process


@dataclass(frozen=True, slots=True)
class _Calm:
    """Nothing goes wrong any more; the partition of a loss that happened stays stopped."""

    world: World
    source: SourceTopic
    sources: Sources
    loss: Loss

    async def settle(
        self,
        processes: Sequence[Process],
        hurry: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """These processes must bring the system to rest; then they are stopped. ``hurry`` is done
        once, when it has been calm for a while."""
        clock = self.world.clock
        began_s = clock.monotonic()
        while (calm_s := clock.monotonic() - began_s) < CALM_S:
            if hurry is not None and calm_s >= PATIENCE_S:
                await hurry()
                hurry = None
                # Until then what the broker answered before may make them believe they have read
                # all.
                await asyncio.sleep(LONGEST_SILENCE_S)
            await asyncio.sleep(1.0)
            await self.sources.skip()
            for process in processes:
                if process.failure is not None:
                    raise process.failure
            if self._settled(processes) and self._decided():
                for process in processes:
                    await process.stop()
                return
        raise NotSettled(str([(p.tp, p.phase, p.lag, p.stopped_by) for p in _held(processes)]))

    def _settled(self, processes: Sequence[Process]) -> bool:
        counts = [process.worker.counts() for process in processes]
        ready = sum(count.ready for count in counts if count is not None)
        if not self.loss.happened:
            all_ready = ready == self.world.partitions
            return all_ready and all(p.worker.settled for p in processes)
        lost = self.loss.tp
        others = [partition for partition in _held(processes) if partition.tp != lost]
        stopped = [p for p in _held(processes) if p.tp == lost and p.phase == "stopped"]
        codes = {p.stopped_by.code for p in stopped if p.stopped_by is not None}
        return (
            codes in ({"topic_recreated"}, {"source_truncated"})
            and ready == self.world.partitions - 1
            and all(partition.settled for partition in others)
        )

    def _decided(self) -> bool:
        """No stranger's transaction is open: the broker aborts it in its own time."""
        numbers = range(self.world.partitions)
        logs = [self.world.broker.log(TopicPartition(self.source.name, n)) for n in numbers]
        return all(log.last_stable_offset == log.high_watermark for log in logs)


def _held(processes: Sequence[Process]) -> list[AssignedPartition]:
    groups = [group for process in processes for group in process.worker.groups]
    return [partition for group in groups for partition in group.partitions.values()]
