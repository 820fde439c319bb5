"""Rows of dead letters in ClickHouse: one each, replaced by every disposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streams.core.rows.built_in_tables import FactRows, ShardSet
from streams.core.rows.operational_tables import DEAD_LETTERS
from streams.core.topics.topology import Topology
from streams.core.types import LogReader, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.scan import OffsetSpan, scan
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import Disposed
from streams.operate.replay.journal.ranges import OffsetSet
from streams.operate.replay.journal.status import PartitionStatus

_GAP = 1000
"""Reading so many dead letters in vain is cheaper than another request."""


def disposed_rows(
    shards: ShardSet,
    letters: Sequence[DeadLetterRecord],
    decided: Mapping[int, ReplayDisposition],
    versions: Mapping[int, int],
    entry: Disposed,
) -> list[FactRows]:
    """One `FactRows` for each shard; ``decided`` and ``versions`` by DLQ offset."""
    by_shard: dict[int, list[DeadLetterRecord]] = {}
    for letter in letters:
        by_shard.setdefault(shards.shard_of_key(letter.id), []).append(letter)
    return [
        FactRows(DEAD_LETTERS, shard, _columns(found, decided, versions, entry))
        for shard, found in by_shard.items()
    ]


def letter_columns(letters: Sequence[DeadLetterRecord]) -> dict[str, list[Any]]:
    """What a dead letter says of itself; its row also has what was decided of it."""
    return {
        "id": [letter.id for letter in letters],
        "topic": [letter.topic or "" for letter in letters],
        "part": [letter.partition or 0 for letter in letters],
        "off": [letter.source_offset or 0 for letter in letters],
        "ts": [letter.source_timestamp_ms for letter in letters],
        "error_code": [letter.error_code for letter in letters],
        "error_message": [letter.error_message for letter in letters],
        "stage": [letter.stage for letter in letters],
        "agent": [letter.agent for letter in letters],
        "tenant": [letter.tenant for letter in letters],
        "hops": [letter.hops for letter in letters],
    }


def _columns(
    letters: Sequence[DeadLetterRecord],
    decided: Mapping[int, ReplayDisposition],
    versions: Mapping[int, int],
    entry: Disposed,
) -> dict[str, list[Any]]:
    return letter_columns(letters) | {
        "disposition": [decided[letter.offset].word for letter in letters],
        "actor": [entry.actor] * len(letters),
        "ver": [versions[letter.offset] for letter in letters],
        "at": [entry.at_ms] * len(letters),
    }


async def insert(shards: ShardSet, rows: Sequence[FactRows]) -> None:
    """Raises as `ShardSet.insert`."""
    for facts in rows:
        await shards.insert(facts.shard, [facts])


def decisions(entry: Disposed) -> dict[int, ReplayDisposition]:
    """Decisions by DLQ offset."""
    said = (
        (ReplayDisposition.REPLAYED, entry.replayed),
        (ReplayDisposition.PARKED, entry.parked),
        (ReplayDisposition.DISCARDED, entry.discarded),
    )
    return {
        offset: disposition
        for disposition, text in said
        for offset in OffsetSet.parse(text).offsets().tolist()
    }


async def show_arrears(
    shards: ShardSet,
    reader: LogReader,
    standing: PartitionStatus,
    dlq: TopicPartition,
    topology: Topology,
) -> int:
    """P4: insert the rows of every entry that ClickHouse may lack, with their current versions.
    Returns the seq up to which all rows are stored. Raises as `ShardSet.insert`."""
    for entry in list(standing.arrears.values()):
        decided = decisions(entry)
        offsets = OffsetSet.of(sorted(decided))
        spans = [OffsetSpan(dlq, start, end) for start, end in offsets.spans(0, _GAP)]
        async for page in scan(reader, spans, topology):
            letters = [letter for letter in page if letter.offset in decided]
            at = np.array([letter.offset for letter in letters], np.int64)
            versions = dict(
                zip(at.tolist(), standing.dispositions.versions(at).tolist(), strict=True)
            )
            last = standing.dispositions
            current = {offset: last.of(offset) for offset in at.tolist()}
            await insert(shards, disposed_rows(shards, letters, current, versions, entry))
    return standing.seq
