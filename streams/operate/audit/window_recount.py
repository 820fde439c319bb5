"""Recounts from the log which records count in the windows of an app.

The topic's codec decodes; the rest is decided record by record, without the engine's tables. In an
idle partition the clock advances the watermark, so it has two bounds, and a window that closes
between them is not checked. Refusals as late or over quota come from the DLQ: other settings may
have been in force."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streams.core.records.bad_records import (
    IncompatibleSchema,
    KeyMisplaced,
    TenantOverQuota,
    UnknownSchemaId,
    UnknownSchemaVersion,
    WindowClosed,
)
from streams.core.records.faust_values import plain
from streams.core.topics.topic import tenant_name
from streams.core.types import LogReader, RecordBatch, TopicPartition
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.aggregates.aggregate import FieldType
from streams.engine.decode.codecs import Limits, decode, settled
from streams.engine.runtime.restore.survey import survey
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.engine.windows.aggregated.aggregate_table import BEGUN
from streams.operate.audit.log_age import FirstSeen, Verdict
from streams.operate.audit.recount import Recount, recount
from streams.operate.audit.reference_decoder import Rules
from streams.operate.audit.snapshot import DeadLetterPlace, PartitionSnapshot

HELD_MAX: Final = 2_000_000
"""Records of one partition in memory at once."""
NEVER_MS: Final = 1 << 62
SLACK_MS: Final = 5000
"""By how much clock differences and an old broker answer may move the end of a silence."""
_UNREAD: Final = frozenset(
    {UnknownSchemaVersion.code, KeyMisplaced.code, UnknownSchemaId.code, IncompatibleSchema.code}
)
"""Refusals before decoding: these events did not advance the watermark."""
_TEXT_MAX_BYTES: Final = 32 << 10

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


_Event: TypeAlias = tuple[Any, int, int]
"""An event, its event time and its reference append time, in milliseconds."""


class WatermarkBounds(NamedTuple):
    """The least and greatest possible watermark."""

    lowest_ms: int
    highest_ms: int


@dataclass(slots=True)
class CountedRecords:
    """Counted records in log order, as columns, with the bounds of the watermark before each."""

    epochs: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    times_ms: array[int] = field(default_factory=lambda: array("q"))
    lowest_ms: array[int] = field(default_factory=lambda: array("q"))
    highest_ms: array[int] = field(default_factory=lambda: array("q"))
    fields: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(slots=True)
class WindowRecount(Recount):
    """``watermarks``: after the last record of each epoch. ``begun``: by window declaration, the
    first offset folded in the last epoch. ``overfull``: ``counted`` lacks records beyond
    `HELD_MAX`. ``late_by_other_grace``: records refused as late that today's grace accepts.
    ``unsteady``: records that decode differently a second time."""

    counted: CountedRecords = field(default_factory=CountedRecords)
    watermarks: dict[int, WatermarkBounds] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    overfull: bool = False
    late_by_other_grace: int = 0
    unsteady: int = 0


async def recount_windows(
    reader: LogReader,
    agent: WindowAgent,
    books: PartitionSnapshot,
    rules: Rules,
    bounds_s: tuple[int, int],
    letters: Mapping[DeadLetterPlace, str],
    idle_close_ms: int,
) -> WindowRecount:
    """Judges windows within ``bounds_s``, from the first knowable one. ``letters``: codes of the
    partition's dead letters."""
    result = WindowRecount(books.partition, *bounds_s)
    opinion = _Windows(agent, rules, letters, idle_close_ms, result)
    await recount(reader, agent.source.name, books, opinion, result)
    keys = {one.spec.prefix + BEGUN: one.name for one in agent.windows}
    changelog = TopicPartition(agent.source.changelog(agent.group), books.partition)
    found = (await survey(reader, changelog, frozenset(keys))).wanted
    result.begun = {keys[key]: msgspec.msgpack.decode(value) for key, value in found.items()}
    return result


