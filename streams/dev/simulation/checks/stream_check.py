"""Checks the stream scenario from the source log alone."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from agents.app import DIA_GROUP, MODEL_METRICS, SIMULATION_RESULT, TRAIN_RESULTS
from streams.connect.sinks.memory_replica import Row
from streams.core.records.bad_records import TenantOverQuota, WindowClosed
from streams.core.types import TopicPartition
from streams.dev.simulation.checks.comparison import check_dead_letters, check_end, check_ledger
from streams.dev.simulation.checks.truth import Expected
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.operators.sheds import shed_ranges
from streams.dev.simulation.world import Difference, World
from streams.engine.state.changelog import unpack
from streams.engine.state.key_owners import owned_value
from streams.engine.state.table_values import key_of
from streams.engine.streams.declared_table import user_prefix

OUT: Final = SIMULATION_RESULT.name
CLOSED: Final = TRAIN_RESULTS.name
WINDOW_S: Final = 10
CLOSES_AFTER_S: Final = 2 * WINDOW_S
"""Event time from the start of a window to its close, in seconds."""
_EVERYTHING = 1 << 30
_Ids: TypeAlias = dict[str, list[str]]


class _Counted(NamedTuple):
    """An event that counts: the start of its window in seconds, and how far it moves the
    watermark."""

    event_id: str
    window_s: int
    reached_ms: int


class _Wanted(NamedTuple):
    """Ids of the events that count, by tenant and in order; numbers of the slow ones; counts by
    tenant and window; all counted events in log order."""

    ids: _Ids
    slow: dict[str, int]
    windows: Counter[tuple[str, int]]
    events: list[_Counted]


_LETTERS: Final = {
    "raise": {"agent_failed"},
    "hang": {"agent_timeout"},
    "deaf": {"agent_timeout"},
    "retry": {"retries_exhausted", ""},
}
"""dead-letter codes by kind of event; "": possibly none"""
_WRONG_TIMES: Final = {"out_of_range", "timestamp_in_future", "timestamp_too_old"}
"""a run's clocks may step far"""
_OF_ANY_EVENT: Final = {*_WRONG_TIMES, WindowClosed.code, TenantOverQuota.code}
"""codes that depend on the events before, or on how long they waited"""


def check(world: World, witness: Witness, *, over: bool) -> None:
    expected, buried, shed = Expected(duplicates=Counter()), [], shed_ranges(world)
    for partition in range(world.partitions):
        tp = TopicPartition(MODEL_METRICS.name, partition)
        letters = _letters(world, tp)
        wanted = _wanted(world, tp, expected, letters, shed[partition])
        buried += check_dead_letters(world, tp, expected)
        check_end(world, witness, tp)
        _check_late(tp, wanted.events, _check_outputs(world, partition, wanted.ids))
        tables = _tables_of(world, partition)
        _check_windows(world, partition, wanted.windows, tables.pop("windows"))
        _check_tables(partition, tables, wanted)
    rows: list[Row] = buried
    check_ledger(world, MODEL_METRICS.name, expected, rows)


def _letters(world: World, tp: TopicPartition) -> dict[int, str]:
    batch = world.broker.log(TopicPartition(f"{tp.topic}.dlq", tp.partition))
    found: dict[int, str] = {}
    for headers in batch.read_committed(0, _EVERYTHING).headers:
        said = {name: value.decode() for name, value in headers}
        if said["dia.dlq.stage"] != "sink":
            found[int(said["dia.dlq.offset"])] = said["dia.dlq.error_code"]
    return found


def _wanted(
    world: World,
    tp: TopicPartition,
    expected: Expected,
    letters: dict[int, str],
    shed: list[range],
) -> _Wanted:
    """Fills ``expected``."""
    wanted: _Ids = defaultdict(list)
    slow: dict[str, int] = {}
    windows: Counter[tuple[str, int]] = Counter()
    events: list[_Counted] = []
    partition = tp.partition
    expected.shed[partition] = sum(map(len, shed))
    expected.read[partition] = expected.shed[partition]
    batch = world.broker.log(tp).readable()
    records = zip(batch.offsets, batch.keys, batch.values, batch.timestamps, strict=True)
    for offset, key, value, append_ms in records:
        if any(offset in skipped for skipped in shed):
            continue
        expected.read[partition] += 1
        event, code = _event_of(key, value), letters.get(offset, "")
        if event is not None and code not in _OF_ANY_EVENT:
            codes = _LETTERS.get(event["metric"], {""})
            if code not in codes:
                raise Difference(f"{tp}/{offset}, {event['metric']}: dead letter {code!r}")
        if event is None or code:
            expected.dead.add(f"{tp}/{offset}")
        else:
            expected.applied[partition] += 1
            wanted[event["tenant_id"]].append(event["event_id"])
            if event["metric"] == "slow":
                slow[event["event_id"]] = len(wanted[event["tenant_id"]])
            start_s = event["ts"] // 1000 // WINDOW_S * WINDOW_S
            windows[event["tenant_id"], start_s] += 1
            events.append(_Counted(event["event_id"], start_s, min(event["ts"], append_ms)))
    return _Wanted(wanted, slow, windows, events)


