"""The cost of an event against each quantity that can grow, and the reason for its shape. The ends of
a curve come first; points for which no time is left are listed as left out."""

from __future__ import annotations

import os
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
        (10_000, 100_000, 1_000_000, 5_000_000),
        0.22,
        "Folding into a window is a look-up and a few array writes, whatever else is alive; what "
        "grows is the distance in memory, from the processor's caches to RAM, and the share of "
        "windows that an event finds clean: each then enters the next commit once.",
    ),
    Axis(
        "ids alive",
        "ids",
        (0, 1_000_000, 10_000_000, 100_000_000),
        0.43,
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
        (10, 1000, 10_000, 100_000),
        0.14,
        "Tenants are names, interned once and then numbers. With as many windows as before, more "
        "tenants only make the table of names longer.",
    ),
    Axis(
        "processes",
        "processes",
        (1, 2, 4, 8),
        0.07,
        "Each has a core, a broker and a state of its own, so they share the caches and the memory "
        "of the machine alone. In a pipeline they also share the broker and the shards, which are "
        "not here.",
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
    left_out: list[int] = []
    for value in ends_first(axis):
        left_s = deadline - time.monotonic()
        point = None
        if expected_s(axis, points, value) <= left_s:
            talk.say(f"{axis.name}: {value:,}")
            point = await measure_point(Load(**{axis.field: value}), left_s)
        if point is None:
            left_out.append(value)
        else:
            points.append(point)
    points.sort(key=lambda point: _value(axis, point))
    return Curve(axis=axis.name, points=points, left_out=sorted(left_out))


def ends_first(axis: Axis) -> list[int]:
    """The values in order of measurement: the first two, which say how long the last one takes, the
    last, and the rest. Of processes, as many as there are cores."""
    cores = len(os.sched_getaffinity(0))
    values = [n for n in axis.values if axis.field != "processes" or n <= cores]
    return [*values[:2], *values[2:][-1:], *values[2:-1]]


def expected_s(axis: Axis, points: Sequence[Point], value: int) -> float:
    """Lower bound of the next point's time: state is built at a constant rate. The first two points
    are always tried."""
    if len(points) < 2:
        return 0.0
    first, last = points[0], max(points, key=lambda point: _value(axis, point))
    grown = _value(axis, last) - _value(axis, first)
    per_unit_s = max(0.0, last.preload_s - first.preload_s) / grown
    grows = axis.field in ("windows", "ids")
    return START_S + (first.preload_s + per_unit_s * value if grows else last.preload_s)


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
    return f"| {_value(axis, point):,} | {cost:.2f} | {round(1e6 / cost):,} | {point.state_mib:,} |"


def _words(axis: Axis, curve: Curve) -> Iterator[str]:
    if len(curve.points) > 1:
        first, last = curve.points[0], curve.points[-1]
        times = last.cpu_us_per_event / first.cpu_us_per_event
        yield (
            f"From {_value(axis, first):,} to {_value(axis, last):,} the cost of an event becomes "
            f"{times:.2f} times what it was."
        )
        if axis.field in ("windows", "ids"):
            yield f"A million more take {round(state_mib_per_million(curve)):,} MiB."
    yield axis.why
    if not all(point.kernels for point in curve.points):
        yield "Measured without compiled kernels."
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
    grown = _value(axis, last) - _value(axis, first)
    return (last.state_mib - first.state_mib) / grown * 1e6


def cost_ratio(curve: Curve, value: int, other: int) -> float | None:
    """The cost of an event at ``other`` as a multiple of that at ``value``; None unless both were
    measured."""
    axis = axis_of(curve)
    costs = {_value(axis, point): point.cpu_us_per_event for point in curve.points}
    return costs[other] / costs[value] if value in costs and other in costs else None


def _value(axis: Axis, point: Point) -> int:
    value: int = getattr(point.load, axis.field)
    return value
