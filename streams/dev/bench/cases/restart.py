"""Restart time of a worker: with its state folder, and from the changelog alone. Events sent in
between wait for the warm start."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.connect.broker.log_range import read_range
from streams.connect.broker.opened import opened
from streams.core.errors import CommandError
from streams.core.topics.topic import Topic
from streams.core.types import LogReader, TopicPartition
from streams.dev.bench.load.filling import feed
from streams.dev.bench.report.results import Restart
from streams.dev.bench.rig import Rig
from streams.dev.bench.worker_log import PartitionReady
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.workload.generator import Generator
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.identities.seen_events import ID_BYTES
from streams.engine.state.changelog import unpack
from streams.engine.windows.minutes.names import SeriesNames
from streams.engine.windows.minutes.window_segment import decode_rows


@dataclass(slots=True)
class ChangelogSize:
    """``records`` are Kafka's; ids and window rows are packed inside them."""

    records: int = 0
    bytes: int = 0
    ids: int = 0
    window_rows: int = 0


async def changelog_size(reader: LogReader, topic: Topic, group: str) -> ChangelogSize:
    """From each start to the last stable offset."""
    size = ChangelogSize()
    for number in range(topic.partitions):
        log = TopicPartition(topic.changelog(group), number)
        begin, end = await reader.beginning_offset(log), await reader.last_stable_offset(log)
        async for batch in read_range(reader, log, begin, end):
            for value in batch.values:
                _count(size, value or b"")
    return size


def _count(size: ChangelogSize, record: bytes) -> None:
    _, entries = unpack(record)
    size.records += 1
    size.bytes += len(record)
    for key, value in entries:
        if value is None:
            continue
        if key[:1] == SEEN_EVENTS.prefix:
            size.ids += len(value) // ID_BYTES
        elif key[:1] == MINUTE_WINDOWS.prefix:
            size.window_rows += len(decode_rows(SeriesNames(), [(1, value)]).key)


WAITING_EVENTS = 5000
FIRST_COMMIT_WAIT_S = 60.0
POLL_S = 0.02


async def measure_restart(
    rig: Rig, process: WorkerProcess, generator: Generator
) -> tuple[WorkerProcess, Restart]:
    """Warm, then without its stores. The last one keeps running, so that the final check covers the
    restore."""
    rig.talk.say("restarting the worker with its state")
    await rig.stop(process)
    await feed(rig, generator, WAITING_EVENTS)
    began_s = time.time()
    warm, warm_start_s, warm_opened = await _start(rig, "worker-warm")
    first_commit_s = await _first_commit(rig, warm) - began_s
    await rig.until_committed(warm, WAITING_EVENTS)
    await rig.stop(warm)
    async with opened(rig.broker.reader()) as reader:
        size = await changelog_size(reader, MODEL_METRICS, DIA_GROUP)
    rig.talk.say(f"restoring {size.ids:,} ids and {size.window_rows:,} window rows")
    # Without its identity the worker would wait for the old session to expire.
    await asyncio.to_thread(shutil.rmtree, rig.settings.state_path() / DIA_GROUP)
    cold, cold_start_s, cold_opened = await _start(rig, "worker-cold")
    restore_s = _span_s(cold_opened)
    entries = size.ids + size.window_rows
    return cold, Restart(
        warm_start_s=round(warm_start_s, 2),
        first_commit_s=round(first_commit_s, 2),
        warm_open_s=round(_span_s(warm_opened), 2),
        cold_start_s=round(cold_start_s, 2),
        restore_s=round(restore_s, 3),
        changelog_records=size.records,
        changelog_bytes=size.bytes,
        ids=size.ids,
        window_rows=size.window_rows,
        entries_per_s=round(entries / restore_s),
        bytes_per_s=round(size.bytes / restore_s),
    )


async def _start(rig: Rig, name: str) -> tuple[WorkerProcess, float, list[PartitionReady]]:
    """And the seconds from its start until every partition takes records."""
    began_s = time.time()
    process = rig.start(name)
    try:
        opened = await rig.all_opened(process, MODEL_METRICS.partitions)
    except BaseException:
        await rig.stop(process)
        raise
    return process, max(one.at_s for one in opened) - began_s, opened


async def _first_commit(rig: Rig, process: WorkerProcess) -> float:
    deadline = rig.clock.monotonic() + FIRST_COMMIT_WAIT_S
    while await rig.reading.unread() >= WAITING_EVENTS:
        process.check()
        if rig.clock.monotonic() >= deadline:
            raise CommandError(
                f"a restarted worker committed nothing within {FIRST_COMMIT_WAIT_S:g} s. Its log "
                f"is {process.log}."
            )
        await rig.clock.sleep(POLL_S)
    return time.time()


def _span_s(opened: list[PartitionReady]) -> float:
    return max(one.at_s for one in opened) - min(one.began_s for one in opened)
