"""The example load test against a stack of which one shard is slowed, and against the same stack
when it is not."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from streams.operate.loadtest.file import EXAMPLE
from streams.operate.loadtest.record import LoadTestRecord
from tests.faults.edge_process import EdgeUnderTest
from tests.faults.report import Finding
from tests.faults.shard_proxy import Weather
from tests.faults.web_process import WebProcess

DURATION_S = 30
SCALE = 0.01
"""1,500 metrics a second: the machine runs other things, too"""
PATIENCE = 10
"""factor of the example's bounds of latencies, for the same reason; its other thresholds stay"""
SLOW_S = 15.0
"""above the example's bound of freshness, and below the deadline of an insert"""


@dataclass
class Surfaces:
    """An edge and a console of one home, which also keeps the records of load tests."""

    home: Path
    environ: dict[str, str]
    edge: EdgeUnderTest
    console: WebProcess

    async def load_test(self, file: Path) -> tuple[int, str, LoadTestRecord, str]:
        """Exit code, what was said, the record and the page."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streams", "loadtest", "run", str(file)),
            *("--edge", self.edge.url, "--console", self.console.url),
            *("--duration", f"{DURATION_S}s", "--scale", str(SCALE)),
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, said = await process.communicate()
        assert process.returncode is not None
        found = re.search(r"report: (\S+); data: (\S+)", said.decode())
        assert found is not None, out.decode() + said.decode()
        return process.returncode, said.decode(), *_kept(found[1], found[2])


def _kept(page: str, data: str) -> tuple[LoadTestRecord, str]:
    record = msgspec.json.decode(Path(data).read_bytes(), type=LoadTestRecord)
    return record, Path(page).read_text()


@pytest.fixture
def surfaces(trial, proxies, tmp_path):
    """They reach the shards through the proxies, like the workers."""
    home = tmp_path / "home"
    environ = {
        **trial.environ,
        "DIA_HOME": str(home),
        "DIA_CLICKHOUSE_SHARDS": ",".join(trial.shards),
        "DIA_STATE_DIR": str(tmp_path / "state"),
    }
    edge = EdgeUnderTest(home, environ)
    console = WebProcess(["console"], environ, home / "console.log")
    edge.start()
    console.start()
    yield Surfaces(home, environ, edge, console)
    console.stop()
    edge.stop()


def _example(folder: Path) -> Path:
    """The example with bounds of latencies for a machine that others use, too."""

    def wider(bound: re.Match[str]) -> str:
        return f"{bound[1]}{PATIENCE * int(bound[2])}"

    text, changed = re.subn(r"(?m)^(p9[59]_ms = )(\d+)", wider, EXAMPLE.read_text())
    assert changed == 6
    file = folder / "platform.toml"
    file.write_text(text.replace('ramp = "30s"', 'ramp = "5s"').replace('"60s"', '"30s"'))
    return file


def _failed(record: LoadTestRecord) -> list[str]:
    return [f"{one.subject}: {one.what}" for one in record.thresholds if not one.held]


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_a_slowed_shard_fails_the_example_load_test(
    trial, surfaces, proxies, report, tmp_path
):
    """A load test that passes on a stack with a slow shard would let it into production."""
    worker = trial.worker(agents="all", sink_timeout_s=60, pool_processes=1)
    await worker.ready()
    file = _example(tmp_path)
    code, said, sound, page = await surfaces.load_test(file)
    assert (code, _failed(sound)) == (0, []), said
    assert "thresholds failed." not in page
    proxies[1].delay_s, proxies[1].weather = SLOW_S, Weather.SLOW
    code, said, slowed, page = await surfaces.load_test(file)
    proxies[1].weather = Weather.FAIR
    assert code == 1, said
    assert "thresholds_failed" in said
    failed = _failed(slowed)
    assert "probes: freshness p95" in failed
    assert "thresholds failed." in page
    assert worker.exit_code is None, worker.tail()
    await trial.settled()
    await trial.audited()
    events = sum(flow.events for record in (sound, slowed) for flow in record.flows)
    note = f"the example at a scale of {SCALE:g}; failed: {', '.join(failed)}"
    report(Finding("shard slowed under the example load test", events, 0, 0, note=note))