def _event_of(key: bytes | None, value: bytes | None) -> dict[str, Any] | None:
    """None for an undecodable record."""
    try:
        event: dict[str, Any] = json.loads(value or b"")
    except ValueError:
        return None
    whole = isinstance(event, dict) and "metric" in event
    return event if whole and str(event["tenant_id"]).encode() == key else None


def _check_outputs(world: World, partition: int, wanted: _Ids) -> dict[str, int]:
    """One record per counted event, numbered from 1, in log order. By event id, the number of events
    in front of it in one list."""
    log = world.broker.log(TopicPartition(OUT, partition))
    found: dict[str, list[str]] = defaultdict(list)
    places: dict[str, int] = {}
    for value in log.read_committed(0, _EVERYTHING).values:
        tenant, number, event_id, places[event_id] = json.loads(value or b"")
        found[tenant].append(event_id)
        if number != len(found[tenant]):
            raise Difference(f"partition {partition}, {tenant}: {event_id} has number {number}")
    if found != wanted:
        raise Difference(f"partition {partition}: sent {dict(found)}, expected {dict(wanted)}")
    return places


def _check_late(tp: TopicPartition, events: list[_Counted], places: dict[str, int]) -> None:
    """No event counts whose window the events before it closed. Those of one list complete
    together, so they close no window for each other."""
    reached_ms = [0]
    for counted in events:
        reached_ms.append(max(reached_ms[-1], counted.reached_ms))
    for number, (event_id, start_s, _) in enumerate(events):
        before_ms = reached_ms[number - places[event_id]]
        if before_ms >= (start_s + CLOSES_AFTER_S) * 1000:
            raise Difference(
                f"{tp}: {event_id} counts in the window of {start_s}, which closed at {before_ms}"
            )


def _check_windows(
    world: World, partition: int, wanted: Counter[tuple[str, int]], opened: dict[Any, Any]
) -> None:
    """Each window was closed once or is open in the table, and counts its events."""
    log = world.broker.log(TopicPartition(CLOSED, partition))
    found = {(tenant, start_ms // 1000): count for (tenant, start_ms), count in opened.items()}
    for value in log.read_committed(0, _EVERYTHING).values:
        tenant, start_s, count = json.loads(value or b"")
        if (tenant, start_s) in found:
            raise Difference(f"partition {partition}: window {start_s} of {tenant} closed again")
        found[tenant, start_s] = count
    if found != wanted:
        raise Difference(f"partition {partition}: windows {found}, expected {dict(wanted)}")


def _check_tables(partition: int, tables: dict[str, dict[Any, Any]], wanted: _Wanted) -> None:
    counts = {tenant: len(ids) for tenant, ids in wanted.ids.items()}
    newest = {tenant: [*range(1, count + 1)][-3:] for tenant, count in counts.items()}
    expected = {"before": counts, "after": newest, "slow": wanted.slow}
    if tables != expected:
        raise Difference(f"partition {partition}: tables {tables}, expected {expected}")


def _tables_of(world: World, partition: int) -> dict[str, dict[Any, Any]]:

    changelog = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), partition)
    log = world.broker.log(changelog)
    entries: dict[bytes, bytes | None] = {}
    for value in log.read_committed(log.start_offset, _EVERYTHING).values:
        _, found = unpack(value or b"")
        entries.update(found)
    tables: dict[str, dict[Any, Any]] = {}
    for name in ("before", "after", "slow", "windows"):
        prefix = user_prefix(name)
        tables[name] = {
            key_of(key[len(prefix) :]): msgspec.msgpack.decode(owned_value(value)[1])
            for key, value in entries.items()
            if value is not None and key.startswith(prefix) and len(key) > len(prefix)
        }
    return tables
