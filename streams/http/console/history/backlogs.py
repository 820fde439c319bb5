"""Unread records over time: how old the oldest one is, and when a group has caught up.

The console samples the ends and committed offsets that the health rule reads from the broker. The age of
an unread record follows from the samples: it was appended between the last sample whose end is at or
below its offset and the next one. So no record is read for it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from streams.core.clock import Clock
from streams.http.console.pipeline.freshness import SAMPLE_S, WITHIN_S

KEPT_S: Final = 86_400.0
ENDS_KEPT_S: Final = 3_600.0
"""of single partitions: an older record is known to be older than that, and no more"""
RATE_S: Final = 120.0
"""rates are means over it"""
RATE_MIN_S: Final = 20.0
POINTS_MAX: Final = 360

Course: TypeAlias = Literal[
    "unknown", "caught up", "keeping up", "catching up", "falling behind", "standing still"
]
Number = TypeVar("Number", int, float)
Reader: TypeAlias = tuple[str, str]
"""group and topic"""


class _Ends(NamedTuple):
    at_s: float
    ends: array[int]
    committed: array[int]
    """-1: nothing committed"""


class _Sample(NamedTuple):
    """Of each reader its unread records, the age of the oldest one in seconds, and the sum of its committed
    offsets; None: unknown."""

    at_ms: int
    at_s: float
    """monotonic"""
    lags: tuple[int | None, ...]
    ages: tuple[float | None, ...]
    read: tuple[int | None, ...]


class ReaderBacklog(NamedTuple):
    """``behind_s``: age of the oldest unread record, None if unknown; ``at_least``: it is older.
    Rates in records per second, None before `RATE_MIN_S` of samples. ``caught_up_ms``: when the
    backlog ends at these rates, None where it does not."""

    group: str
    topic: str
    unread: int | None
    behind_s: float | None
    at_least: bool
    arriving_per_s: float | None
    read_per_s: float | None
    course: Course
    caught_up_ms: int | None


class BacklogHistory:
    """Samples of one process, in memory: a restarted console begins anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._readers: tuple[Reader, ...] = ()
        self._places: tuple[tuple[str, str, int], ...] = ()
        self._ends: deque[_Ends] = deque()
        self._samples: deque[_Sample] = deque(maxlen=int(KEPT_S / SAMPLE_S))

    def take(self, partitions: Sequence[Mapping[str, Any]]) -> None:
        """``partitions``: `Health.partitions`. A known reader without any is unknown, as Kafka did not
        answer for it. Where the partitions of one changed, earlier samples are dropped: their columns
        mean other partitions. Where an end is lower than before, earlier ends are: of another log."""
        rows = {(row["group"], row["topic"], row["partition"]): row for row in partitions}
        answered = {place[:2] for place in rows}
        silent = [place for place in self._places if place[:2] not in answered]
        places = tuple(sorted([*rows, *silent]))
        if not places:
            return
        before = dict(zip(self._places, self._newest(), strict=True))
        if places != self._places:
            self._places = places
            self._readers = tuple(dict.fromkeys((group, topic) for group, topic, _ in places))
            self._ends.clear()
            self._samples.clear()
        now_s = self._clock.monotonic()
        lags: dict[Reader, int | None] = dict.fromkeys(self._readers, 0)
        ends, committed = array("q"), array("q")
        for place in places:
            row = rows.get(place)
            known, lag = lags[place[:2]], None if row is None else row["lag"]
            lags[place[:2]] = None if known is None or lag is None else known + lag
            end, read = before[place] if row is None else (row["end"], row["committed"])
            ends.append(end)
            committed.append(-1 if read is None else read)
            if place in before and end < before[place][0]:
                self._ends.clear()
        self._ends.append(_Ends(now_s, ends, committed))
        # The last sample at or before the start bounds the oldest age.
        while len(self._ends) > 1 and self._ends[1].at_s <= now_s - ENDS_KEPT_S:
            self._ends.popleft()
        kept, columns = [*self._ends], self._columns()
        ages = [
            None if lag is None else _oldest(columns[reader], kept)[0]
            for reader, lag in lags.items()
        ]
        offsets = [
            None if lag is None else sum(max(0, committed[at]) for at in columns[reader])
            for reader, lag in lags.items()
        ]
        self._samples.append(
            _Sample(self._clock.now_ms(), now_s, tuple(lags.values()), tuple(ages), tuple(offsets))
        )

    def _columns(self) -> dict[Reader, list[int]]:
        columns: dict[Reader, list[int]] = {reader: [] for reader in self._readers}
        for column, (group, topic, _) in enumerate(self._places):
            columns[group, topic].append(column)
        return columns

    def _newest(self) -> list[tuple[int, int]]:
        """End and committed offset of each partition, in the last sample."""
        return (
            [*zip(self._ends[-1].ends, self._ends[-1].committed, strict=True)] if self._ends else []
        )

    def backlogs(self) -> list[ReaderBacklog]:
        """The newest state of every reader, in their order; [] before the first sample."""
        if not self._samples:
            return []
        ends = [*self._ends]
        columns = self._columns()
        lags = dict(zip(self._readers, self._samples[-1].lags, strict=True))
        return [self._backlog(reader, columns[reader], lags[reader], ends) for reader in lags]

    def series(self, since_ms: int) -> dict[str, Any]:
        """``t`` in seconds, and of each reader its unread records and the age of the oldest in seconds, at most
        `POINTS_MAX` points: the greatest of its interval, null where one is unknown. ``read_per_s``: the mean since the
        point before; null for the first point, and where an offset went back."""
        found = [sample for sample in self._samples if sample.at_ms >= since_ms]
        size = -(-len(found) // POINTS_MAX) or 1
        cuts = [found[at : at + size] for at in range(0, len(found), size)]
        ends = [cut[-1] for cut in cuts]
        return {
            "t": [cut[-1].at_ms // 1000 for cut in cuts],
            "readers": [
                {
                    "group": group,
                    "topic": topic,
                    "unread": [_most(sample.lags[at] for sample in cut) for cut in cuts],
                    "behind_s": [_most(sample.ages[at] for sample in cut) for cut in cuts],
                    "read_per_s": [None, *(_read_per_s(*two, at) for two in pairwise(ends))],
                }
                for at, (group, topic) in enumerate(self._readers)
            ],
        }

    def _backlog(
        self, reader: Reader, columns: Sequence[int], lag: int | None, ends: Sequence[_Ends]
    ) -> ReaderBacklog:
        group, topic = reader
        if lag is None:
            return ReaderBacklog(group, topic, None, None, False, None, None, "unknown", None)
        behind_s, at_least = _oldest(columns, ends)
        arriving, read = _rates(columns, ends)
        course = _course(lag, behind_s, arriving, read)
        caught_up_ms = None
        if course == "catching up" and arriving is not None and read is not None:
            caught_up_ms = self._clock.now_ms() + round(1000 * lag / (read - arriving))
        return ReaderBacklog(
            group, topic, lag, behind_s, at_least, arriving, read, course, caught_up_ms
        )


def _oldest(columns: Sequence[int], ends: Sequence[_Ends]) -> tuple[float, bool]:
    """As `_age_s`, of the oldest record in any of the partitions."""
    return max((_age_s(column, ends) for column in columns), key=lambda one: one[0])


def _age_s(column: int, ends: Sequence[_Ends]) -> tuple[float, bool]:
    """The upper bound of the age of a partition's oldest unread record, and whether it may be older
    than every sample."""
    newest = ends[-1]
    committed = newest.committed[column]
    if newest.ends[column] <= max(committed, 0):
        return 0.0, False
    first = bisect_right(ends, max(committed, 0), key=lambda one: one.ends[column])
    before = max(0, first - 1)
    return newest.at_s - ends[before].at_s, first == 0


def _rates(columns: Sequence[int], ends: Sequence[_Ends]) -> tuple[float | None, float | None]:
    newest = ends[-1]
    since = next(one for one in ends if one.at_s >= newest.at_s - RATE_S)
    span_s = newest.at_s - since.at_s
    if span_s < RATE_MIN_S:
        return None, None

    def per_s(now: array[int], then: array[int]) -> float:
        return sum(max(0, now[at]) - max(0, then[at]) for at in columns) / span_s

    return per_s(newest.ends, since.ends), per_s(newest.committed, since.committed)


def _read_per_s(before: _Sample, after: _Sample, at: int) -> float | None:
    then, now, span_s = before.read[at], after.read[at], after.at_s - before.at_s
    if then is None or now is None or now < then or span_s <= 0:
        return None
    return (now - then) / span_s


def _course(lag: int, behind_s: float, arriving: float | None, read: float | None) -> Course:
    if lag == 0:
        return "caught up"
    if arriving is None or read is None:
        return "unknown"
    if read <= 0:
        return "standing still"
    if behind_s <= SAMPLE_S + WITHIN_S:
        return "keeping up"
    return "catching up" if read > arriving else "falling behind"


def _most(values: Iterable[Number | None]) -> Number | None:
    known: list[Number] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return max(known)
