"""The load history of every shard, by hours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from streams.core.rows.operational_tables import LOAD_HISTORY
from streams.core.settings import Settings
from streams.operate.capacity.forecast import Floats
from streams.operate.shard_answers import EveryShard, Rows

HOUR_S: Final = 3600
_SETTLED_S: Final = 600
"""Rows of an interval of five minutes come up to a minute after its end."""
_DAYS_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class HourlyLoad:
    """``events`` and ``bytes`` of consecutive hours of UTC; the first begins at ``start_s`` since
    the epoch. ``unnamed``: the share of all events whose tenant the history does not name; 0.0 where no
    tenant was chosen."""

    start_s: int
    events: Floats
    bytes: Floats
    unnamed: float = 0.0

    @property
    def end_s(self) -> int:
        return self.start_s + HOUR_S * len(self.events)


async def hourly_load(
    settings: Settings, now_s: float, agent: str = "", tenant: str = ""
) -> HourlyLoad:
    """Whole hours up to ``now_s``; ``agent`` and ``tenant`` "": all. Raises as `EveryShard`."""
    until_s = int(now_s - _SETTLED_S) // HOUR_S * HOUR_S
    conditions = ["toUnixTimestamp(w) >= {since:Int64}", "toUnixTimestamp(w) < {until:Int64}"]
    conditions += ["agent = {agent:String}"] if agent else []
    every = f"FROM {LOAD_HISTORY.name}_local FINAL WHERE {' AND '.join(conditions)}"
    chosen = f"{every} AND tenant = {{tenant:String}}" if tenant else every
    hours = f"SELECT intDiv(toUnixTimestamp(w), 3600) AS hour, sum(events), sum(bytes) {chosen} GROUP BY hour"
    since_s = until_s - _DAYS_MAX * 24 * HOUR_S
    parameters = {"since": since_s, "until": until_s, "agent": agent, "tenant": tenant}
    shards = EveryShard(settings, "capacity forecast")
    try:
        load = summed(await shards.ask(hours, parameters), until_s)
        if not tenant:
            return load
        named = await shards.ask(
            f"SELECT sumIf(events, tenant = ''), sum(events) {every}", parameters
        )
    finally:
        shards.close()
    return replace(load, unnamed=unnamed_of(named))


def unnamed_of(answers: Iterable[Rows]) -> float:
    """Of the row (events of no named tenant, events) of each shard."""
    unnamed, events = map(sum, zip(*(answer[0] for answer in answers), strict=True))
    return unnamed / events if events else 0.0


def summed(answers: Iterable[Rows], until_s: int) -> HourlyLoad:
    """Rows (hour since the epoch, events, bytes) of all shards. The first hour began before the
    history, so it is left out. Hours without rows had no load."""
    events, sizes = dict[int, int](), dict[int, int]()
    for answer in answers:
        for hour, count, size in answer:
            events[hour] = events.get(hour, 0) + count
            sizes[hour] = sizes.get(hour, 0) + size
    last = until_s // HOUR_S
    first = min(events, default=last) + 1
    hours = range(first, last)
    return HourlyLoad(
        first * HOUR_S,
        np.array([events.get(hour, 0) for hour in hours], np.float64),
        np.array([sizes.get(hour, 0) for hour in hours], np.float64),
    )