class _Windows:
    def __init__(
        self,
        agent: WindowAgent,
        rules: Rules,
        letters: Mapping[DeadLetterPlace, str],
        idle_close_ms: int,
        result: WindowRecount,
    ) -> None:
        self._agent = agent
        self._ids = agent.windows[0].ids
        self.dedupe_ttl_ms = rules.dedupe_ttl_ms
        ahead_ms = rules.future_max_ms if agent.source.time_field else 0
        self.slack_ms = ahead_ms + (rules.dedupe_ttl_ms if self._ids else 0)
        self._limits = Limits(rules.future_max_ms // 1000, rules.late_max_ms // 1000)
        self._letters = letters
        self._idle_close_ms = idle_close_ms
        self._result = result
        own_codec = not type(agent.source.codec).__module__.startswith("streams.")
        self._reads_twice = own_codec or bool(agent.source.upcasters)
        self._types = {name: kind for one in agent.windows for name, kind in _read(one).items()}
        self._wanted_ms = _wanted_ms(agent.windows, result)
        self._seen = FirstSeen(rules.dedupe_ttl_ms)
        self._watermark = _Watermark(idle_close_ms, fresh=False)
        self._epoch = 0

    def begin(self, epoch: int, *, fresh: bool) -> None:
        self._epoch = epoch
        self._seen = FirstSeen(self.dedupe_ttl_ms)
        # A reset may have kept the watermark of the epoch before.
        self._watermark = _Watermark(self._idle_close_ms, fresh=fresh and epoch == 0)
        self._result.watermarks[epoch] = self._watermark.bounds

    async def judge(self, batch: RecordBatch, rows: Sequence[int]) -> Sequence[Verdict]:
        events = await self._events(batch)
        if self._reads_twice:
            again = await self._events(batch)
            same = (self._plain(events.get(row)) == self._plain(again.get(row)) for row in rows)
            self._result.unsteady += len(rows) - sum(same)
        verdicts: list[Verdict] = [self._one(batch, row, events.get(row)) for row in rows]
        self._result.watermarks[self._epoch] = self._watermark.bounds
        return verdicts

    async def _events(self, batch: RecordBatch) -> dict[int, _Event]:
        read = await settled(lambda: decode(self._agent.source, batch, self._limits))
        places = range(len(batch)) if read.positions is None else read.positions
        columns = zip(read.events, read.event_ms.tolist(), read.append_ms.tolist(), strict=True)
        return dict(zip(places, columns, strict=True))

    def _plain(self, event: _Event | None) -> object:
        if event is None:
            return None
        return event[1:], [getattr(event[0], name) for name in self._types]

    def _one(self, batch: RecordBatch, row: int, event: _Event | None) -> Verdict:
        appended_ms, offset = batch.timestamps[row], batch.offsets[row]
        code = self._letters.get(DeadLetterPlace(self._epoch, offset), "")
        self._seen.read(appended_ms)
        self._watermark.read(appended_ms)
        if event is None or code in _UNREAD:
            return "dead"
        value, time_ms, judged_ms = event
        before = self._watermark.bounds
        self._watermark.reached(min(time_ms, judged_ms))
        fields = {name: _value(value, name, kind) for name, kind in self._types.items()}
        if _REFUSED in fields.values() or code == TenantOverQuota.code:
            return "dead"
        if code == WindowClosed.code:
            self._result.late_by_other_grace += not self._may_be_late(time_ms, before)
            return "dead"
        verdict = self._repeats(batch, row, value) if self._ids else "applied"
        if verdict == "applied":
            self._hold(offset, time_ms, before, fields)
        return verdict

    def _may_be_late(self, time_ms: int, before: WatermarkBounds) -> bool:
        return any(
            last_end_ms(one, time_ms) <= before.highest_ms - one.grace_ms
            for one in self._agent.windows
            if one.late == "dead_letter"
        )

    def _repeats(self, batch: RecordBatch, row: int, event: Any) -> Verdict:
        value, named = batch.values[row], getattr(event, self._ids)
        identity = (tenant_name(event), value if named is None else str(named))
        try:
            said: object = _encode(plain(event))
        except (OverflowError, RecursionError, TypeError, ValueError):
            said = value
        return self._seen.verdict(batch.timestamps[row], identity, said)

    def _hold(
        self, offset: int, time_ms: int, before: WatermarkBounds, fields: Mapping[str, Any]
    ) -> None:
        if not self._wanted_ms[0] <= time_ms < self._wanted_ms[1] or self._result.overfull:
            return
        held = self._result.counted
        held.epochs.append(self._epoch)
        held.offsets.append(offset)
        held.times_ms.append(time_ms)
        held.lowest_ms.append(before.lowest_ms)
        held.highest_ms.append(before.highest_ms)
        for name, value in fields.items():
            held.fields.setdefault(name, []).append(value)
        self._result.overfull = len(held) >= HELD_MAX


class _Watermark:
    """``fresh``: the partition had no record before."""

    def __init__(self, idle_close_ms: int, *, fresh: bool) -> None:
        self._idle_close_ms = idle_close_ms
        self._last_ms: int | None = None
        self.bounds = WatermarkBounds(0, 0 if fresh else -NEVER_MS)
        self._fresh = fresh

    def read(self, append_ms: int) -> None:
        lowest, highest = self.bounds
        if self._last_ms is None:
            highest = highest if self._fresh else append_ms + SLACK_MS
        elif append_ms - self._last_ms >= self._idle_close_ms - SLACK_MS:
            silent_ms = append_ms - self._last_ms
            highest = max(highest, self._last_ms) + silent_ms + SLACK_MS
        self._last_ms = append_ms
        self.bounds = WatermarkBounds(lowest, highest)

    def reached(self, time_ms: int) -> None:
        """A record was folded with this event time, at most its append time."""
        self.bounds = WatermarkBounds(*(max(bound, time_ms) for bound in self.bounds))


def last_end_ms(declared: AggregatedWindows, time_ms: int) -> int:
    """The end of the last window with this event time, without extension."""
    if declared.gap_ms:
        return time_ms + declared.gap_ms
    return time_ms // declared.step_ms * declared.step_ms + declared.size_ms


def _read(declared: AggregatedWindows) -> dict[str, FieldType]:
    names = [*declared.by, *(name for one in declared.fold.values() for name in one.fields)]
    return {name: declared.types[name] for name in names}


def _wanted_ms(windows: Sequence[AggregatedWindows], bounds: Recount) -> tuple[int, int]:
    """Event times of records in windows that begin within the bounds. Sessions have no upper
    bound."""
    gap_ms = max(one.gap_ms for one in windows)
    until_ms = bounds.to_s * 1000 + max(one.size_ms for one in windows)
    return bounds.judged_from_s * 1000 - gap_ms, NEVER_MS if gap_ms else until_ms


_REFUSED: Final = object()


def _value(event: Any, name: str, kind: FieldType) -> Any:
    value: Any = getattr(event, name)
    if value is None:
        return None if kind.optional else _REFUSED
    if kind.kind is float:
        return _real(value)
    fits = type(value) is kind.kind and (kind.kind is bool or _FITS[kind.kind](value))
    return value if fits else _REFUSED


def _real(value: Any) -> Any:
    if type(value) not in (int, float):
        return _REFUSED
    try:
        real = float(value) + 0.0  # -0.0 and 0.0 are one value
    except OverflowError:
        return _REFUSED
    return real if math.isfinite(real) else _REFUSED


def _is_text(text: str) -> bool:
    try:
        return len(text.encode()) <= _TEXT_MAX_BYTES
    except UnicodeEncodeError:
        return False


def _is_whole(number: int) -> bool:
    return -(1 << 63) <= number < 1 << 63


_FITS: Final[Mapping[type, Callable[[Any], bool]]] = {str: _is_text, int: _is_whole}
