"""Everything visible at the end, compared with what the source log says it must be."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from streams.simulation.difference import Difference
from streams.simulation.producers import OLD_MS
from streams.simulation.sheds import shed_ranges
from streams.simulation.truth import Expected, Series, judge
from streams.simulation.witness import Witness
from streams.simulation.world import World
from streams.sinks.memory import KEYS
from streams.sinks.memory_replica import Row
from streams.topology import MODEL_METRICS
from streams.types import Headers, TopicPartition

_EVERYTHING = 1 << 30
_WIDTH_S = {"m1": 60, "h1": 3600, "d1": 86_400}


def check(world: World, witness: Witness) -> None:
    """Raises `Difference`."""
    expected = Expected()
    buried: list[Row] = []
    shed = shed_ranges(world)
    for partition in range(world.partitions):
        tp = TopicPartition(MODEL_METRICS.name, partition)
        log = world.broker.log(tp)
        judge(log.readable(), world.settings, expected, shed[partition])
        buried += check_dead_letters(world, tp, expected)
        check_end(world, witness, tp)
    old_before_s = young_from_s(world)
    _check_windows(world, expected, buried, old_before_s)
    check_ledger(world, expected, buried)


def young_from_s(world: World) -> int:
    """Windows that start before this were too old for m1 when they opened: no event of a history
    is of an age in between."""
    return world.start_ms // 1000 - OLD_MS // 1000 // 2


def check_end(world: World, witness: Witness, tp: TopicPartition) -> None:
    """All of the source is behind the partition's chain."""
    end = world.broker.log(tp).high_watermark
    if (reached := witness.links[tp.partition].next_offset) != end:
        raise Difference(f"{tp}: folded up to {reached} of {end}")


def check_dead_letters(world: World, tp: TopicPartition, expected: Expected) -> list[Row]:
    """Every bad record is dead-lettered once. Returns the rows that shards refused."""
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


def newest(rows: Iterable[Row], key: tuple[str, ...]) -> list[Row]:
    """Of rows with one key, the one with the highest version: what a view shows."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: int(row["ver"])):
        newest[tuple(row[name] for name in key)] = row
    return list(newest.values())


def _check_windows(world: World, expected: Expected, buried: list[Row], old_before_s: int) -> None:
    """Windows that m1 keeps are in m1, and summed up in h1 and d1; older ones only in those.

    A refused row is not lost: its dead letter holds it, and counts as the row it would be. It
    may come twice after a restart, like any row: same key, same version.
    """
    young = {s: v for s, v in expected.values.items() if s[3] >= old_before_s}
    old = {s: v for s, v in expected.values.items() if s[3] < old_before_s}
    minutes = [row for row in buried if row["table"] == "m1"]
    _compare("m1", [*world.shards.rows("m1"), *minutes], young)
    for table in ("h1", "d1"):
        rows = world.shards.rows(table)
        refused = [
            {**row, "w": row["w"] // _WIDTH_S[table] * _WIDTH_S[table]}
            for row in buried
            if row["table"] in {"h1", "d1"}
        ]
        own = [row for row in rows if row["inc"]]
        _compare(table, [*own, *refused], old)
        _compare_roll_ups(world, table, [row for row in rows if not row["inc"]])


def _compare(table: str, rows: list[Row], values: dict[Series, list[float]]) -> None:
    wanted: dict[Series, list[float]] = defaultdict(list)
    for (tenant, model, metric, start), found in values.items():
        wanted[tenant, model, metric, start // _WIDTH_S[table] * _WIDTH_S[table]] += found
    counted: Counter[Series] = Counter()
    summed: dict[Series, float] = defaultdict(float)
    sketched: Counter[Series] = Counter()
    for row in newest(rows, KEYS[table]):
        series = (row["tenant"], row["model"], row["metric"], int(row["w"]))
        counted[series] += int(row["n"])
        summed[series] += float(row["s1"])
        sketched[series] += sum(row["sk_n"])
    counts = {series: len(found) for series, found in wanted.items()}
    if counted != counts:
        differ = {s for s in counted.keys() | counts.keys() if counted[s] != counts.get(s)}
        bad = {s: (counted[s], counts.get(s)) for s in sorted(differ)}
        raise Difference(f"{table} (found, expected) differ: {bad}")
    if sketched != counts:
        raise Difference(f"{table}: sketches do not hold as many values as were counted")
    for series, found in wanted.items():
        allowed = 1e-9 * (1 + math.fsum(map(abs, found)))
        if abs(summed[series] - math.fsum(found)) > allowed:
            raise Difference(f"{table} {series}: {summed[series]}, expected {math.fsum(found)}")


def _compare_roll_ups(world: World, table: str, rows: list[Row]) -> None:
    """Every hour and day is the sum of the minutes that are visible now."""
    counts: Counter[Series] = Counter()
    for row in world.shards.rows("m1"):
        start = row["w"] // _WIDTH_S[table] * _WIDTH_S[table]
        counts[row["tenant"], row["model"], row["metric"], start] += row["n"]
    found = {(r["tenant"], r["model"], r["metric"], r["w"]): r["n"] for r in rows}
    if found != counts:
        raise Difference(f"{table} is {found}, its minutes say {dict(counts)}")


def with_buried(world: World, table: str, buried: list[Row]) -> list[Row]:
    """The rows of a table, with those that shards refused and dead letters hold."""
    kept = [row for row in buried if row["table"] == table]
    return newest([*world.shards.rows(table), *kept], KEYS[table])


def check_ledger(world: World, expected: Expected, buried: list[Row]) -> None:
    rows = {row["part"]: row for row in with_buried(world, "ledger", buried)}
    for partition, read in expected.read.items():
        row = rows.get(partition)
        if row is None:
            raise Difference(f"partition {partition} has no ledger row")
        if row["read"] != read or row["applied"] != expected.applied[partition]:
            raise Difference(f"ledger {row}, expected {read} read")
        if row["shed"] != expected.shed[partition]:
            raise Difference(f"ledger {row}, the ranges say {expected.shed[partition]} shed")
        if row["read"] != row["applied"] + row["duplicates"] + row["dead"] + row["shed"]:
            raise Difference(f"ledger does not add up: {row}")
        if row["next_offset"] - world.first_offset != row["read"] + row["gaps"]:
            raise Difference(f"ledger does not cover the log: {row}")
    listed = {row["id"] for row in world.shards.rows("dead_letters") if row["stage"] != "sink"}
    if listed != expected.dead:
        raise Difference(f"dead_letters rows {listed ^ expected.dead} differ")
