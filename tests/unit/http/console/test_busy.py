"""How busy a worker is, and where its log is: what an operator looks for at a node of the graph."""

from __future__ import annotations

import pytest

from streams.core.clock import VirtualClock
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.remote_workers import RemoteWorker
from streams.http.console.pipeline.busy import BusyShares
from streams.http.console.pipeline.log_files import log_file
from streams.http.console.pipeline.workers import Sample, WorkerSamples


def _survey(cpu_s: float | None, pid: int = 7) -> WorkerSamples:
    samples = [] if cpu_s is None else [Sample("0", {}, cpu_s)]
    return WorkerSamples([LiveWorker(pid=pid, slot=0)], {"process_cpu_seconds_total": samples})


@pytest.mark.parametrize(
    ("second", "share"),
    [
        (_survey(108.0), 0.8),
        (_survey(100.0), 0.0),
        (_survey(108.0, pid=8), None),
        (_survey(2.0), None),
        (_survey(None), None),
    ],
    ids=["busy", "idle", "restarted", "restarted with one pid", "silent"],
)
async def test_a_share_is_of_one_process_between_two_samples(second, share):
    """An idle worker has 0; one that was restarted or does not answer is unknown, which is not 0."""
    clock = VirtualClock()
    busy = BusyShares(clock)
    busy.take(_survey(100.0))
    assert busy.of("0") is None
    await clock.advance(10.0)
    busy.take(second)
    assert busy.of("0") == share
    assert busy.of("1") is None


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/var/log/dia worker.log", "/var/log/dia worker.log"),
        ("pipe:[123]", None),
        ("/dev/pts/0", None),
        ("/tmp/x (deleted)", None),
        (None, None),
    ],
)
def test_a_log_is_named_where_it_is_a_file(tmp_path, target, found):
    """A command that follows no file would mislead."""
    folder = tmp_path / "7" / "fd"
    folder.mkdir(parents=True)
    if target is not None:
        (folder / "2").symlink_to(target)
    assert log_file(LiveWorker(pid=7, slot=0), tmp_path) == found
    assert log_file(RemoteWorker(pid=7, slot="a-0"), tmp_path) is None
