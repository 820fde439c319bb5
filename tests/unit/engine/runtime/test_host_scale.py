"""What a host's workers report and use decides how many of them run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from structlog.testing import capture_logs

from streams.core.clock import VirtualClock
from streams.engine.health.host_scaling import CHANGES_MAX, host_scaling
from streams.engine.runtime.host_scale import HostScale
from streams.engine.runtime.host_watch import HostWatch
from streams.engine.runtime.process_scale import HostLoad, ProcessScale

CLOCK = VirtualClock(start_ms=5)


@pytest.fixture
def process():
    """A process of ours that uses a processor until its input ends."""
    code = (
        "import os, sys, threading\n"
        "threading.Thread(target=lambda: os._exit(len(sys.stdin.read()))).start()\n"
        "while True: pass"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


def _tell(state, pid, slot=0, *, ready=True, **held):
    folder = state / "workers"
    folder.mkdir(exist_ok=True)
    partitions = [{"phase": "ready", "behind_s": 0.0, "stopped_by": None, **held}] if held else []
    told = {"pid": pid, "slot": slot, "ready": ready, "partitions": partitions}
    (folder / f"{slot}.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    "held",
    [{"stopped_by": "changelog_lost", "phase": "stopped"}, {"waits_for": "schema_registry_away"}],
)
def test_the_oldest_record_counts_but_not_where_no_processor_helps(tmp_path, held):
    """A stopped partition is behind for ever, and waits for an operator; another one waits for the schema
    registry. Each process that is added for it is a rebalance."""
    watch, me = HostWatch(tmp_path), os.getpid()
    _tell(tmp_path, me, behind_s=7.5)
    assert watch.look([me], 0.0).starting, "one look shows no use of processors"
    assert watch.look([me], 0.5) is None
    assert watch.look([me], 2.0)[0] == 7.5
    _tell(tmp_path, me, behind_s=7.5, ready="waits_for" in held, **held)
    load = watch.look([me], 4.0)
    assert (load.behind_s, load.starting, load.idle) == (0.0, False, False)


def test_processor_time_is_of_the_processes_between_two_looks(tmp_path, process):
    """The time before the first look is of no interest."""
    watch = HostWatch(tmp_path)
    _tell(tmp_path, process.pid, behind_s=0.0)
    began = time.monotonic()
    watch.look([process.pid], began)
    ends = began + 60
    while (load := watch.look([process.pid], time.monotonic())) is None or load.busy == 0.0:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert 0.0 < load.busy < 1.5


@pytest.mark.parametrize(
    ("held", "ready", "starting", "idle"),
    [
        ({"phase": "restoring"}, False, True, False),
        ({"phase": "fencing"}, False, True, False),
        ({}, False, True, False),  # it joins
        ({}, True, False, True),  # more processes than partitions
        ({"behind_s": 1.0}, True, False, False),
    ],
)
def test_a_worker_that_is_not_at_work_yet_is_told_from_one_without_partitions(
    tmp_path, held, ready, starting, idle
):
    """While one restores, another rebalance would only delay it."""
    watch, me = HostWatch(tmp_path), os.getpid()
    _tell(tmp_path, me, ready=ready, **held)
    watch.look([me], 0.0)
    load = watch.look([me], 2.0)
    assert (load.starting, load.idle) == (starting, idle)


@pytest.mark.parametrize("pids", [[None], [1 << 22]])
def test_a_worker_that_does_not_run_or_told_nothing_yet_is_starting(tmp_path, pids):
    """Its partitions have no owner, so no metric shows them."""
    watch = HostWatch(tmp_path)
    watch.look(pids, 0.0)
    assert watch.look(pids, 2.0) == HostLoad(0.0, 0.0, starting=True)


class _Slots:
    """`WorkerSlots` of this process alone."""

    def __init__(self):
        self.sizes, self.leaving = [], False

    @property
    def pids(self):
        return [os.getpid()]

    def resize(self, count, now_s):
        self.sizes.append(count)


def test_each_decision_is_logged_kept_and_carried_out(tmp_path):
    """An operator must see why processes come and go."""
    slots = _Slots()
    scale = HostScale(slots, ProcessScale(1, 3, 2.0, 4.0), tmp_path, CLOCK)
    assert host_scaling(tmp_path).changes == ()
    _tell(tmp_path, os.getpid(), behind_s=9.0)
    with capture_logs() as logs:
        for second in range(8):
            slots.leaving = second < 4
            scale.step(2.0 * second)
    assert slots.sizes == [2, 3], "no step while one still drains"
    assert [(one["event"], one["before"], one["processes"]) for one in logs] == [
        ("processes_scaled", 1, 2),
        ("processes_scaled", 2, 3),
    ]
    told = host_scaling(tmp_path)
    assert (told.processes, told.least, told.most) == (3, 1, 3)
    assert [(one.before, one.after, one.at_ms) for one in told.changes] == [(1, 2, 5), (2, 3, 5)]
    assert told.changes[0].why.startswith("9.0 s behind")


def test_only_the_newest_changes_are_kept(tmp_path):
    """The file is read at each look at a page."""
    slots = _Slots()
    scale = HostScale(slots, ProcessScale(1, 2, 1.0, 1.0), tmp_path, CLOCK)
    second = 0
    while len(slots.sizes) < CHANGES_MAX + 5:
        second += 1
        _tell(tmp_path, os.getpid(), behind_s=9.0 if len(slots.sizes) % 2 == 0 else 0.0)
        scale.step(2.0 * second)
        assert second < 1000
    assert len(host_scaling(tmp_path).changes) == CHANGES_MAX


def test_a_full_disk_does_not_end_the_workers(tmp_path):
    """The file is for people alone."""
    state = tmp_path / "file"
    state.write_text("no folder")
    with capture_logs() as logs:
        HostScale(_Slots(), ProcessScale(1, 3, 2.0, 4.0), state, CLOCK)
    assert [one["event"] for one in logs] == ["scaling_not_written"]


def test_the_file_of_a_parent_that_ended_tells_nothing(tmp_path):
    """Its numbers would be shown for ever."""
    HostScale(_Slots(), ProcessScale(1, 3, 2.0, 4.0), tmp_path, CLOCK)
    told = json.loads((tmp_path / "scaling.json").read_text())
    told["parent"]["start_ticks"] += 1
    (tmp_path / "scaling.json").write_text(json.dumps(told))
    assert host_scaling(tmp_path) is None
