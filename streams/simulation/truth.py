"""What must have come out, read from the source log alone, and what did.

The judgement of each record is written here a second time, record by record and with nothing
of the engine: what the engine and this file agree on, neither got from the other.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from streams.settings import Settings
from streams.simulation.world import World
from streams.topology import DIA_GROUP, MODEL_METRICS
from streams.types import LogReader, RecordBatch, TopicPartition
from tables.changelog import unpack

Series = tuple[str, str, str, int]
"""tenant, model, metric, window start in seconds"""

_FIELDS: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("tenant_id", str),
    ("model_id", str),
    ("metric", str),
    ("ts", int),
    ("value", (int, float)),
)


@dataclass(slots=True)
class Expected:
    """Of one source: values by window, ids of dead letters, counts by partition."""

    values: dict[Series, list[float]] = field(default_factory=lambda: defaultdict(list))
    dead: set[str] = field(default_factory=set)
    read: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    applied: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class Difference(AssertionError):
    """What came out is not what went in."""


async def check(world: World) -> Expected:
    """Compare everything visible with the source log. Raises `Difference`."""
    reader = await world.broker.reader()
    topics = (await (await world.broker.admin()).describe_topics())[MODEL_METRICS.name]
    expected = Expected()
    for partition in range(topics.partitions):
        tp = TopicPartition(MODEL_METRICS.name, partition)
        _judge(await _whole(reader, tp), world.settings, expected)
        await _check_chain(world, reader, tp)
        await _check_dead_letters(reader, tp, expected)
    _check_rows(world, expected)
    _check_roll_ups(world, expected)
    _check_ledger(world, expected)
    return expected


async def _whole(reader: LogReader, tp: TopicPartition) -> list[RecordBatch]:
    offset, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
    batches = []
    while offset < end:
        batch = await reader.read(tp, offset)
        batches.append(batch)
        offset = batch.end
    return batches


def _judge(batches: list[RecordBatch], settings: Settings, expected: Expected) -> None:
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for batch in batches:
        rows = zip(batch.offsets, batch.timestamps, batch.keys, batch.values, strict=True)
        for offset, append_ms, key, value in rows:
            expected.read[batch.tp.partition] += 1
            event = _event(key, value, append_ms, settings)
            if event is None:
                expected.dead.add(f"{batch.tp}/{offset}")
                continue
            identity = (event["tenant_id"], event.get("event_id") or f"bytes {value!r}")
            said = json.dumps(
                [event.get(n) for n in ("model_id", "metric", "ts", "value", "run_id")]
            )
            seen = first.get(identity)
            if seen is not None and append_ms - seen[0] <= settings.dedupe_ttl_s * 1000:
                if seen[1] != said:
                    expected.dead.add(f"{batch.tp}/{offset}")
                continue
            first[identity] = (append_ms, said)
            window = event["ts"] // 60_000 * 60
            series = (event["tenant_id"], event["model_id"], event["metric"], window)
            expected.values[series].append(float(event["value"]))
            expected.applied[batch.tp.partition] += 1


def _event(
    key: bytes | None, value: bytes | None, append_ms: int, settings: Settings
) -> dict[str, Any] | None:
    """The event, or None where it must be a dead letter."""
    try:
        event: dict[str, Any] = json.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    if not all(isinstance(event.get(name), kind) for name, kind in _FIELDS):
        return None
    future_ms, late_ms = settings.future_max_s * 1000, settings.late_max_s * 1000
    in_time = append_ms - late_ms <= event["ts"] <= append_ms + future_ms
    return event if in_time and key == event["tenant_id"].encode() else None


async def _check_chain(world: World, reader: LogReader, tp: TopicPartition) -> None:
    """The changelog is one unbroken chain and the group's offset is where it ends."""
    changelog = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), tp.partition)
    links = [
        unpack(value or b"")[0]
        for batch in await _whole(reader, changelog)
        for value in batch.values
    ]
    for before, after in zip(links, links[1:], strict=False):
        follows = (after.seq, after.part) in {(before.seq, before.part + 1), (before.seq + 1, 0)}
        if not follows or (after.part == 0 and after.from_offset != before.next_offset):
            raise Difference(f"{changelog}: {after} does not follow {before}")
    admin = await world.broker.admin()
    committed = (await admin.committed(DIA_GROUP, [tp])).get(tp)
    reached = links[-1].next_offset if links else 0
    if (committed.offset if committed else 0) != reached:
        raise Difference(f"{tp}: committed {committed}, the state has folded up to {reached}")


async def _check_dead_letters(reader: LogReader, tp: TopicPartition, expected: Expected) -> None:
    dlq = TopicPartition(MODEL_METRICS.dlq, tp.partition)
    found = [
        dict(headers)["dia.dlq.id"].decode()
        for batch in await _whole(reader, dlq)
        for headers in batch.headers
    ]
    wanted = sorted(name for name in expected.dead if name.startswith(f"{tp}/"))
    if sorted(found) != wanted:
        lost, extra = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
        raise Difference(f"{dlq}: lost {sorted(lost)}, unexpected {sorted(extra)}")


def _check_rows(world: World, expected: Expected) -> None:
    counted: dict[Series, int] = defaultdict(int)
    summed: dict[Series, float] = defaultdict(float)
    sketched: dict[Series, int] = defaultdict(int)
    for row in world.shards.m1_rows():
        series = (row["tenant"], row["model"], row["metric"], int(row["w"]))
        counted[series] += int(row["n"])
        summed[series] += float(row["s1"])
        sketched[series] += sum(row["sk_n"])
    wanted = {series: len(values) for series, values in expected.values.items()}
    if dict(counted) != wanted:
        wrong = {s: (counted.get(s), wanted.get(s)) for s in counted.keys() | wanted.keys()}
        bad = {s: pair for s, pair in wrong.items() if pair[0] != pair[1]}
        raise Difference(f"rows (found, expected) differ: {bad}")
    if dict(sketched) != wanted:
        raise Difference("sketches do not hold as many values as were counted")
    for series, values in expected.values.items():
        allowed = 1e-9 * (1 + math.fsum(map(abs, values)))
        if abs(summed[series] - math.fsum(values)) > allowed:
            raise Difference(f"{series}: sum {summed[series]}, expected {math.fsum(values)}")


def _check_roll_ups(world: World, expected: Expected) -> None:
    total = sum(map(len, expected.values.values()))
    for table in ("h1", "d1"):
        found = sum(int(row["n"]) for row in world.shards.rows(table))
        if found != total:
            raise Difference(f"{table} counts {found} values, expected {total}")


def _check_ledger(world: World, expected: Expected) -> None:
    rows = {row["part"]: row for row in world.shards.rows("ledger")}
    for partition, read in expected.read.items():
        row = rows.get(partition)
        if row is None:
            raise Difference(f"partition {partition} has no ledger row")
        if row["read"] != read or row["applied"] != expected.applied[partition]:
            raise Difference(f"ledger {row}, expected {read} read")
        if row["read"] != row["applied"] + row["duplicates"] + row["dead"]:
            raise Difference(f"ledger does not add up: {row}")
        if row["next_offset"] != row["read"] + row["gaps"]:
            raise Difference(f"ledger does not cover the log: {row}")
    listed = {row["id"] for row in world.shards.rows("dead_letters")}
    if listed != expected.dead:
        raise Difference(f"dead_letters rows {listed ^ expected.dead} differ")
