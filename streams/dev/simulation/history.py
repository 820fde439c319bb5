"""One random run of the whole system, from a seed: producers, faults, quiet end, check. The same
seed gives the same run, step for step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streams.core.errors import PartitionStuck
from streams.core.resilience.cancellation import CANCELLATIONS, ENDS_WITHIN_S
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.dev.simulation.checks.quiet import check_stops, decided, held, quiet_moment
from streams.dev.simulation.checks.replay_check import check_replays
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.faults.clocks import Clocks, begin_ms
from streams.dev.simulation.faults.fault_injector import FaultInjector, refuse_some_windows
from streams.dev.simulation.faults.lost_tail import check_lost_tail
from streams.dev.simulation.faults.recreated_topics import (
    check_recreated_queue,
    check_recreated_source,
)
from streams.dev.simulation.faults.shard_fault_injector import ShardFaultInjector
from streams.dev.simulation.faults.shard_growth import ShardGrowth, shortly_before_midnight
from streams.dev.simulation.faults.sources import Loss, Sources, check_spoilt
from streams.dev.simulation.inputs.producers import Producers
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.operators.moves import Moves
from streams.dev.simulation.operators.rebuilds import Rebuilds
from streams.dev.simulation.operators.replays import Replays
from streams.dev.simulation.operators.sheds import Sheds, check_sheds
from streams.dev.simulation.world import Difference, Process, World, all_are
from streams.engine.agents.job_agent import Agent

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
"""Small times and bounds, so that a short run reaches them all."""

STEPS = 32
QUIET_STEPS = 6
"""The last steps have faults only: pending effects must arrive without new records."""
PARTITIONS = 2
REPLICAS = 3
CALM_S = 900.0
PATIENCE_S = 8.0
LONGEST_SILENCE_S = 4.0
GIVEN_UP_MAX_S = CANCELLATIONS * ENDS_WITHIN_S
"""From the last cancellation that a client suppresses until the engine gives its worker up."""
HURRIED_SHARE = 0.8
_FIRST_OFFSETS = (*[0] * 7, (1 << 40) - 60)
"""of source logs; some runs pass 2^40"""
_PAUSES_S = (0.0, 0.05, 0.3, 1.0, 4.0)


class NotSettled(AssertionError):  # noqa: N818 - what happened
    """The system did not settle without faults."""


class HistoryCheck(Protocol):
    """Raises `Difference`. ``over``: all windows are closed."""

    def __call__(self, world: World, witness: Witness, *, over: bool) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The agents of a run, their input and their check. All consume ``source`` in ``group``."""

    source: Topic
    group: str
    settings: Settings
    agents: Callable[[int], Sequence[Agent]]
    producers: Callable[[World, random.Random], Producers]
    check: HistoryCheck
    replayed_share: float = 0.0
    """share of runs with repaired and replayed dead letters"""
    shed_share: float = 0.0
    """share of runs in which an operator sheds old records"""
    source_share: float = 0.0
    """share of runs with unreadable batches and lost lists"""
    loss_share: float = 0.0
    """share of runs in which a partition's log loses consumed records"""
    quiet_share: float = 0.0
    """share of runs that are also checked at quiet moments before their end"""
    refusing_share: float = 0.0
    """share of runs in which shards refuse some windows throughout; a refusal that ends lets a
    restart insert a forgotten row"""
    grown_share: float = 0.0
    """share of runs in which shards are added around midnight"""
    replicated_share: float = 0.0
    """share of runs with replicated shards, which lag and die"""
    rebuilt_share: float = 0.0
    """share of runs in which rows of finished windows are lost and rebuilt"""
    recreated_share: float = 0.0
    """share of runs that may end with a topic that is deleted and created again"""
    moved_share: float = 0.0
    """share of runs in which the rows of a day move to other shards"""


def simulate(seed: int, story: Story) -> World:
    """Returns the world after the run. Raises `Difference`, `NotSettled`, or an error of the
    engine."""
    loop = VirtualLoop()
    growth_rng = random.Random(f"growth {seed}")
    grows = _drawn(growth_rng, story.grown_share)
    midnight = grows or story.moved_share > 0
    clock_rng, shard_rng = random.Random(f"clocks {seed}"), random.Random(f"shards {seed}")
    start_ms = begin_ms(clock_rng)
    world = World(
        loop,
        story.settings,
        story.agents(seed),
        partitions=PARTITIONS,
        start_ms=shortly_before_midnight(growth_rng, start_ms) if midnight else start_ms,
        first_offset=clock_rng.choice(_FIRST_OFFSETS),
        replicas=REPLICAS if shard_rng.random() < story.replicated_share else 1,
    )
    if _drawn(random.Random(f"refusals {seed}"), story.refusing_share):
        for shard in world.shards.faults:
            shard.refuse_always = refuse_some_windows
    dice = _Dice(
        random.Random(seed),
        random.Random(~seed),
        random.Random(f"health {seed}"),
        random.Random(f"shed {seed}"),
        random.Random(f"source {seed}"),
        random.Random(f"broker {seed}"),
        clock_rng,
        shard_rng,
        random.Random(f"quiet {seed}"),
        random.Random(f"leaders {seed}"),
        random.Random(f"rebuilds {seed}"),
        random.Random(f"moves {seed}"),
        random.Random(f"deaf {seed}"),
        random.Random(f"recreated {seed}"),
        _in_some_runs(f"deaf commits {seed}"),
        _in_some_runs(f"restores {seed}"),
    )
    growth = ShardGrowth(world, growth_rng, STEPS - QUIET_STEPS) if grows else None
    run(loop, _history(world, story, dice, growth))
    return world


