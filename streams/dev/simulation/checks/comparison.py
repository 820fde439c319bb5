"""Compares everything visible at a quiet moment with the source log.

Then nothing is left to read, commit or send to a shard: rows, ledger, dead letters and shed ranges
account for every offset once, and agree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from agents.app import MODEL_METRICS
from streams.connect.sinks.memory_replica import Row
from streams.core.rows.operational_tables import LOAD_HISTORY
from streams.core.types import Headers, TopicPartition
from streams.dev.simulation.checks.load_check import check_load
from streams.dev.simulation.checks.truth import Expected, judge
from streams.dev.simulation.checks.window_rows import check_windows, newest
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.inputs.producers import OLD_MS
from streams.dev.simulation.operators.sheds import shed_ranges
from streams.dev.simulation.world import Difference, World

_EVERYTHING = 1 << 30


def check(world: World, witness: Witness, *, over: bool) -> None:
    """``over``: all windows are closed. Raises `Difference`."""
    expected = Expected()
    buried: list[Row] = []
    shed = shed_ranges(world)
    for partition in range(world.partitions):
        tp = TopicPartition(MODEL_METRICS.name, partition)
        log = world.broker.log(tp)
        judge(log.readable(), world.settings, expected, shed[partition])
        buried += check_dead_letters(world, tp, expected)
        check_end(world, witness, tp)
    held = buried if over else [*buried, *_refused_while_open(world, witness)]
    counted = check_windows(world, expected, held, _young_from_s(world), rolled_up=over)
    for part, row in check_ledger(world, MODEL_METRICS.name, expected, buried).items():
        if row["applied"] != (found := counted.pop((part, row["epoch"]), 0)):
            raise Difference(f"window rows hold {found} events of ledger {row}")
    if counted:
        raise Difference(f"window rows of epochs without a ledger: {counted}")
    loads = with_buried(world, LOAD_HISTORY.name, buried)
    check_load([row for row in loads if row["topic"] == MODEL_METRICS.name], witness.links)


def _young_from_s(world: World) -> int:
    """Windows that start earlier were too old for m1 when they opened."""
    return world.start_ms // 1000 - OLD_MS // 1000 // 2


def _refused_while_open(world: World, witness: Witness) -> list[Row]:
    """Rows of m1 that a shard refused and whose windows are open.

    The engine sends such a row again when its window changes or closes, and dead-letters it after
    the close. Until then the last refused version stands for it."""
    grace_ms = world.settings.grace_s * 1000
    return [
        {**row, "table": table}
        for table, row in world.shards.refused
        if table == "m1"
        and (link := witness.links.get(row["part"])) is not None
        and (row["w"] + 60) * 1000 + grace_ms > link.watermark_ms
    ]


def check_end(world: World, witness: Witness, tp: TopicPartition) -> None:
    """All of the source is behind the partition's chain."""
    log, link = world.broker.log(tp), witness.links.get(tp.partition)
    reached = link.next_offset if link is not None else world.first_offset
    if reached != log.high_watermark:
        raise Difference(f"{tp}: folded up to {reached} of {log.high_watermark}")


def check_dead_letters(world: World, tp: TopicPartition, expected: Expected) -> list[Row]:
    """Every bad record has one dead letter. Returns the rows that shards refused."""
    dlq = TopicPartition(f"{tp.topic}.dlq", tp.partition)
    batch = world.broker.log(dlq).read_committed(0, _EVERYTHING)
    found: list[str] = []
    buried: list[Row] = []
    for value, headers in zip(batch.values, batch.headers, strict=True):
        if _header(headers, "stage") == "sink":
            buried.append(json.loads(value or b""))
        else:
            found.append(_header(headers, "id"))
    wanted = [name for name in expected.dead if name.startswith(f"{tp}/")]
    if Counter(found) != Counter(wanted):
        lost, extra = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
        raise Difference(f"{dlq}: lost {sorted(lost)}, unexpected {sorted(extra)}")
    return buried


def _header(headers: Headers, name: str) -> str:
    return dict(headers)[f"dia.dlq.{name}"].decode()


def with_buried(world: World, table: str, buried: list[Row]) -> list[Row]:
    kept = [row for row in buried if row["table"] == table]
    return newest([*world.shards.rows(table), *kept], world.shards.shown_key(table))


def check_ledger(
    world: World, topic: str, expected: Expected, buried: list[Row]
) -> Mapping[int, Row]:
    """By partition, the ledger's rows, which account for every offset. Raises `Difference`."""
    ledger = with_buried(world, "ledger", buried)
    rows = {row["part"]: row for row in ledger}
    if len(ledger) > len(rows):
        raise Difference(f"a partition has two ledgers: {ledger}")
    for partition, read in expected.read.items():
        row = rows.get(partition)
        if row is None and not read:
            continue
        if row is None:
            raise Difference(f"partition {partition} has no ledger row")
        _check_counts(row, expected, partition)
        if row["next_offset"] - world.first_offset != row["read"] + row["gaps"]:
            raise Difference(f"ledger does not cover the log: {row}")
        codes = _codes_in_queue(world, TopicPartition(f"{topic}.dlq", partition))
        if Counter(row["dead_by_code"]) != codes:
            raise Difference(f"ledger {row}, the DLQ holds {dict(codes)}")
    _check_listed(world, topic)
    return rows


def _check_counts(row: Row, expected: Expected, partition: int) -> None:
    wanted = {
        "read": expected.read[partition],
        "applied": expected.applied[partition],
        "shed": expected.shed[partition],
    }
    if expected.duplicates is not None:
        wanted["duplicates"] = expected.duplicates[partition]
    if wrong := {name: count for name, count in wanted.items() if row[name] != count}:
        raise Difference(f"ledger {row}, expected {wrong}")
    if row["read"] != row["applied"] + row["duplicates"] + row["dead"] + row["shed"]:
        raise Difference(f"ledger does not add up: {row}")


def _codes_in_queue(world: World, dlq: TopicPartition) -> Counter[str]:
    batch = world.broker.log(dlq).read_committed(0, _EVERYTHING)
    return Counter(
        _header(headers, "error_code")
        for headers in batch.headers
        if _header(headers, "stage") != "sink"
    )


def _check_listed(world: World, topic: str) -> None:
    """`dead_letters` lists every record of the DLQ, by id and code."""
    queued: set[tuple[str, str]] = set()
    for partition in range(world.partitions):
        batch = world.broker.log(TopicPartition(f"{topic}.dlq", partition))
        for headers in batch.read_committed(0, _EVERYTHING).headers:
            queued.add((_header(headers, "id"), _header(headers, "error_code")))
    listed = [(row["id"], row["error_code"]) for row in world.shards.rows("dead_letters")]
    if set(listed) != queued:
        raise Difference(f"dead_letters rows differ by {sorted(set(listed) ^ queued)}")
