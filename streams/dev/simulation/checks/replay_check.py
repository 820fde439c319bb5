"""Checks decisions on dead letters from the logs alone.

- A dead letter is replayed, or parked, exactly once if its journal says so, else never.
- A replayed record has its dead letter's id, its first append time, and one more hop.
- ClickHouse shows the last decision on every dead letter.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from agents.app import MODEL_METRICS
from streams.core.types import RecordBatch, TopicPartition
from streams.dev.simulation.world import Difference, World
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import entries
from streams.operate.replay.journal.status import PartitionStatus

_EVERYTHING = 1 << 30


class _Letter(NamedTuple):
    id: str
    stage: str
    first_ms: int
    hops: int
    disposition: ReplayDisposition
    parked: bool


def check_replays(world: World) -> None:
    letters = [letter for number in range(world.partitions) for letter in _letters(world, number)]
    _check_replayed(world, letters)
    _check_parked(world, letters)
    _check_shown(world, letters)


def _read(world: World, topic: str, partition: int) -> RecordBatch:
    log = world.broker.log(TopicPartition(topic, partition))
    return log.readable()


def _letters(world: World, partition: int) -> list[_Letter]:
    journal = TopicPartition(MODEL_METRICS.journal, partition)
    standing, parked = PartitionStatus(journal), Counter[int]()
    for entry in entries(_read(world, *journal)):
        standing.apply(entry)
        for offset in _parked(entry):
            parked[offset] += 1
    for plan in standing.plans.values():
        if plan.active:
            raise Difference(f"{journal}: plan {plan.plan} is {plan.state} at the end")
    dlq = _read(world, MODEL_METRICS.dlq, partition)
    found = []
    for offset, pairs in zip(dlq.offsets, dlq.headers, strict=True):
        said = dict(pairs)
        first = said.get("dia.replay.append_ts", said["dia.dlq.timestamp"])
        found.append(
            _Letter(
                said["dia.dlq.id"].decode(),
                said["dia.dlq.stage"].decode(),
                int(first),
                int(said.get("dia.replay.hops", b"0")),
                standing.dispositions.of(offset),
                parked[offset] > 0,
            )
        )
    return found


def _parked(entry: object) -> list[int]:
    text = getattr(entry, "parked", "")
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _check_replayed(world: World, letters: list[_Letter]) -> None:
    sent: Counter[str] = Counter()
    said: dict[str, tuple[int, int]] = {}
    for number in range(world.partitions):
        for pairs in _read(world, MODEL_METRICS.name, number).headers:
            named = dict(pairs)
            if "dia.replay.id" in named:
                name = named["dia.replay.id"].decode()
                sent[name] += 1
                said[name] = (
                    int(named.get("dia.replay.append_ts", b"-1")),
                    int(named.get("dia.replay.hops", b"-1")),
                )
    wanted = Counter(
        one.id
        for one in letters
        if one.disposition is ReplayDisposition.REPLAYED and one.stage != "sink"
    )
    if sent != wanted:
        lost, extra = sorted((wanted - sent).elements()), sorted((sent - wanted).elements())
        raise Difference(f"replays: lost {lost}, unexpected {extra}")
    for one in letters:
        if one.id in said and said[one.id] != (one.first_ms, one.hops + 1):
            raise Difference(f"{one} was replayed as {said[one.id]}")


def _check_parked(world: World, letters: list[_Letter]) -> None:
    copies = Counter(
        dict(pairs)["dia.dlq.id"].decode()
        for number in range(world.partitions)
        for pairs in _read(world, MODEL_METRICS.parked, number).headers
    )
    wanted = Counter(one.id for one in letters if one.parked)
    if copies != wanted:
        raise Difference(f"parking lot: lost {wanted - copies}, unexpected {copies - wanted}")


def _check_shown(world: World, letters: list[_Letter]) -> None:
    shown = {row["id"]: row["disposition"] for row in world.shards.rows("dead_letters")}
    wrong = {
        one.id: (shown.get(one.id), one.disposition.word)
        for one in letters
        if shown.get(one.id) != one.disposition.word
    }
    if wrong:
        raise Difference(f"dead_letters (shown, decided) differ: {wrong}")
