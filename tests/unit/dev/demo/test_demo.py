"""Parts of the demo that need no stack: its home, its faults and its output."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

import streams.dev.demo.run as demo_run
from streams.cli import main
from streams.core.clock import VirtualClock
from streams.core.errors import RefusedBySafety
from streams.core.settings import load
from streams.dev.demo import chaos
from streams.dev.demo.home import MARKER, empty
from streams.dev.demo.reconcile import Check, DemoVerdict
from streams.dev.demo.run import DemoOptions, DemoOutcome
from streams.dev.demo.windows import WindowDifference
from streams.dev.local.preparation import environment
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import Workload


def test_the_faults_depend_on_the_seed_only():
    """A failed run can be repeated with the same faults at the same moments."""
    assert chaos.plan(7) == chaos.plan(7) != chaos.plan(8)
    faults = chaos.plan(7)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert sum(fault.hits_shard for fault in faults) == 1
    assert len(faults) == chaos.KILLS + 1
    assert all(0 < fault.at_s < chaos.DURATION_S for fault in faults)


def test_a_kill_hits_one_of_the_live_workers(tmp_path):
    """SIGKILL to a process that is a worker of this demo."""
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    told: list[str] = []
    worker = SimpleNamespace(alive=lambda: [SimpleNamespace(pid=victim.pid, slot=0)])
    storm = chaos.Chaos(worker, tmp_path, 2, VirtualClock(), told.append)
    asyncio.run(storm.run([chaos.PlannedFault(0.0, hits_shard=False, draw=0.99)]))
    assert victim.wait(10) == -signal.SIGKILL
    assert storm.kills == 1
    assert str(victim.pid) in told[0]


def test_a_worker_that_died_by_itself_does_not_count_as_killed(tmp_path):
    """The summary states the number of kills that the pipeline survived."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(10)
    worker = SimpleNamespace(alive=lambda: [SimpleNamespace(pid=gone.pid, slot=0)])
    storm = chaos.Chaos(worker, tmp_path, 2, VirtualClock(), lambda _: None)
    asyncio.run(storm.run([chaos.PlannedFault(0.0, hits_shard=False, draw=0.0)]))
    assert storm.kills == 0


def test_workers_start_beside_the_console_and_stay_to_be_served(monkeypatch, tmp_path):
    """Workers that were started anew had to join the group and restore before they counted a newcomer's event,
    and each process that waits for another's imports takes seconds from the first look."""
    did: list[str] = []

    class Workers:
        def __init__(self, agents: str, processes: int, **options: object) -> None:
            did.append(f"start {agents}")

        def stop(self) -> None:
            did.append("stop workers")

    async def prepare(self: object) -> None:
        did.append("topics")

    async def compared(self: object, worker: object) -> str:
        did.append("events")
        return "outcome"

    def begun(environ: object) -> Callable[[], None]:
        did.append("start console")
        return lambda: did.append("console serves")

    monkeypatch.setattr(demo_run, "up", lambda *_, **__: SimpleNamespace(settings=dict))
    monkeypatch.setattr(demo_run, "down", lambda *_: did.append("down"))
    monkeypatch.setattr(demo_run, "WorkerProcess", Workers)
    monkeypatch.setattr(demo_run._Demo, "prepare", prepare)
    monkeypatch.setattr(demo_run._Demo, "run", compared)
    options = DemoOptions(home=tmp_path / "demo", agents="all")
    talk = SimpleNamespace(say=lambda text: None)
    demo_run.run(options, talk, begun, lambda outcome, environ, worker: did.append("served"))
    assert did == [
        *("topics", "start console", "start all", "console serves", "events"),
        *("served", "stop workers", "down"),
    ]


def test_only_a_demos_own_folder_is_emptied(tmp_path):
    """A user may name their home by mistake; its contents stay."""
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years")
    with pytest.raises(RefusedBySafety, match="holds something else"):
        empty(precious.parent)
    assert precious.read_text() == "years"
    fresh = tmp_path / "demo"
    empty(fresh)
    (fresh / "old-data").touch()
    empty(fresh)
    assert [path.name for path in fresh.iterdir()] == [MARKER]


def test_the_demo_ignores_addresses_in_the_environment(tmp_path, monkeypatch):
    """Addresses in the environment may be those of production; the demo uses its own."""
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "production:9092")
    monkeypatch.setenv("DIA_STATE_DIR", "/var/lib/dia")
    monkeypatch.setenv("DIA_COMMIT_INTERVAL_S", "0.5")
    environ = environment(tmp_path, {"kafka_bootstrap": "127.0.0.1:1"})
    settings, _ = load(environ)
    assert settings.kafka_bootstrap == "127.0.0.1:1"
    assert settings.state_path() == tmp_path / "state"
    assert settings.commit_interval_s == 0.5


def _outcome(*checks: Check, differences: tuple[WindowDifference, ...] = ()) -> DemoOutcome:
    generator = Generator(Workload(start_ms=1_700_000_000_000))
    generator.block(1000)
    return DemoOutcome(
        verdict=DemoVerdict(checks, differences), oracle=generator.oracle, produced_s=1.0,
        committed_s=2.0, visible_s=3.0, settled_s=None, kills=5,
    )  # fmt: skip


@pytest.mark.parametrize(("found", "code"), [(10, 0), (9, 1)])
def test_any_difference_ends_with_exit_code_1(monkeypatch, tmp_path, capsys, found, code):
    """CI runs the demo and reads its exit code."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    asked: list[DemoOptions] = []

    def run(
        options: DemoOptions, talk: object, begun: object = None, then: object = None
    ) -> DemoOutcome:
        assert begun is then is None, "the console must not start without its option"
        asked.append(options)
        different = (WindowDifference("t m x 2023", (10, 1.0), (9, 0.9)),) if code else ()
        return _outcome(Check("windows", 10, found), differences=different)

    monkeypatch.setattr(demo_run, "run", run)
    assert main(["demo", "--events", "1000", "--seed", "9", "--json"]) == code
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert shown["ok"] is (code == 0)
    assert shown["checks"] == [
        {"name": "windows", "expected": 10, "found": found, "ok": code == 0}
    ]  # fmt: skip
    assert shown["committed_per_s"] == 500
    assert shown["settled_s"] is None
    assert (asked[0].home, asked[0].events, asked[0].seed) == (tmp_path / "demo", 1000, 9)
    assert ("differs" in err) is (code == 1)
    assert main(["demo"]) == code
    assert ("exact:" in capsys.readouterr().out) is (code == 0)