class _Dice(NamedTuple):
    """Independent generators, so that a fault of one kind does not change the others."""

    faults: random.Random
    replays: random.Random
    health: random.Random
    sheds: random.Random
    source: random.Random
    broker: random.Random
    clocks: random.Random
    shards: random.Random
    quiet: random.Random
    leaders: random.Random
    rebuilds: random.Random
    moves: random.Random
    deaf: random.Random
    recreated: random.Random
    deaf_commits: random.Random | None
    restores: random.Random | None


def _in_some_runs(seed: str) -> random.Random | None:
    rng = random.Random(seed)
    return rng if rng.random() < 1 / 4 else None


async def _history(world: World, story: Story, dice: _Dice, growth: ShardGrowth | None) -> None:
    rng = dice.faults
    witness = Witness(world, story.source, story.group)
    replays = Replays(world, dice.replays) if _drawn(dice.replays, story.replayed_share) else None
    sheds = Sheds(world, dice.sheds, story.source, story.group, share=story.shed_share)
    sources = Sources(world, dice.source, story.group, sheds, share=story.source_share)
    loss = Loss(world, dice.source, story.source.name, share=story.loss_share)
    moves = Moves(world, dice.moves, share=story.moved_share)
    rebuilds = Rebuilds(world, dice.rebuilds, share=story.rebuilt_share)
    producers = story.producers(world, rng)
    injector = FaultInjector(world, rng, story.source, story.group)
    clocks = Clocks(world, dice.clocks)
    shard_injector = ShardFaultInjector(world, dice.shards, growth)
    steps = _quiet_steps(dice.quiet, story.quiet_share)
    pauses = _Pauses(
        world, story, witness, sources, loss, injector, shard_injector, moves, rebuilds, steps
    )
    await world.create_topics()
    injector.start_one()
    for step in range(STEPS):
        if step < STEPS - QUIET_STEPS:
            await producers.send_some()
        await _inject_faults(producers, injector, dice)
        if replays is not None and dice.replays.random() < 0.3:
            await replays.strike()
        await _operate(sheds, moves, rebuilds)
        await sources.strike(producers, injector)
        clocks.strike()
        await shard_injector.strike(step)
        await asyncio.sleep(rng.choice(_PAUSES_S))
        witness.look()
        await loss.strike(witness)
        await pauses.after(step)
    # A restart repeats pending effects and would hide lost ones, so not all shards have one.
    await shard_injector.clear()
    survivors = await injector.clear(kill=rng.random() < 0.5)
    clocks.calm()
    processes = survivors or [_started(world, "calm")]
    await moves.heal()  # a replay waits with rows of a day that moves
    if replays is not None:
        await replays.finish()
    await sheds.finish()
    await pauses.last(processes)
    calm = _Calm(world, story.source, sources, loss)
    # Usually skip the wait for the last minutes: time jumps, and a record carries it.
    await calm.settle(processes, producers.hurry if rng.random() < HURRIED_SHARE else None)
    if rng.random() < 0.3:
        # All state is in the changelog: a new host must find it complete.
        injector.spoil_restores(dice.broker)
        await calm.settle([_started(world, "newcomer")])
    witness.look(over=not loss.happened)
    if loss.happened:
        loss.check(witness)
        return
    await rebuilds.heal()
    _compare(world, story, witness, sheds, replays)
    await _lose_at_the_end(world, story, replays, dice)


async def _lose_at_the_end(
    world: World, story: Story, replays: Replays | None, dice: _Dice
) -> None:
    """One topic, or a part of it, after everything else is judged."""
    if dice.broker.random() < 0.3:
        await check_lost_tail(world, story.source, story.group, dice.broker)
    elif not _drawn(dice.recreated, story.recreated_share):
        return
    elif replays is not None:
        await check_recreated_queue(world, story.source, replays)
    else:
        await check_recreated_source(world, story.source, story.group)


def _compare(
    world: World, story: Story, witness: Witness, sheds: Sheds, replays: Replays | None
) -> None:
    story.check(world, witness, over=True)
    check_sheds(world, sheds)
    check_spoilt(world, story.source.name)
    if replays is not None:
        check_replays(world)


