"""Would a dead letter pass today? Decodes it with the current code and schemas, at its append time.

An agent's other refusals depend on its tables or on services, those of a row on its target: for
them the verdict is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.core.errors import RecordLost
from streams.core.records.bad_records import IdempotencyConflict
from streams.core.topics.topic import Topic
from streams.core.types import LogReader, RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, decode, settled
from streams.engine.runtime.effects.refused_close import WINDOW_STAGE
from streams.operate.dlq.dead_letter import (
    PROCESS_STAGE,
    SINK_STAGE,
    DeadLetterRecord,
    Original,
    refetch,
)

SOURCE_UNKNOWN: Final = "source_unknown"
ROW_OF_A_TABLE: Final = "row_of_a_table"
CLOSED_WINDOW: Final = "closed_window"


class DecodeVerdict(NamedTuple):
    """``passes`` is None when unknown. ``path`` is the place in the document."""

    passes: bool | None
    code: str = ""
    message: str = ""
    path: str = ""


PASSES: Final = DecodeVerdict(True)


async def judge(
    source: Topic, originals: Sequence[Original], limits: Limits
) -> list[DecodeVerdict]:
    """Decode each record as if appended to ``source`` at its append time. Raises
    `SchemaRegistryUnavailable`."""
    n = len(originals)
    batch = RecordBatch(
        TopicPartition(source.name, 0),
        *(0, n, list(range(n))),
        [original.timestamp_ms for original in originals],
        [original.key for original in originals],
        [original.value for original in originals],
        [original.headers for original in originals],
    )
    verdicts = [PASSES] * n
    decoded = await settled(lambda: decode(source, batch, limits))
    for bad in decoded.bad:
        verdicts[bad.position] = DecodeVerdict(False, bad.code, bad.message, bad.path)
    return verdicts


async def verdicts(
    reader: LogReader, letters: Sequence[DeadLetterRecord], limits: Limits
) -> list[DecodeVerdict]:
    """One verdict for each dead letter, in order; pointers are fetched. Raises `BrokerUnavailable`
    and `SchemaRegistryUnavailable`."""
    found: dict[int, DecodeVerdict] = {}
    by_source: dict[Topic, list[tuple[int, Original]]] = {}
    for index, letter in enumerate(letters):
        outside = _outside(letter)
        if outside is not None:
            found[index] = outside
            continue
        assert letter.source is not None
        try:
            original = letter.original()
            if letter.pointer is not None:
                original = await refetch(reader, letter)
        except RecordLost as lost:
            found[index] = DecodeVerdict(False, lost.code, str(lost))
        else:
            by_source.setdefault(letter.source, []).append((index, original))
    for source, members in by_source.items():
        judged = await judge(source, [original for _, original in members], limits)
        found.update(zip((index for index, _ in members), judged, strict=True))
    return [_in_the_end(letter, found[index]) for index, letter in enumerate(letters)]


def _outside(letter: DeadLetterRecord) -> DecodeVerdict | None:
    if letter.stage == SINK_STAGE:
        what = "the value is a row of a table or a sink: only that target can accept or refuse it"
        return DecodeVerdict(None, ROW_OF_A_TABLE, what)
    if letter.stage == WINDOW_STAGE:
        what = "the value is a closed window of a table: no record failed"
        return DecodeVerdict(None, CLOSED_WINDOW, what)
    if letter.source is None:
        origin = letter.topic or "unnamed"
        return DecodeVerdict(None, SOURCE_UNKNOWN, f"its topic is not declared ({origin})")
    return None


def _in_the_end(letter: DeadLetterRecord, verdict: DecodeVerdict) -> DecodeVerdict:
    """A dead letter that decoded when it failed meets the same table or service again."""
    if not verdict.passes or letter.stage != PROCESS_STAGE:
        return verdict
    if letter.error_code == IdempotencyConflict.code:
        what = "it decodes; whether its event id is still taken, only the partition's table can say"
    else:
        what = "it decodes, as it did when its agent refused it: only a replay can tell"
    return DecodeVerdict(None, letter.error_code, what)
