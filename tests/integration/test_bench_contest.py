"""The contest and the capacity search of the bench, small, on a real pipeline."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.app import MODEL_METRICS
from streams.dev.bench.cases.capacity import Search
from streams.dev.bench.cases.case import Case
from streams.dev.bench.peers.results import OURS
from streams.dev.bench.peers.run import Contest
from streams.dev.bench.run import on_stack
from streams.dev.local.stack import status


class _Silent:
    def say(self, text: str) -> None:
        pass

    @contextmanager
    def progress(self, description, total=None, unit=""):
        yield SimpleNamespace(advance=lambda n=1: None, update=lambda **_: None)


async def _contest_and_search(rig):
    outcomes = await Contest((), 10.0, Path("unused")).measure(rig)
    process = rig.start("capacity")
    try:
        await rig.all_opened(process, MODEL_METRICS.partitions)
        search = Search(rig, process)
        await search.attempt(500, 2)
        unread = await rig.reading.unread()
    finally:
        await rig.stop(process)
    return outcomes, search, unread


@pytest.mark.long
@pytest.mark.stack
def test_dia_runs_first_and_a_rate_is_tried(monkeypatch, tmp_path):
    """dia is checked like any peer; a trial waits until its events are committed."""
    for variable in ("DIA_KAFKA_BOOTSTRAP", "DIA_CLICKHOUSE_SHARDS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    home = tmp_path / "bench"
    case = Case(workload="wide", events=10_000, shards=1, sink="null")
    outcomes, search, unread = on_stack(case, home, _Silent(), None, _contest_and_search)
    assert not status(home).running
    ours, floor = outcomes
    assert (ours.title, ours.exact, ours.problem) == (OURS, True, "")
    assert ours.read == floor.read == 10_000
    assert ours.events_per_s > 0
    [attempt] = search.tries
    assert attempt.lag_max <= 1000
    assert search.sums.produced == 1000
    assert unread == 0
