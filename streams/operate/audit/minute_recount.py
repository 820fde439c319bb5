"""Recounts the minute windows of the built-in pipeline from their source log."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeAlias

from streams.core.types import LogReader, RecordBatch
from streams.operate.audit.log_age import Verdict
from streams.operate.audit.recount import Recount, recount
from streams.operate.audit.reference_decoder import ReferenceDecoder, ReferenceEvent, Rules
from streams.operate.audit.snapshot import DeadLetterPlace, PartitionSnapshot

_WINDOW_MS = 60_000

WindowKey: TypeAlias = tuple[str, str, str, int, int]
"""tenant, model, metric, window start in seconds, epoch"""


@dataclass(slots=True)
class MinuteTally:
    """The correct content of one window."""

    first_offset: int
    last_offset: int
    n: int = 0
    s1: float = 0.0
    s_abs: float = 0.0
    lo: float = float("inf")
    hi: float = float("-inf")

    def add(self, offset: int, value: float) -> None:
        self.last_offset = offset
        self.n += 1
        self.s1 += value
        self.s_abs += abs(value)
        self.lo, self.hi = min(self.lo, value), max(self.hi, value)


@dataclass(slots=True)
class MinuteRecount(Recount):
    windows: dict[WindowKey, MinuteTally] = field(default_factory=dict)


async def recount_minutes(
    reader: LogReader,
    topic: str,
    books: PartitionSnapshot,
    rules: Rules,
    from_s: int,
    to_s: int,
    unpublished: AbstractSet[DeadLetterPlace] = frozenset(),
) -> MinuteRecount:
    """Tally windows from ``from_s`` (raised to the first knowable one) to ``to_s``, in seconds.
    ``unpublished``: records refused for an unpublished schema version or a quota; only a replay
    applies them."""
    result = MinuteRecount(books.partition, from_s, to_s)
    await recount(reader, topic, books, _Minutes(rules, unpublished, result), result)
    for key in [key for key in result.windows if key[3] < result.judged_from_s]:
        del result.windows[key]
    return result


class _Minutes:
    def __init__(
        self, rules: Rules, unpublished: AbstractSet[DeadLetterPlace], result: MinuteRecount
    ) -> None:
        self.dedupe_ttl_ms = rules.dedupe_ttl_ms
        self.slack_ms = rules.dedupe_ttl_ms + rules.future_max_ms
        self._rules = rules
        self._unpublished = unpublished
        self._result = result
        self._judge = ReferenceDecoder(rules)
        self._epoch = 0

    def begin(self, epoch: int, *, fresh: bool) -> None:
        self._judge, self._epoch = ReferenceDecoder(self._rules), epoch

    async def judge(self, batch: RecordBatch, rows: Sequence[int]) -> Sequence[Verdict]:
        return [self._one(batch, row) for row in rows]

    def _one(self, batch: RecordBatch, row: int) -> Verdict:
        append_ms = batch.timestamps[row]
        if DeadLetterPlace(self._epoch, batch.offsets[row]) in self._unpublished:
            self._judge.pass_by(append_ms)
            return "dead"
        said = batch.keys[row], batch.values[row], batch.headers[row]
        verdict, event = self._judge.judge(append_ms, *said)
        if event is not None:
            self._tally(event, batch.offsets[row])
        return verdict

    def _tally(self, event: ReferenceEvent, offset: int) -> None:
        result = self._result
        w = event.ts_ms // _WINDOW_MS * _WINDOW_MS // 1000
        if not result.judged_from_s <= w < result.to_s:
            return
        key = (*event.series, w, self._epoch)
        tally = result.windows.get(key)
        if tally is None:
            tally = result.windows[key] = MinuteTally(offset, offset)
        tally.add(offset, event.value)
