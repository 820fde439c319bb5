"""Events of the points of one request, and what became of the points without events.

Law: accepted + refused + absent = points."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from streams.connect.access.refusals import BodyTooLarge
from streams.core.records.bad_records import NonFinite
from streams.http.edge.metrics.histogram_values import UnfitHistogram, values_of
from streams.http.edge.metrics.points import NS_PER_MS, HistogramPoint, NumberPoints, Points
from streams.http.edge.metrics.series import Refusal

UNSUPPORTED_POINT: Final = "unsupported_point"
UNFIT_HISTOGRAM: Final = "unfit_histogram"
_INFINITE: Final = (math.inf, -math.inf)
_CODES_NAMED: Final = 5
_NOT_FINITE: Final = Refusal(NonFinite.code, "a value is infinite")


class RefusedTally:
    """Refused points by code, each with the message of the first."""

    def __init__(self) -> None:
        self.by_code: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    @property
    def total(self) -> int:
        return self.by_code.total()

    def add(self, count: int, code: str, message: str) -> None:
        self.by_code[code] += count
        self._first.setdefault(code, message)

    def text(self, points: int) -> str:
        """For people; "" if none is refused."""
        if not self.total:
            return ""
        named = self.by_code.most_common(_CODES_NAMED)
        why = "; ".join(f"{count} {code}: {self._first[code]}" for code, count in named)
        return f"{self.total} of {points} points were refused: {why}"


def period(start: int, end: int) -> str:
    """In the id of an increase: two periods that end together are two increases."""
    return f"{end:x}-{start:x}"


class PointEvents:
    """``values[i]`` is an event of the point number ``point_of[i]``. ``empty`` counts parts of the
    request that hold no point: reading them costs as much. Raises `BodyTooLarge` for more than
    ``events_max`` events, points or empty parts."""

    def __init__(self, events_max: int) -> None:
        self.values: list[bytes] = []
        self.point_of: list[int] = []
        self.points = 0
        self.absent = 0
        self.empty = 0
        self.refused = RefusedTally()
        self._events_max = events_max
        self._refused_late: set[int] = set()

    @property
    def accepted(self) -> int:
        return self.points - self.refused.total - self.absent

    def add(self, points: Points) -> None:
        if isinstance(points, NumberPoints):
            self.empty += not points.times
            self._add_numbers(points)
        elif isinstance(points, HistogramPoint):
            self._add_histogram(points)
        else:
            self._refuse(*points)
        if max(len(self.values), self.points, self.empty) > self._events_max:
            raise BodyTooLarge(
                f"a request has at most {self._events_max} points, and as many events are made of "
                "them; send smaller batches"
            )

    def refuse_events(self, refused: Iterable[tuple[int, str, str]]) -> None:
        """Events that are not stored: positions in ``values``, codes and messages. A point whose
        events are refused in part counts as refused."""
        for position, code, message in refused:
            point = self.point_of[position]
            if point not in self._refused_late:
                self._refused_late.add(point)
                self.refused.add(1, code, message)

    def _refuse(self, count: int, code: str, message: str) -> None:
        self.points += count
        self.refused.add(count, code, message)

    def _add_numbers(self, found: NumberPoints) -> None:
        values, point_of, per_ms, number = self.values, self.point_of, found.per_ms, self.points
        if found.starts is None:
            moments = [f"{time:x}" for time in found.times]
        else:
            moments = [period(*both) for both in zip(found.starts, found.times, strict=True)]
        columns = zip(found.series, found.times, moments, found.values, strict=True)
        for series, time, moment, value in columns:
            if series is None or value is None or value != value:  # noqa: PLR0124 - NaN
                self.absent += 1
            elif series.refusal is not None:
                self.refused.add(1, *series.refusal)
            elif value in _INFINITE:
                self.refused.add(1, *_NOT_FINITE)
            else:
                event = f'{series.head}{moment}","ts":{time // per_ms},"value":{value!r}}}'
                values.append(event.encode())
                point_of.append(number)
            number += 1
        self.points = number

    def _add_histogram(self, found: HistogramPoint) -> None:
        if found.series.refusal is not None:
            self._refuse(1, *found.series.refusal)
            return
        try:
            values = values_of(found)
        except UnfitHistogram as error:
            self._refuse(1, UNFIT_HISTOGRAM, f"{found.series.metric!r:.80}: {error}")
            return
        events = [*self._parts(found, values)]
        self.values += events
        self.point_of += [self.points] * len(events)
        self.points += 1

    def _parts(self, found: HistogramPoint, values: list[float]) -> list[bytes]:
        series, at = found.series, period(found.start_ns, found.time_ns)
        ts = found.time_ns // NS_PER_MS
        numbers: list[tuple[str, float]] = [(f"{series.head_of(':count')}{at}", found.observations)]
        if found.sum is not None:
            numbers.append((f"{series.head_of(':sum')}{at}", found.sum))
        numbers += ((f"{series.head}{at}-{i}", value) for i, value in enumerate(values))
        return [f'{head}","ts":{ts},"value":{value!r}}}'.encode() for head, value in numbers]
