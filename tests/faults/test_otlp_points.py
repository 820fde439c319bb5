"""Points of OpenTelemetry, while the exporter and the edge die."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.core.clock import SystemClock
from tests.faults import otlp_exporter
from tests.faults.edge_process import EdgeUnderTest
from tests.faults.otlp_exporter import SHARDS, STEP_NS, taken, tenant, value
from tests.faults.report import Finding

POINTS = 1_000_000
KILLS = 12
EDGE_KILLS = (3, 8)
"""After which kills of the exporter the edge is killed, too."""
AGO_S = 400
PATIENCE_S = 300.0

Windows = dict[tuple[str, str, str, int], tuple[int, float]]
"""Tenant, model, metric, start in seconds: count and sum."""


class Exporter:
    """A process of otlp_exporter.py that is killed and started again."""

    def __init__(self, edge: EdgeUnderTest, base_ns: int, file: Path) -> None:
        words = (edge.url, edge.token, str(base_ns), str(POINTS), str(file))
        self._command = [sys.executable, "-m", otlp_exporter.__name__, *words]
        self._log = file.with_suffix(".log")
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command, cwd=Path(__file__).parents[2], stdout=output, stderr=output
            )

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(PATIENCE_S)

    def ended(self) -> bool:
        return self._child.poll() is not None


@pytest.fixture
def edge(trial, tmp_path) -> Iterator[EdgeUnderTest]:
    """An edge before the trial's broker."""
    running = EdgeUnderTest(tmp_path / "edge", trial.environ)
    running.start()
    yield running
    running.kill()


def _truth(base_ns: int) -> Windows:
    counts: Counter[tuple[str, str, str, int]] = Counter()
    sums: Counter[tuple[str, str, str, int]] = Counter()
    for point in range(POINTS):
        minute_s = (base_ns + point * STEP_NS) // 60_000_000_000 * 60
        key = tenant(point), "trainer", f'steps{{shard="{point % SHARDS}"}}', minute_s
        counts[key] += 1
        sums[key] += value(point)
    return {key: (counts[key], float(sums[key])) for key in counts}


@pytest.mark.once
@pytest.mark.timeout(1500)
async def test_points_of_a_killed_exporter_count_once(trial, report, edge, tmp_path):
    """A million increases by the SDK's unchanged exporter, which is killed while it sends and sends again
    from its own store; the edge is killed while the exporter waits for its answer. Each window is exact."""
    worker = trial.worker(0)
    await worker.ready()
    await edge.direct()
    file = tmp_path / "taken"
    base_ns = SystemClock().now_ms() // 60_000 * 60_000_000_000 - AGO_S * 1_000_000_000
    began = time.monotonic()
    exporter = Exporter(edge, base_ns, file)
    try:
        for kill in range(1, KILLS + 1):
            goal = POINTS * kill // (KILLS + 1)
            await trial.until(lambda goal=goal: taken(file) >= goal, PATIENCE_S)
            await asyncio.sleep(trial.rng.uniform(0.0, 2.0))  # to another place of a request
            exporter.kill()
            exporter.start()
            if kill in EDGE_KILLS:
                await asyncio.sleep(trial.rng.uniform(1.0, 4.0))
                edge.kill()
                edge.start()
        await trial.until(exporter.ended, PATIENCE_S)
    finally:
        exporter.kill()
    took_s = time.monotonic() - began
    assert taken(file) == POINTS
    await edge.direct()
    await trial.settled()
    found = await trial.reading.everything()
    windows: Windows = {}
    columns = ("tenant", "model", "metric", "w", "n", "s1")
    for *key, n, s1 in zip(*(found.windows[name].to_pylist() for name in columns), strict=True):
        before = windows.get(tuple(key), (0, 0.0))
        windows[tuple(key)] = before[0] + n, before[1] + s1
    truth = _truth(base_ns)
    surplus = [
        windows.get(key, (0, 0.0))[0] - truth.get(key, (0, 0.0))[0] for key in {*windows, *truth}
    ]
    lost, doubled = -sum(n for n in surplus if n < 0), sum(n for n in surplus if n > 0)
    again = found.ledger["duplicates"]
    note = (
        f"exporter kill -9 {KILLS} times, edge {len(EDGE_KILLS)} times; {again:,} points came again; "
        f"{took_s:.0f} s"
    )
    finding = Finding("OTLP points: exporter and edge kill -9", POINTS, lost, doubled, None, note)
    report(finding)
    assert (lost, doubled) == (0, 0), finding
    assert windows == truth
    await trial.audited()
    assert edge.stop() == 0