def _quiet_steps(rng: random.Random, share: float) -> frozenset[int]:
    return frozenset(rng.sample(range(4, STEPS - 1), 2)) if _drawn(rng, share) else frozenset()


def _drawn(rng: random.Random, share: float) -> bool:
    return rng.random() < share


@dataclass(frozen=True, slots=True)
class _Pauses:
    world: World
    story: Story
    witness: Witness
    sources: Sources
    loss: Loss
    injector: FaultInjector
    shard_injector: ShardFaultInjector
    moves: Moves
    rebuilds: Rebuilds
    steps: frozenset[int]
    """those followed by a pause of the faults"""

    async def after(self, step: int) -> None:
        """Pause all faults. Stopped partitions are checked after every step."""
        check_stops(self.injector.processes)
        self.injector.deaf.check()
        if step not in self.steps:
            return
        await self.shard_injector.clear()
        if not await self.injector.clear(kill=False):
            self.injector.start_one()
        await self._look(self.injector.processes)

    async def last(self, processes: Sequence[Process]) -> None:
        """At the quiet end, while windows are open."""
        if self.steps:
            await self._look(processes)

    async def _look(self, processes: Sequence[Process]) -> None:
        if self.loss.happened:
            return
        if await quiet_moment(self.world, self.story.source, self.sources, processes):
            self.witness.look()
            await self.moves.heal()
            await self.rebuilds.heal()
            try:
                self.story.check(self.world, self.witness, over=False)
            except Difference as error:
                raise Difference(f"at a quiet moment: {error}") from error


async def _inject_faults(producers: Producers, injector: FaultInjector, dice: _Dice) -> None:
    draw = dice.faults.random()
    if draw < 0.6:
        await injector.strike()
    elif draw < 0.66:
        await producers.stranger()
    if dice.health.random() < 0.15:
        injector.misread(dice.health)
    if dice.broker.random() < 0.25:
        injector.misanswer(dice.broker)
    if dice.leaders.random() < 0.15:
        injector.elect(dice.leaders)
    if dice.deaf.random() < 0.1:
        injector.deaf.at_a_start(dice.deaf)
    if dice.deaf_commits is not None and dice.deaf_commits.random() < 0.4:
        injector.deaf.in_a_commit(dice.deaf_commits)
    if dice.restores is not None and dice.restores.random() < 0.2:
        injector.elect_for_a_restore(dice.restores)


async def _operate(sheds: Sheds, moves: Moves, rebuilds: Rebuilds) -> None:
    await sheds.strike()
    await moves.strike()
    await rebuilds.strike()


def _started(world: World, host: str) -> Process:
    process = world.process(0, host)
    process.start()
    return process


@dataclass(frozen=True, slots=True)
class _Calm:
    """The end without faults; a partition with a loss stays stopped."""

    world: World
    source: Topic
    sources: Sources
    loss: Loss

    async def settle(
        self,
        processes: list[Process],
        hurry: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Let these processes settle, then stop them. ``hurry`` runs once, after a while."""
        clock = self.world.clock
        # Until then, processes may trust an older answer of the broker and consider themselves
        # done.
        await asyncio.sleep(LONGEST_SILENCE_S)
        began_s = clock.monotonic()
        while (calm_s := clock.monotonic() - began_s) < CALM_S:
            if hurry is not None and calm_s >= PATIENCE_S:
                await hurry()
                hurry = None
                await asyncio.sleep(LONGEST_SILENCE_S)  # as above
            await asyncio.sleep(1.0)
            await self.sources.skip()
            for at, process in enumerate(processes):
                if process.failure is None:
                    continue
                if calm_s > GIVEN_UP_MAX_S or not all_are(process.failure, PartitionStuck):
                    raise process.failure
                # It was started anew, as a supervisor does: a call suppressed cancellations before the calm.
                await process.kill()
                processes[at] = _started(self.world, process.host)
            if self._settled(processes) and decided(self.world, self.source):
                for process in processes:
                    await process.stop()
                return
        raise NotSettled(str([(p.tp, p.phase, p.lag, p.stopped_by) for p in held(processes)]))

    def _settled(self, processes: Sequence[Process]) -> bool:
        counts = [process.worker.counts() for process in processes]
        ready = sum(count.ready for count in counts if count is not None)
        if not self.loss.happened:
            all_ready = ready == self.world.partitions
            return all_ready and all(p.worker.settled for p in processes)
        lost = self.loss.tp
        others = [partition for partition in held(processes) if partition.tp != lost]
        stopped = [p for p in held(processes) if p.tp == lost and p.phase == "stopped"]
        codes = {p.stopped_by.code for p in stopped if p.stopped_by is not None}
        return (
            codes in ({"topic_recreated"}, {"source_truncated"})
            and ready == self.world.partitions - 1
            and all(partition.settled for partition in others)
        )
