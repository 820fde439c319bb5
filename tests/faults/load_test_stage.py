"""An edge, a console and `dia loadtest` around the workers of a trial."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from streams.operate.loadtest.file import EXAMPLE
from streams.operate.loadtest.record import LoadTestRecord
from tests.faults.edge_process import EdgeUnderTest
from tests.faults.trial import Trial
from tests.faults.web_process import WebProcess

PATIENCE = 10
"""factor of the example's bounds of latencies: a machine of tests runs other things, too. Its other
thresholds stay"""


class TestedLoad(NamedTuple):
    """``said``: standard error."""

    exit_code: int
    said: str
    record: LoadTestRecord
    page: str

    @property
    def failed(self) -> list[str]:
        return [f"{one.subject}: {one.what}" for one in self.record.thresholds if not one.held]

    @property
    def events(self) -> int:
        return sum(flow.events for flow in self.record.flows)


@dataclass(frozen=True)
class LoadTestStage:
    """An edge and a console of one home, which also keeps the records of load tests."""

    folder: Path
    environ: dict[str, str]
    edge: EdgeUnderTest
    console: WebProcess

    async def run(self, *, seconds: int, scale: float) -> TestedLoad:
        """The example of `dia loadtest example`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streams", "loadtest", "run", str(_example(self.folder))),
            *("--edge", self.edge.url, "--console", self.console.url),
            *("--duration", f"{seconds}s", "--scale", str(scale)),
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, told = await process.communicate()
        assert process.returncode is not None
        said = told.decode()
        found = re.search(r"report: (\S+); data: (\S+)", said)
        assert found is not None, out.decode() + said
        return TestedLoad(process.returncode, out.decode() + said, *_kept(found[1], found[2]))


@contextmanager
def load_test_stage(trial: Trial, folder: Path) -> Iterator[LoadTestStage]:
    """It reaches the shards through the proxies of the trial, like the workers."""
    home = folder / "home"
    environ = {
        **trial.environ,
        "DIA_HOME": str(home),
        "DIA_CLICKHOUSE_SHARDS": ",".join(trial.shards),
        "DIA_STATE_DIR": str(folder / "state"),
    }
    edge = EdgeUnderTest(home, environ)
    console = WebProcess(["console"], environ, home / "console.log")
    try:
        edge.start()
        console.start()
        yield LoadTestStage(folder, environ, edge, console)
    finally:
        console.stop()
        edge.stop()


def _example(folder: Path) -> Path:
    def wider(bound: re.Match[str]) -> str:
        return f"{bound[1]}{PATIENCE * int(bound[2])}"

    text, changed = re.subn(r"(?m)^(p9[59]_ms = )(\d+)", wider, EXAMPLE.read_text())
    assert changed == 6
    file = folder / "platform.toml"
    file.write_text(text.replace('ramp = "30s"', 'ramp = "5s"').replace('"60s"', '"30s"'))
    return file


def _kept(page: str, data: str) -> tuple[LoadTestRecord, str]:
    record = msgspec.json.decode(Path(data).read_bytes(), type=LoadTestRecord)
    return record, Path(page).read_text()
