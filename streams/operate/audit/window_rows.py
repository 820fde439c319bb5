"""Compares rows of an app's windows with the counted records, one window at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from streams.engine.aggregates.sums import Count
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.operate.audit.aggregates import Members, expected_of, is_known
from streams.operate.audit.finding import AuditFinding, FindingPlace, span
from streams.operate.audit.window_recount import (
    SLACK_MS,
    CountedRecords,
    WatermarkBounds,
    WindowRecount,
)

AppWindowKey: TypeAlias = tuple[tuple[Any, ...], int, int]
"""key, start in milliseconds, epoch"""
_NEVER_BEGUN: Final = 1 << 62
IN_DLQ: Final = -1


class ShownRow(NamedTuple):
    end_ms: int
    closed: bool
    values: Mapping[str, Any]
    shard: int


@dataclass(slots=True)
class ExpectedWindow:
    """``members``: positions in `CountedRecords`. ``doubtful``: the log does not decide whether a
    record was late."""

    end_ms: int
    members: list[int] = field(default_factory=list)
    doubtful: bool = False


class RowComparison(NamedTuple):
    """``judged`` windows match the log, or are findings. ``open``: live, with rows behind the
    log."""

    findings: list[AuditFinding]
    judged: int
    open: int
    doubtful: int


def aggregate_columns(declared: AggregatedWindows) -> list[str]:
    return [
        column
        for name, aggregate in declared.fold.items()
        for column in aggregate.columns(name, declared.types)
    ]


def compare_rows(
    declared: AggregatedWindows,
    recount: WindowRecount,
    shown: Mapping[AppWindowKey, Sequence[ShownRow]],
    bounds_ms: range,
    *,
    moved: bool,
    now_ms: int,
) -> RowComparison:
    """``moved``: the partition committed after the ledger of the recount."""
    expected, doubts = _expected(declared, recount)
    comparing = _Comparing(declared, recount, _first_shown(shown), moved, now_ms)
    places = {place for place in (*expected, *shown) if place[1] in bounds_ms}
    for place in sorted(places, key=lambda place: (place[1], place[2], str(place[0]))):
        rows, wanted = shown.get(place, ()), expected.get(place)
        if wanted is None and _touches(declared, place, rows, doubts):
            comparing.doubtful += 1
        elif place[2] in recount.counts:
            comparing.one(place, wanted, rows)
    found = comparing.findings
    return RowComparison(found, comparing.judged, comparing.open, comparing.doubtful)


def _first_shown(shown: Iterable[AppWindowKey]) -> dict[int, int]:
    found: dict[int, int] = {}
    for _, start_ms, epoch in shown:
        found[epoch] = min(start_ms, found.get(epoch, start_ms))
    return found


@dataclass(slots=True)
class _Comparing:
    declared: AggregatedWindows
    recount: WindowRecount
    first_shown_ms: Mapping[int, int]
    moved: bool
    now_ms: int
    findings: list[AuditFinding] = field(default_factory=list)
    judged: int = 0
    open: int = 0
    doubtful: int = 0

    def one(
        self, place: AppWindowKey, wanted: ExpectedWindow | None, rows: Sequence[ShownRow]
    ) -> None:
        if wanted is not None and wanted.doubtful:
            self.doubtful += 1
            return
        last = place[2] == max(self.recount.counts)
        closed, still_open = self._closing(place[2], wanted, last=last)
        wrong = self._wrong(wanted, rows, closed=closed, still_open=still_open)
        if wrong is None:
            self.judged += 1
        elif not last and (not closed or self._before_the_first(place)):
            # A reset discarded the live windows, and the time of declaration is unknown after it.
            self.doubtful += 1
        elif self._may_come(wanted, rows, closed=closed):
            self.open += 1
        else:
            self.judged += 1
            self.findings.append(self._finding(place, wanted, rows, *wrong))

    def _before_the_first(self, place: AppWindowKey) -> bool:
        _, start_ms, epoch = place
        first_ms = self.first_shown_ms.get(epoch)
        return first_ms is None or start_ms < first_ms

    def _closing(
        self, epoch: int, wanted: ExpectedWindow | None, *, last: bool
    ) -> tuple[bool, bool]:
        """Whether the window is certainly closed, and whether it is certainly live."""
        if wanted is None:
            return False, False
        low, high = self.recount.watermarks[epoch]
        if last:
            high = max(high, self.now_ms + SLACK_MS)  # a silence continues
        grace_ms = self.declared.grace_ms
        end_ms = wanted.end_ms + self.declared.gap_ms
        return end_ms <= low - grace_ms, end_ms > high - grace_ms

    def _wrong(
        self,
        wanted: ExpectedWindow | None,
        rows: Sequence[ShownRow],
        *,
        closed: bool,
        still_open: bool,
    ) -> tuple[str, str, str, str] | None:
        """Check, expected, found and meaning of the most severe difference."""
        if wanted is None:
            return "exists", "nothing", _rows(rows), "no record that counts lies in this window"
        n = len(wanted.members)
        if not rows:
            return "exists", f"n={n}", "nothing", f"{n} events lost: the window has no row"
        if len(rows) > 1:
            return "one row", "1", _rows(rows), "the row lies in several places, and sums add it up"
        (row,) = rows
        return self._wrong_column(wanted, row) or _wrong_state(
            row, closed=closed, still_open=still_open
        )

    def _wrong_column(
        self, wanted: ExpectedWindow, row: ShownRow
    ) -> tuple[str, str, str, str] | None:
        counted = self.recount.counted
        times = [counted.times_ms[at] for at in wanted.members]
        if row.end_ms != wanted.end_ms:
            moments = _moment(wanted.end_ms), _moment(row.end_ms)
            return "end", *moments, "it holds other events than the log has"
        for name, aggregate in self.declared.fold.items():
            if not is_known(aggregate):
                continue
            columns = [*aggregate.columns(name, self.declared.types)]
            values: Sequence[Any] = times
            for of in aggregate.fields:
                column = counted.fields[of]
                values = [column[at] for at in wanted.members]
            found = [row.values[column] for column in columns]
            right = expected_of(aggregate, Members(times, values), found)
            if right is not None:
                said = found[0] if len(found) == 1 else found
                return f"column {name}", str(right), str(said), f"of {len(times)} events"
        return None

    def _may_come(
        self, wanted: ExpectedWindow | None, rows: Sequence[ShownRow], *, closed: bool
    ) -> bool:
        """Whether rows that follow their commits explain the difference."""
        if self.moved:
            return not closed
        if wanted is None or closed or len(rows) > 1 or any(row.closed for row in rows):
            return False
        return not any(self._counts_all(wanted, row) for row in rows)

    def _counts_all(self, wanted: ExpectedWindow, row: ShownRow) -> bool:
        counts = [name for name, one in self.declared.fold.items() if isinstance(one, Count)]
        return any(row.values[name] >= len(wanted.members) for name in counts)

    def _finding(
        self,
        place: AppWindowKey,
        wanted: ExpectedWindow | None,
        rows: Sequence[ShownRow],
        check: str,
        expected: str,
        found: str,
        meaning: str,
    ) -> AuditFinding:
        key, start_ms, _ = place
        offsets = self.recount.counted.offsets
        members = [offsets[at] for at in (wanted.members if wanted is not None else ())]
        names = " ".join(map(str, key))
        return AuditFinding(
            check=f"window: {check}",
            place=FindingPlace(
                self.declared.topic.name,
                self.recount.partition,
                span(min(members), max(members)) if members else "",
                f"{self.declared.name} {names} {_moment(start_ms)}",
            ),
            expected=expected,
            found=found,
            meaning=meaning,
        )


def _wrong_state(
    row: ShownRow, *, closed: bool, still_open: bool
) -> tuple[str, str, str, str] | None:
    if closed and not row.closed:
        return "closed", "the final row", "a row of a live window", "its final row is missing"
    if still_open and row.closed:
        return "closed", "a row of a live window", "the final row", "it was closed before its time"
    return None


def _rows(rows: Sequence[ShownRow]) -> str:
    places = ["its DLQ" if row.shard == IN_DLQ else f"shard {row.shard}" for row in rows]
    return f"{len(rows)} rows ({', '.join(places)})"


def _moment(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{at_ms % 1000:03}Z" if at_ms % 1000 else "Z")


_Doubt: TypeAlias = tuple[int, int]
"""First and last event time of undecided sessions."""


def _expected(
    declared: AggregatedWindows, recount: WindowRecount
) -> tuple[dict[AppWindowKey, ExpectedWindow], dict[tuple[Any, int], list[_Doubt]]]:
    """The windows by place, and the undecided sessions by key and epoch. A window declared later
    holds no earlier record."""
    counted = recount.counted
    last, begun = max(recount.counts, default=0), recount.begun.get(declared.name, _NEVER_BEGUN)
    by_key: defaultdict[tuple[tuple[Any, ...], int], list[int]] = defaultdict(list)
    columns = [counted.fields.get(name, ()) for name in declared.by]
    for row, (epoch, *names) in enumerate(zip(counted.epochs, *columns, strict=True)):
        if epoch != last or counted.offsets[row] >= begun:
            by_key[tuple(names), epoch].append(row)
    found: dict[AppWindowKey, ExpectedWindow] = {}
    doubts: dict[tuple[Any, int], list[_Doubt]] = {}
    for (key, epoch), rows in by_key.items():
        if declared.gap_ms:
            sessions = _Sessions(declared, counted, rows)
            windows = sessions.windows()
            doubts[key, epoch] = sessions.doubts
        else:
            windows = _fixed(declared, counted, rows)
        found.update({(key, start_ms, epoch): window for start_ms, window in windows})
    return found, doubts


def _fixed(
    declared: AggregatedWindows, counted: CountedRecords, rows: Sequence[int]
) -> Iterator[tuple[int, ExpectedWindow]]:
    size_ms, step_ms, grace_ms = declared.size_ms, declared.step_ms, declared.grace_ms
    windows: dict[int, ExpectedWindow] = {}
    for row in rows:
        time_ms = counted.times_ms[row]
        certain_ms = counted.lowest_ms[row] - grace_ms
        possible_ms = counted.highest_ms[row] - grace_ms
        last = time_ms // step_ms * step_ms
        # The record was accepted, so the grace was longer then.
        admitted = declared.late == "dead_letter" and last + size_ms <= certain_ms
        for start_ms in range(((time_ms - size_ms) // step_ms + 1) * step_ms, last + 1, step_ms):
            if start_ms + size_ms <= certain_ms and not admitted:
                continue
            window = windows.setdefault(start_ms, ExpectedWindow(start_ms + size_ms))
            window.members.append(row)
            window.doubtful |= start_ms + size_ms <= possible_ms
    return iter(windows.items())


@dataclass(slots=True, eq=False)
class _Session:
    start_ms: int
    last_ms: int
    members: list[int]
    doubtful: bool = False

    def add(self, row: int, time_ms: int, *, doubtful: bool) -> None:
        self.start_ms, self.last_ms = min(self.start_ms, time_ms), max(self.last_ms, time_ms)
        self.members.append(row)
        self.doubtful |= doubtful

    def take(self, other: _Session) -> None:
        self.start_ms = min(self.start_ms, other.start_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.members = sorted([*self.members, *other.members])
        self.doubtful |= other.doubtful


class _Sessions:
    def __init__(
        self, declared: AggregatedWindows, counted: CountedRecords, rows: Sequence[int]
    ) -> None:
        self._gap_ms = declared.gap_ms
        self._grace_ms = declared.grace_ms
        self._late = declared.late
        self._found: list[_Session] = []
        """sessions that accept no more records"""
        self._live: list[_Session] = []
        for row in rows:
            bounds = WatermarkBounds(counted.lowest_ms[row], counted.highest_ms[row])
            self._place(row, counted.times_ms[row], bounds)
        self._found += self._live

    @property
    def doubts(self) -> list[_Doubt]:
        """Ranges where no session is checked."""
        return [(one.start_ms, one.last_ms) for one in self._found if one.doubtful]

    def windows(self) -> Iterator[tuple[int, ExpectedWindow]]:
        for one in self._found:
            doubtful = one.doubtful or self._beside_a_doubt(one)
            yield one.start_ms, ExpectedWindow(one.last_ms, one.members, doubtful)

    def _beside_a_doubt(self, session: _Session) -> bool:
        gap_ms = self._gap_ms
        return any(
            other.doubtful
            and other.start_ms - gap_ms < session.last_ms
            and session.start_ms < other.last_ms + gap_ms
            for other in self._found
        )

    def _place(self, row: int, time_ms: int, before: WatermarkBounds) -> None:
        gap_ms = self._gap_ms
        certain_ms, possible_ms = (bound - self._grace_ms for bound in before)
        late = time_ms + gap_ms <= certain_ms
        if late and self._late == "drop":
            return
        doubtful = late or (time_ms + gap_ms <= possible_ms and self._late == "drop")
        joined: _Session | None = None
        for one in [one for one in [*self._live] if not self._leaves(one, certain_ms)]:
            if not one.start_ms - gap_ms < time_ms < one.last_ms + gap_ms:
                continue
            doubtful |= one.last_ms + gap_ms <= possible_ms
            if joined is None:
                joined = one
            else:
                joined.take(one)
                self._live.remove(one)
        if joined is None:
            joined = _Session(time_ms, time_ms, [])
            self._live.append(joined)
        joined.add(row, time_ms, doubtful=doubtful)

    def _leaves(self, session: _Session, certain_ms: int) -> bool:
        """Set aside a session that certainly accepts no more records."""
        over = not session.doubtful and session.last_ms + self._gap_ms <= certain_ms
        if over:
            self._live.remove(session)
            self._found.append(session)
        return over


def _touches(
    declared: AggregatedWindows,
    place: AppWindowKey,
    rows: Sequence[ShownRow],
    doubts: Mapping[tuple[Any, int], Sequence[_Doubt]],
) -> bool:
    """Whether a session that the log lacks may come from an undecided one."""
    key, start_ms, epoch = place
    end_ms = max((row.end_ms for row in rows), default=start_ms)
    return any(
        first_ms - declared.gap_ms < end_ms and start_ms < last_ms + declared.gap_ms
        for first_ms, last_ms in doubts.get((key, epoch), ())
    )
