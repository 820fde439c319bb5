"""Deletes a topic after a run and creates it again: other records lie at the offsets that the system knows."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Final

from agents.app import app
from streams.connect.sinks.memory_replica import Row
from streams.core.errors import RefusedBySafety, TopicRecreated
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.operators.replays import Replays
from streams.dev.simulation.world import Difference, World
from streams.operate.replay.journal.control import journals
from streams.operate.replay.journal.renewal import renew
from streams.operate.reset.reset import look, open_epoch, reset
from streams.operate.topics.topics import wanted_topics

NEW_LETTERS: Final = 3
"""in each partition of a new queue"""
PATIENCE_S: Final = 300


async def check_recreated_queue(world: World, source: Topic, replays: Replays) -> None:
    """Raises `Difference` unless every letter of the new queue is open, and a plan is refused until the
    queue is renewed."""
    [standings] = (await journals(world.broker, [source])).values()
    decided = any(standing.mark is not None for standing in standings)
    await _create_again(world, source.dlq)
    partitions = [TopicPartition(source.name, number) for number in range(world.partitions)]
    await _refused(world, source, dict.fromkeys(partitions, NEW_LETTERS))
    try:
        await replays.letters_to_plan()
    except TopicRecreated:
        await renew(world.broker, world.clock, app.topology, source, "ann")
    else:
        if decided:
            raise Difference(f"decisions on letters of the deleted {source.dlq} hold for new ones")
    planned = await replays.letters_to_plan()
    if planned != NEW_LETTERS * len(partitions):
        raise Difference(f"the new {source.dlq} has {planned} letters that may be replayed")


async def check_recreated_source(world: World, source: Topic, group: str) -> None:
    """Raises `Difference` unless the rows of dead letters stay, after resets of the partitions and with bad
    records at the same offsets."""
    before = _rows(world)
    if not before:
        return
    await _create_again(world, source.name)
    bad: dict[TopicPartition, int] = {}
    for number in range(world.partitions):
        world.broker.log(TopicPartition(source.name, number)).start_offset = world.first_offset
        standing = await look(world.broker, group, source, number, world.targets)
        try:
            opening = open_epoch(standing, resume_at_start=False)
        except RefusedBySafety:
            continue  # nothing was read
        await reset(world.broker, world.clock, opening)
        last = max((row["off"] for row in before.values() if row["part"] == number), default=0)
        bad[opening.standing.tp] = max(0, last + 1 - world.first_offset)
    await _refused(world, source, bad)
    after = _rows(world)
    if lost := {name: row for name, row in before.items() if after.get(name) != row}:
        raise Difference(f"rows of another epoch took the place of {lost}")
    if len(after) != len(before) + sum(bad.values()):
        raise Difference(f"{len(before)} dead letters, then {bad}, are {len(after)} rows")


def _rows(world: World) -> dict[str, Row]:
    return {row["id"]: row for row in world.shards.rows("dead_letters")}


async def _create_again(world: World, name: str) -> None:
    [topic] = [one for one in wanted_topics(world.topology) if one.name == name]
    admin = await world.broker.admin()
    await admin.delete_topics([name])
    await admin.create_topics([replace(topic, partitions=world.partitions)])
    await admin.close()


def _of_another_key(world: World) -> bytes:
    """An event that is refused for its record's key, which a replay can mend."""
    event = {"event_id": "e", "tenant_id": "t0", "model_id": "m", "metric": "x", "value": 1.0}
    return json.dumps({**event, "ts": world.broker_clock.now_ms()}).encode()


async def _refused(world: World, source: Topic, counts: dict[TopicPartition, int]) -> None:
    """Append bad records, and run a process until it has refused them all."""
    wanted = {}
    for tp, count in counts.items():
        dlq = TopicPartition(source.dlq, tp.partition)
        wanted[dlq] = len(world.broker.log(dlq).readable()) + count
        for _ in range(count):
            world.broker.append(tp, b"another", _of_another_key(world))
    process = world.process(0, "after")
    process.start()
    for _ in range(PATIENCE_S):
        await asyncio.sleep(1.0)
        if process.failure is not None:
            raise process.failure
        found = {dlq: len(world.broker.log(dlq).readable()) for dlq in wanted}
        if found == wanted and process.worker.settled:
            await process.stop()
            return
    raise Difference(f"{counts} bad records of {source.name} are not refused in {PATIENCE_S} s")
