"""Plans (X1) to skip records that cannot be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.connect.broker.log_range import behind, read_some
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable
from streams.core.types import Broker, CommittedOffset, LogReader, TopicPartition
from streams.engine.runtime.offsets.commit_mark import epoch_of
from streams.engine.runtime.partition.obstacle import producers_times
from streams.operate.shed.shed_admin import ShedPlan


async def plan_unreadable(
    broker: Broker, clock: Clock, group: str, partitions: Sequence[TopicPartition]
) -> list[ShedPlan]:
    """Plan the first undecodable offsets at or after the committed one; reads each log up to them,
    or to its end. Raises `BrokerUnavailable` and `UnknownTopic`."""
    async with opened(broker.admin()) as admin:
        committed = await admin.committed(group, partitions)
    now_ms = clock.now_ms()
    async with opened(broker.reader()) as reader:
        return [await _plan(reader, group, tp, committed.get(tp), now_ms) for tp in partitions]


class _Page(NamedTuple):
    """Offsets of one read; ``why`` they cannot be decoded."""

    first: int
    until: int
    why: str


async def _plan(
    reader: LogReader,
    group: str,
    tp: TopicPartition,
    committed: CommittedOffset | None,
    now_ms: int,
) -> ShedPlan:
    begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
    at = start = committed.offset if committed is not None else begin
    bad = _Page(at, at, "")
    while begin <= at < end:
        page = await _page(reader, tp, at, end)
        if page.why and not bad.why:
            bad = page
        elif page.why and page.first == bad.until:
            bad = bad._replace(until=page.until)
        elif bad.why:
            break
        at = page.until
    if not bad.why:
        bad = _Page(start, start, "")
    return ShedPlan(
        group=group,
        tp=tp,
        epoch=epoch_of(committed),
        first=bad.first,
        until=bad.until,
        begin=begin,
        end=end,
        oldest_ms=None,
        last=None,
        before_ms=now_ms,
        unreadable=bad.why,
        committed=start,
    )


async def _page(reader: LogReader, tp: TopicPartition, at: int, end: int) -> _Page:
    try:
        batch = await read_some(reader, tp, at, end)
    except BatchUnreadable as error:
        return _Page(error.offset, behind(error, end), error.why)
    if len(batch) and not batch.append_times:
        return _Page(batch.offsets[0], batch.end, str(producers_times(batch)))
    return _Page(at, batch.end, "")
