"""The schedule topic: one JSON entry a record, about the runs of jobs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from streams.connect.broker.log_range import read_range
from streams.core.topics.topology import Topology
from streams.core.types import LogReader, OutboundRecord, TopicPartition

Kind = Literal["heard_of", "began", "ended"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """``run`` counts from 1; 0 if the job was only found. Of an ended run, ``found`` is the number
    of problems, ``detail`` the result, and ``error`` the code of its failure."""

    job: str
    run: int
    kind: Kind
    at_ms: int
    leader: str
    found: int = 0
    detail: dict[str, Any] = {}
    error: str = ""


class LastRun(msgspec.Struct, kw_only=True):
    newest: Entry
    ended: Entry | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def schedule_of(topology: Topology) -> TopicPartition:
    """The partition whose owner leads, and which holds the journal."""
    return TopicPartition(topology.schedule_topic, 0)


def record(schedule: TopicPartition, entry: Entry) -> OutboundRecord:
    return OutboundRecord(schedule, entry.job.encode(), _encode(entry))


async def entries(reader: LogReader, schedule: TopicPartition) -> list[Entry]:
    """Every retained entry, oldest first. Raises `BrokerUnavailable` and `UnknownTopic`."""
    begin = await reader.beginning_offset(schedule)
    end = await reader.last_stable_offset(schedule)
    found: list[Entry] = []
    async for batch in read_range(reader, schedule, begin, end):
        found += [_decode(value) for value in batch.values if value is not None]
    return found


def last_of_each(journal: list[Entry]) -> dict[str, LastRun]:
    found: dict[str, LastRun] = {}
    for entry in journal:
        last = found.setdefault(entry.job, LastRun(newest=entry))
        last.newest = entry
        if entry.kind == "ended":
            last.ended = entry
    return found
