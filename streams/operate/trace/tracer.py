"""Traces one id through the pipeline (docs/protocols/trace.md). Reads only."""

from __future__ import annotations

from collections.abc import Callable

from streams.core.errors import UsageError
from streams.operate.trace.finding import Finding
from streams.operate.trace.judging import Judging
from streams.operate.trace.log_scan import LogScan
from streams.operate.trace.means import TraceBounds, TraceMeans
from streams.operate.trace.trace_report import TraceReport

TEXT_BYTES_MAX = 1024


async def trace(
    means: TraceMeans,
    text: str,
    bounds: TraceBounds,
    progress: Callable[[int], None] = lambda offsets: None,
    found_at: Callable[[str], None] = lambda place: None,
) -> TraceReport:
    """What is known of ``text``: an event id, a place (``topic/partition/offset``), the id of a dead
    letter, a plan, a run or a request, or another value of an event's field. ``progress`` receives
    offsets as they are searched, ``found_at`` the place of each record as it is found.

    Raises `UsageError` for empty or long text and for undeclared topics, and `BrokerUnavailable`.
    """
    if not text or len(text.encode()) > TEXT_BYTES_MAX:
        raise UsageError(f"an id has 1 to {TEXT_BYTES_MAX} bytes.")
    began_s = means.clock.monotonic()
    scan = LogScan(means.reader, means.clock, began_s + bounds.deadline_s, progress)
    topics = await means.admin.describe_topics()
    partitions = {name: topic.partitions for name, topic in topics.items()}
    found = Finding(means, text, bounds, scan, partitions, found_at)
    await found.find()
    judged = Judging(found)
    await judged.judge()
    return TraceReport(
        asked=text,
        records=judged.records,
        letters=judged.letters,
        plans=found.plans,
        searched=scan.searched,
        notes=found.notes,
        seconds=means.clock.monotonic() - began_s,
        more=found.more,
        late=scan.late,
    )
