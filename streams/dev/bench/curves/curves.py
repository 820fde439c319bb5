"""The cost of an event against each quantity that can grow, and the reason for its shape. A curve
ends with its time; points that do not fit are listed as left out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from streams.dev.bench.curves.load import Load
from streams.dev.bench.curves.point import Point, measure_point
from streams.dev.bench.report.machine import Machine, this_machine, versions
from streams.dev.demo.run import Talk

FORMAT = 1
START_S = 1.0
"""start-up time of a point's process"""


class Axis(NamedTuple):
    """``field`` of a `Load` at ``values``, in at most ``share`` of the time for all curves. ``why``
    explains the shape."""

    name: str
    field: str
    values: Sequence[int]
    share: float
    why: str


AXES: tuple[Axis, ...] = (
    Axis(
        "windows alive",
        "windows",
        (10_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000),
        0.35,
        "Folding into a window is a look-up and a few array writes, whatever else is alive; what "
        "grows is the distance in memory, from the processor's caches to RAM, and the share of "
        "windows that an event finds clean: each then enters the next commit once.",
    ),
    Axis(
        "ids alive",
        "ids",
        (0, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000),
        0.35,
        "A fresh event must be known to be in none of the runs that hold the older ids. Each run "
        "answers from a filter in memory, a cache line and some 0.015 µs, and there is one a "
        "million ids and partition: a straight line with a small slope. No disk is read, and the "
        "memory is that of the filters.",
    ),
    Axis(
        "partitions",
        "partitions",
        (1, 4, 16, 64),
        0.14,
        "A batch is cut by partition and every step has a cost for each cut, however small it "
        "is; so has each transaction. The more partitions one process owns, the less there is to "
        "share those costs.",
    ),
    Axis(
        "tenants",
        "tenants",
        (10, 100, 1000, 10_000, 100_000),
        0.16,
        "Tenants are names, interned once and then numbers. With as many windows as before, more "
        "tenants only make the table of names longer.",
    ),
)


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """``left_out``: values for which there was no time."""

    axis: str
    points: list[Point]
    left_out: list[int]


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    started_at: str
    machine: Machine
    versions: dict[str, str]
    curves: list[Curve]


async def measure_curves(axes: Sequence[Axis], budget_s: float, talk: Talk) -> Curves:
    """Every axis within its share of ``budget_s``. Raises `CommandError` when a point fails."""
    return Curves(
        started_at=datetime.now(UTC).isoformat(),
        machine=this_machine(),
        versions=versions(),
        curves=[await _curve(axis, axis.share * budget_s, talk) for axis in axes],
    )


async def _curve(axis: Axis, budget_s: float, talk: Talk) -> Curve:
    deadline = time.monotonic() + budget_s
    points: list[Point] = []
    for number, value in enumerate(axis.values):
        left_s = deadline - time.monotonic()
        if expected_s(axis, points, value) > left_s:
            return Curve(axis=axis.name, points=points, left_out=list(axis.values[number:]))
        talk.say(f"{axis.name}: {value:,}")
        point = await measure_point(Load(**{axis.field: value}), left_s)
        if point is None:
            return Curve(axis=axis.name, points=points, left_out=list(axis.values[number:]))
        points.append(point)
    return Curve(axis=axis.name, points=points, left_out=[])


def expected_s(axis: Axis, points: Sequence[Point], value: int) -> float:
    """Lower bound of the next point's time: state is built at a constant rate. The first point is
    always tried."""
    if not points:
        return 0.0
    last = points[-1]
    before = max(1, getattr(last.load, axis.field))
    grows = axis.field in ("windows", "ids")
    return START_S + last.preload_s * (value / before if grows and before > 1 else 1.0)


def markdown(curves: Curves) -> list[str]:
    lines: list[str] = []
    for curve in curves.curves:
        axis = axis_of(curve)
        lines += [
            f"| {curve.axis} | CPU µs per event | events/s of a core | state MiB |",
            "|---:|---:|---:|---:|",
            *(_row(axis, point) for point in curve.points),
            "",
            " ".join(_words(axis, curve)),
            "",
        ]
    return lines


def _row(axis: Axis, point: Point) -> str:
    cost = point.cpu_us_per_event
    value = getattr(point.load, axis.field)
    return f"| {value:,} | {cost:.2f} | {round(1e6 / cost):,} | {point.state_mib:,} |"


def _words(axis: Axis, curve: Curve) -> Iterator[str]:
    if len(curve.points) > 1:
        first, last = curve.points[0], curve.points[-1]
        times = last.cpu_us_per_event / first.cpu_us_per_event
        yield (
            f"From {getattr(first.load, axis.field):,} to {getattr(last.load, axis.field):,} the "
            f"cost of an event becomes {times:.2f} times what it was."
        )
        if axis.field in ("windows", "ids"):
            yield f"A million more take {round(state_mib_per_million(curve)):,} MiB."
    yield axis.why
    if curve.left_out:
        yield f"No time was left for {', '.join(f'{value:,}' for value in curve.left_out)}."


def axis_of(curve: Curve) -> Axis:
    """Raises `StopIteration` for a curve without a known axis."""
    return next(axis for axis in AXES if axis.name == curve.axis)


def state_mib_per_million(curve: Curve) -> float:
    """Per million units of its axis, by the first and last point, which cancels the process's own
    memory."""
    axis = axis_of(curve)
    first, last = curve.points[0], curve.points[-1]
    grown: int = getattr(last.load, axis.field) - getattr(first.load, axis.field)
    return (last.state_mib - first.state_mib) / grown * 1e6
