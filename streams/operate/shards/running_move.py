"""A move on the real servers (docs/protocols/shard_moves.md)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streams.connect.broker.opened import opened
from streams.connect.sinks import shard_maps
from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.moves.clickhouse import ClickHouseMoves
from streams.connect.sinks.moves.notes import MoveNotes, MoveOrder, ToldProgress
from streams.connect.sinks.shard_maps import KnownMaps
from streams.core.clock import SystemClock
from streams.core.command_errors import MoveRefused
from streams.core.errors import DependencyUnreachable, ShardBusy, ShardUnavailable, UsageError
from streams.core.rows.dated_map import MapIdentity
from streams.core.settings import Settings
from streams.core.types import Broker, LogReader, TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.window_agent import windows_of
from streams.engine.app.app import App
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.engine.runtime.restore.newest_link import newest_link
from streams.operate.shards.mover import (
    MoveMeans,
    MoveOptions,
    Mover,
    MoveReport,
    rows_leaving,
)

TAKEN_S = 300.0
RUNNING_S = 60.0
"""A mover that told nothing for so long does not run. One portion may take some of it."""
_POLL_S = 2.0


def run_move(
    settings: Settings,
    app: App,
    broker: Broker,
    version: int,
    options: MoveOptions,
    check: Callable[[], None],
    say: Callable[[str], None],
    *,
    give_up: bool = False,
) -> MoveReport:
    """M4 to M8 of the move that the servers record as map ``version``; with ``give_up``, leave the
    days that it has not moved where they are.

    Raises `UsageError`, `MoveRefused` when a partition does not take the move, `MoveDiffers`, and
    `DependencyUnreachable`: then run it again."""
    known = shard_maps.told(settings)
    record = _in_force(known, version)

    def taken() -> None:
        asyncio.run(until_taken(app, broker, record, say))

    notes = MoveNotes(settings, known, version)
    means = MoveMeans(
        taken=taken,
        check=check,
        say=say,
        sleep=time.sleep,
        clock=SystemClock(),
        retention_days=settings.m1_retention_days,
        order=notes.order,
        told=notes.tell,
    )
    store = ClickHouseMoves(settings, app.clickhouse_tables, known, version)
    try:
        mover = Mover(store, options, means)
        return mover.give_up() if give_up else mover.run()
    except (ShardUnavailable, ShardBusy) as error:
        raise DependencyUnreachable(
            f"{error} Each row counts once: run `dia shards move {version}` again."
        ) from error
    finally:
        store.close()
        notes.close()


def _in_force(known: KnownMaps, version: int) -> MapRecord:
    chosen = next((one for one in known.maps if one.record.version == version), None)
    if chosen is None or chosen.record.last_day is None:
        raise UsageError(f"map {version} is no move: `dia shards list`.")
    if not chosen.in_force:
        raise MoveRefused(f"map {version} is announced: `dia shards apply` has to finish first.")
    return chosen.record


def give_order(
    settings: Settings,
    version: int,
    *,
    batch: int | None = None,
    rate: float | None = None,
    paused: bool | None = None,
) -> MoveOrder:
    """Change what the mover of a move does, now or when it begins; None: as before. ``rate`` 0: no
    limit. Returns the whole order.

    Raises `UsageError`, `MoveRefused` and `DependencyUnreachable`."""
    known = shard_maps.told(settings)
    _in_force(known, version)
    notes = MoveNotes(settings, known, version)
    try:
        now = notes.order()
        order = MoveOrder(
            batch=now.batch if batch is None else batch,
            rate=now.rate if rate is None else rate or None,
            paused=now.paused if paused is None else paused,
        )
        if order != now:
            notes.give(order)
    except (ShardUnavailable, ShardBusy) as error:
        raise DependencyUnreachable(f"{error} Try again.") from error
    finally:
        notes.close()
    return order


@dataclass(frozen=True, slots=True)
class DayStanding:
    """``left``: rows that are on the shards that the move takes them from, of all tables; ``copies``:
    rows that it brought. ``per_s``: rows a second of the mover, while one runs; ``seconds_left``: until
    the day is copied at that rate."""

    version: int
    day: int
    state: DayState
    left: int
    copies: int
    paused: bool = False
    per_s: float | None = None
    seconds_left: float | None = None


def standings(settings: Settings, app: App) -> list[DayStanding]:
    """Of each day of each move in force. Raises `DependencyUnreachable`."""
    found: list[DayStanding] = []
    known = shard_maps.told(settings)
    for one in known.moves:
        version = one.record.version
        store = ClickHouseMoves(settings, app.clickhouse_tables, known, version)
        notes = MoveNotes(settings, known, version)
        try:
            days = [_standing(store, version, day) for day in one.record.days]
            found += with_pace(days, notes.order(), notes.progress())
        except (ShardUnavailable, ShardBusy) as error:
            raise DependencyUnreachable(str(error)) from error
        finally:
            store.close()
            notes.close()
    return found


def _standing(store: ClickHouseMoves, version: int, day: int) -> DayStanding:
    left = rows_leaving(store, day)
    return DayStanding(version, day, store.state(day), left, store.copies(day))


def with_pace(
    days: Sequence[DayStanding], order: MoveOrder, told: ToldProgress | None
) -> list[DayStanding]:
    """The days of one move, in their order, with what its mover told. A day is copied after those
    before it."""
    running = told.progress if told is not None and told.age_s < RUNNING_S else None
    per_s = running.per_s if running is not None else None
    found, rows = [], 0
    for one in days:
        if one.state != DayState.COPYING:
            found.append(one)
            continue
        rows += one.left
        if running is not None and running.day == one.day:
            rows = max(0, rows - running.done)
        left_s = rows / per_s if per_s else None
        found.append(replace(one, paused=order.paused, per_s=per_s, seconds_left=left_s))
    return found


async def until_taken(
    app: App, broker: Broker, record: MapRecord, say: Callable[[str], None]
) -> None:
    """M4. Raises `MoveRefused` after `TAKEN_S`."""
    agents = [one for one in app.agents.values() if places_days(one)]
    deadline = time.monotonic() + TAKEN_S
    told = 0
    async with opened(broker.admin()) as admin, opened(broker.reader()) as reader:
        topics = await admin.describe_topics()
        waiting = [
            (agent, partition)
            for agent in agents
            for partition in range(topics[agent.source.name].partitions)
        ]
        while waiting := [one for one in waiting if await waits(reader, *one, record)]:
            if time.monotonic() > deadline:
                names = ", ".join(f"{agent.source.name}-{number}" for agent, number in waiting)
                raise MoveRefused(
                    f"{names}: the state does not name the move. A worker has to run; a "
                    "partition takes it when none of its windows of these days is live. Then run the "
                    "move again."
                )
            if len(waiting) != told:
                told = len(waiting)
                say(f"{told} partitions have not taken the move yet")
            await asyncio.sleep(_POLL_S)


def places_days(agent: Agent) -> bool:
    """Whether its rows are placed by the UTC day of their window."""
    return MINUTE_WINDOWS in agent.tables or bool(windows_of(agent))


async def waits(reader: LogReader, agent: Agent, partition: int, record: MapRecord) -> bool:
    """Whether the last commit of the partition does not name the move."""
    changelog = TopicPartition(agent.source.changelog(agent.group), partition)
    link = await newest_link(reader, changelog)
    taken = link.later_maps if link is not None else ()
    at = record.version - 2  # the first map is in no chain
    digest = record.identity.digest
    return len(taken) <= at or MapIdentity.parse(taken[at].map).digest != digest


def seed() -> int:
    """Of a sample of series."""
    return random.SystemRandom().getrandbits(32)
