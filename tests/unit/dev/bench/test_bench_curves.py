"""Cost curves: points are measured on the real engine, and the text follows from them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from agents.app import DIA_GROUP
from streams.cli import main
from streams.core.errors import CommandError
from streams.core.settings import load
from streams.dev.bench.curves import curves as law
from streams.dev.bench.curves.curves import AXES, Axis, Curve, Curves
from streams.dev.bench.curves.engine import engine
from streams.dev.bench.curves.load import IDS_PER_RECORD, Load, LoadedSeries, Loader
from streams.dev.bench.curves.point import Point, measure_point
from streams.dev.bench.report.machine import this_machine
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS

WINDOWS, IDS, TENANTS, PROCESSES = AXES[0], AXES[1], AXES[3], AXES[4]


class _Silent:
    def say(self, text: str) -> None:
        pass


def _point(cost: float, mib: int = 0, seconds: float = 1.0, **grown: int) -> Point:
    return Point(load=Load(**grown), cpu_us_per_event=cost, state_mib=mib, preload_s=seconds)


def _curve(*points: Point, axis: Axis = WINDOWS, left_out: tuple[int, ...] = ()) -> Curve:
    return Curve(axis=axis.name, points=list(points), left_out=list(left_out))


def _curves(*found: Curve) -> Curves:
    return Curves(started_at="2026", machine=this_machine(), versions={}, curves=list(found))


def _series(load: Load) -> LoadedSeries:
    return LoadedSeries(load, time.time_ns() // 60_000_000_000 * 60_000)


def test_every_series_is_opened_once():
    """The number of open windows must be that of the point, each with the events of its tenant."""
    blocks = list(_series(Load(windows=60_000, tenants=7)).each_once())
    assert len(blocks) == 2
    keys = [key for block in blocks for key in block.keys]
    events = [json.loads(value) for block in blocks for value in block.values]
    assert [event["tenant_id"].encode() for event in events] == keys
    opened = [
        (event["tenant_id"], int(event["value"]) + number)
        for event in events
        for number in range(int(event["metric"]))
    ]
    assert len(set(opened)) == len(opened) == 60_000
    assert len({e["event_id"] for e in events}) == len(events)
    assert len({e["ts"] // 60_000 for e in events}) == 1


async def test_the_engine_runs_with_the_state_that_was_asked_for(tmp_path):
    """Ids and windows are committed and stored before a point is timed, and its events open no
    others."""
    environ = {
        "DIA_HOME": str(tmp_path),
        "DIA_CLICKHOUSE_SHARDS": "http://null:1",
        "DIA_KAFKA_BOOTSTRAP": "memory:1",
        "DIA_COMMIT_INTERVAL_S": "0.05",
    }
    settings, _ = load(environ)
    asked = Load(partitions=2, tenants=10, windows=11_005, ids=3 * IDS_PER_RECORD)
    loader, series = Loader(), _series(asked)
    agent, tables = loader.agent(), {}

    def process(batch, scope):
        agent.process(batch, scope)
        tables[scope.tp] = (scope.table(SEEN_EVENTS), scope.table(MINUTE_WINDOWS))

    agents = replace(agent, process=process)
    async with engine(settings, agents, asked.partitions, tmp_path) as running:
        loader.mode = "ids"
        await running.build(series.ids())
        loader.mode = "windows"
        await running.build(series.each_once())
        assert sum(len(seen) for seen, _ in tables.values()) == asked.ids
        assert sum(len(windows) for _, windows in tables.values()) == asked.windows
        loader.mode = "usual"
        assert await running.run(series.any_of_them(5000)) > 0
        assert loader.events == 5000
        assert sum(len(windows) for _, windows in tables.values()) == asked.windows
    assert len(tables) == 2
    assert sum(path.stat().st_size for path in (tmp_path / DIA_GROUP).rglob("*")) > 100_000


async def test_a_point_is_measured_in_separate_processes():
    """The memory must be that of the point alone, and a machine with one core has one process. It has
    the kernels of a worker: without them, the curves were those of the numpy path."""
    point = await measure_point(Load(events=2000, windows=500, tenants=20, processes=2), 60.0)
    assert point is not None
    assert point.cpu_us_per_event > 0
    assert point.load.windows == 500
    assert point.kernels == (find_spec("numba") is not None)


async def test_a_point_beyond_its_time_limit_is_omitted():
    """Its process has ended."""
    assert await measure_point(Load(windows=1_000_000), 0.01) is None


async def test_a_point_that_breaks_is_an_error():
    """A curve must not hide a crash."""
    with pytest.raises(CommandError, match="exit code"):
        await measure_point(Load(partitions=0), 60.0)


def test_a_point_is_not_begun_when_it_cannot_fit():
    """State is built at a constant rate: ten times as much takes ten times as long."""
    built = [_point(3.0, seconds=1.0, ids=0), _point(3.0, seconds=6.0, ids=1_000_000)]
    assert law.expected_s(IDS, built, 10_000_000) == pytest.approx(52.0)
    assert law.expected_s(IDS, built[:1], 10_000_000) == 0
    tenants = [_point(3.0, seconds=2.0, tenants=n) for n in (10, 1000)]
    assert law.expected_s(TENANTS, tenants, 100_000) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("budget_s", "measured", "left_out"),
    [(100.0, [0, 1_000_000, 10_000_000], [100_000_000]), (3000.0, IDS.values, [])],
)
def test_the_ends_of_a_curve_come_first(monkeypatch, budget_s, measured, left_out):
    """Its ratio needs both ends. What does not fit is named, and smaller ones are still measured."""
    asked_for = []

    async def measure(asked: Load, limit_s: float) -> Point:
        asked_for.append(asked.ids)
        return _point(3.0, seconds=1.0 + asked.ids / 1e6, ids=asked.ids)

    monkeypatch.setattr(law, "measure_point", measure)
    found = asyncio.run(law.measure_curves([IDS], budget_s, _Silent()))
    [curve] = found.curves
    assert [point.load.ids for point in curve.points] == list(measured)
    assert curve.left_out == left_out
    ends = [value for value in (0, 1_000_000, 100_000_000, 10_000_000) if value not in left_out]
    assert asked_for == ends
    assert law.cost_ratio(curve, 0, 100_000_000) == (None if left_out else 1.0)


def test_there_are_no_more_processes_than_cores(monkeypatch):
    """Two processes on one core say nothing of two cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert law.ends_first(PROCESSES) == [1, 2]


