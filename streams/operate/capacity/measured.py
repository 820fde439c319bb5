"""What this pipeline took in and used lately: the figures that a plan multiplies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from streams.core.command_errors import HistoryTooShort
from streams.core.settings import Settings
from streams.engine.state.load_run import SLOT_MS
from streams.operate.shard_answers import EveryShard, Rows

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Rows]]]
"""Gives the answers of all shards to a statement with parameters; a shard may have several."""

SLOT_S: Final = SLOT_MS // 1000
_CPU_MIN_S: Final = 10.0
"""Less processor time says little about the cost of an event."""

_LOAD = (
    "SELECT topic, toUnixTimestamp(w) AS at, sum(events), sum(bytes) "
    "FROM load_history_local FINAL WHERE toUnixTimestamp(w) >= {since:Int64} GROUP BY topic, at"
)
_READ = (
    "SELECT intDiv(toUnixTimestamp(at), 300) * 300 - 300 AS slot, sum(events) "
    "FROM load_history_local FINAL WHERE toUnixTimestamp(at) >= {since:Int64} GROUP BY slot"
)
"""By the commit that shows a run, an interval after that of its records where a reader keeps up."""
_USAGE = (
    "SELECT process, toUnixTimestamp(started) AS began, min(cpu_s), max(cpu_s), "
    "toUnixTimestamp(min(w)), toUnixTimestamp(max(w)), max(memory_bytes) "
    "FROM usage_history_local FINAL WHERE toUnixTimestamp(w) >= {since:Int64} GROUP BY process, began"
)
_DISK = (
    "SELECT sum(bytes_on_disk), (SELECT sum(events) FROM load_history_local FINAL), "
    "(SELECT sum(toFloat64(free_space)) FROM system.disks) "
    "FROM system.parts WHERE active AND database = currentDatabase()"
)


@dataclass(frozen=True, slots=True)
class TopicLoad:
    """``peak_per_s``: events a second in the busiest five minutes."""

    peak_per_s: float
    mean_per_s: float
    bytes_per_event: float


@dataclass(frozen=True, slots=True)
class MeasuredCosts:
    """Of ``days`` days. ``memory_bytes``: of the largest process. ``disk_bytes_per_event``: on all
    shards, of all events in their history. ``disk_free_bytes``: that all shards can take before the first is
    full. ``shards``: of ClickHouse. ``peak_per_s``: of all topics at once. ``processes``: the most that ran at
    once."""

    days: float
    topics: Mapping[str, TopicLoad]
    events: int
    peak_per_s: float
    cpu_s_per_event: float
    memory_bytes: int
    processes: int
    disk_bytes_per_event: float
    disk_free_bytes: float
    shards: int


class _Usage(NamedTuple):
    """Of one process: its processor time and epoch seconds at its first and last sample."""

    cpu_first_s: float
    cpu_last_s: float
    first_s: int
    last_s: int
    memory_bytes: int

    def merged(self, other: _Usage) -> _Usage:
        return _Usage(
            min(self.cpu_first_s, other.cpu_first_s),
            max(self.cpu_last_s, other.cpu_last_s),
            min(self.first_s, other.first_s),
            max(self.last_s, other.last_s),
            max(self.memory_bytes, other.memory_bytes),
        )


async def measured_costs(settings: Settings, now_s: float, days: int) -> MeasuredCosts:
    """Of the last ``days`` days. Raises `HistoryTooShort`, and as `EveryShard`."""
    shards = EveryShard(settings, "capacity plan")
    try:
        return await answered_costs(shards.ask, now_s, days)
    finally:
        shards.close()


async def answered_costs(ask: Ask, now_s: float, days: int) -> MeasuredCosts:
    """As `measured_costs`, by ``ask``."""
    since = {"since": int(now_s) - 86_400 * days}
    load, usage = await ask(_LOAD, since), await ask(_USAGE, since)
    read, disk = await ask(_READ, since), await ask(_DISK, {})
    return costs_of(load, read, usage, disk)


def costs_of(
    load: Iterable[Rows], read: Iterable[Rows], usage: Iterable[Rows], disk: Iterable[Rows]
) -> MeasuredCosts:
    """From the answers of the shards. ``read``: events by the interval in which they were read."""
    slots: dict[str, dict[int, tuple[int, int]]] = {}
    for answer in load:
        for topic, at, events, size in answer:
            of = slots.setdefault(topic, {})
            before = of.get(at, (0, 0))
            of[at] = before[0] + events, before[1] + size
    processes = _processes(usage)
    used_s = sum(one.cpu_last_s - one.cpu_first_s for one in processes)
    if not slots or used_s < _CPU_MIN_S:
        raise HistoryTooShort(
            f"the history has {used_s:.0f} s of processor time between samples of one process; a cost "
            f"of an event needs {_CPU_MIN_S:.0f}. Leave the workers running under load, and ask again."
        )
    totals: dict[int, int] = {}
    for of in slots.values():
        for at, (events, _) in of.items():
            totals[at] = totals.get(at, 0) + events
    disks = list(disk)
    on_disk, of_events, free = _of_disks(disks)
    # Processor time between the first and the last sample went into the events that were read then,
    # whenever they were appended.
    paid = _events_within(read, [(one.first_s, one.last_s) for one in processes])
    if not paid:
        raise HistoryTooShort("no events were read between the samples of its processes.")
    first = min(totals)
    span_s = max(totals) + SLOT_S - first
    return MeasuredCosts(
        days=span_s / 86_400,
        topics={topic: _topic_load(of, span_s) for topic, of in sorted(slots.items())},
        events=sum(totals.values()),
        peak_per_s=max(totals.values()) / SLOT_S,
        cpu_s_per_event=used_s / paid,
        memory_bytes=max(one.memory_bytes for one in processes),
        processes=_at_once(processes),
        disk_bytes_per_event=on_disk / of_events if of_events else 0.0,
        disk_free_bytes=free,
        shards=len(disks),
    )


def _events_within(read: Iterable[Rows], spans: Iterable[tuple[int, int]]) -> int:
    """Events of the intervals that lie in a span."""
    slots: set[int] = set()
    for begin, end in spans:
        slots.update(range(begin, end, SLOT_S))
    return sum(events for answer in read for at, events in answer if at in slots)


def _topic_load(slots: Mapping[int, tuple[int, int]], span_s: float) -> TopicLoad:
    events, size = map(sum, zip(*slots.values(), strict=True))
    return TopicLoad(
        peak_per_s=max(count for count, _ in slots.values()) / SLOT_S,
        mean_per_s=events / span_s,
        bytes_per_event=size / events if events else 0.0,
    )


def _of_disks(disk: Iterable[Rows]) -> tuple[float, int, float]:
    """Bytes on disk, the events of the history, and free bytes: a full shard holds up its rows, and each takes as
    many."""
    sizes, events, free = zip(*(answer[0] for answer in disk), strict=True)
    return sum(sizes), sum(events), min(free) * len(free)


def _processes(usage: Iterable[Rows]) -> list[_Usage]:
    """Of each process: its partitions may lie on several shards."""
    found: dict[tuple[str, int], _Usage] = {}
    for answer in usage:
        for process, began, *figures in answer:
            one = _Usage(*figures)
            found[process, began] = found.get((process, began), one).merged(one)
    return [*found.values()]


def _at_once(processes: Iterable[_Usage]) -> int:
    """The most processes that had samples at one time."""
    edges = (edge for one in processes for edge in ((one.first_s, 0, 1), (one.last_s, 1, -1)))
    now = most = 0
    for _, _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most