def test_the_text_follows_from_the_points():
    """Growth, memory per million, the reason, and the points that were not measured."""
    curve = _curve(
        _point(3.0, 100, windows=10_000), _point(4.5, 400, windows=1_010_000), left_out=(5_000_000,)
    )
    text = "\n".join(law.markdown(_curves(curve)))
    assert "| 1,010,000 | 4.50 | 222,222 | 400 |" in text
    assert "From 10,000 to 1,010,000 the cost of an event becomes 1.50 times" in text
    assert "A million more take 300 MiB." in text
    assert WINDOWS.why in text
    assert "No time was left for 5,000,000." in text
    assert "Measured without compiled kernels." in text


def test_every_axis_varies_a_field_that_grows():
    """A curve of one value, or of falling values, would be useless."""
    for axis in AXES:
        assert list(axis.values) == sorted(set(axis.values))
        assert len(axis.values) > 3
        assert hasattr(Load(), axis.field)
    assert sum(axis.share for axis in AXES) == pytest.approx(1.0)


def test_the_command_writes_what_it_measured(monkeypatch, tmp_path, capsys):
    """The record can be compared later."""

    async def measured(axes, budget_s, talk):
        return _curves(_curve(_point(2.0, windows=10_000)))

    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setattr(law, "measure_curves", measured)
    assert main(["bench", "curves", "--output", str(tmp_path)]) == 0
    assert "| 10,000 | 2.00 |" in capsys.readouterr().out
    [path] = tmp_path.glob("curves-*.json")
    assert msgspec.json.decode(Path(path).read_bytes(), type=Curves).curves[0].axis == WINDOWS.name
